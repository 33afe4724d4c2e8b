"""A GAN's networks of images: sizes, spectral norms, and what training them side by side leaves alone."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from genat.baselines import gan
from genat.baselines.gan import GanFitted, generate, train_gan
from genat.baselines.images import image_generator, mirrored_generator, spectral
from genat.networks import Together, build, parameter_count
from genat.sources import Samples

SHAPE, LATENT = (1, 8, 8), 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def detector(seed: int = 0) -> nn.Module:
    return build("small_convnet", SHAPE, {"width": 2}, seed=seed)


def generator(seed: int = 0) -> nn.Module:
    return image_generator(SHAPE, latent=LATENT, width=2, seed=seed)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([value.detach().double().flatten() for value in network.state_dict().values()])


def largest(network: nn.Module) -> list[float]:
    """The largest singular value of each weight as a spectral layer applies it, by what it makes of unit inputs."""
    found = []
    for layer in network.modules():
        if hasattr(layer, "left"):
            inner = copy.deepcopy(layer.layer)
            assert isinstance(inner, nn.Conv2d | nn.Linear)
            if isinstance(inner, nn.Conv2d):
                inner.padding = (0, 0)  # so that a kernel sees a kernel's worth of pixels
            entries = torch.eye(inner.weight[0].numel()).view(-1, *inner.weight.shape[1:])
            alone = copy.deepcopy(layer)
            alone.layer = inner
            with torch.no_grad():
                columns = (alone(entries) - alone(torch.zeros_like(entries))).flatten(1)
            found.append(torch.linalg.matrix_norm(columns, 2).item())
    return found


# the generator


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32)])
@pytest.mark.parametrize("width", [6, 12, 24])
def test_it_has_about_as_many_parameters_as_the_detector(shape: tuple[int, ...], width: int) -> None:
    size = parameter_count(image_generator(shape, width=width, seed=0))
    assert 0.8 < size / parameter_count(build("small_convnet", shape, {"width": width}, seed=0)) < 1.25


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 14, 14), (1, 20, 20), (2, 64, 64)])
def test_its_images_are_of_that_shape_and_in_the_box(shape: tuple[int, ...]) -> None:
    images = image_generator(shape, latent=5, width=2, seed=1)(10 * normal(4, 5))
    assert images.shape == (4, *shape)
    assert ((images >= 0) & (images <= 1)).all()


def test_one_seed_gives_one_generator_and_another_another() -> None:
    assert weights(generator(3)).equal(weights(generator(3)))
    assert not weights(generator(3)).equal(weights(generator(4)))


@pytest.mark.parametrize("shape", [(1, 30, 30), (1, 28, 32), (1, 7, 7), (1, 6, 6), (1, 128, 128), (1, 36, 36)])
def test_sides_that_it_does_not_make(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(C, S, S\) with S from 4 to 7 times 2, 4, 8 or 16, got \("):
        image_generator(shape, seed=0)


@pytest.mark.parametrize("name", ["latent", "width"])
def test_numbers_below_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected {name} to be at least 1, got 0"):
        image_generator(SHAPE, seed=0, **{name: 0})


# the mirrored generator


MIRRORED: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((1, 28, 28), {"channels": (64, 128), "hidden": (512, 256)}),
    ((3, 32, 32), {"channels": (48, 96), "flat": (192,), "hidden": (256,)}),
    ((3, 32, 48), {"channels": (32, 64, 128), "flat": (128, 96), "hidden": ()}),
]


@pytest.mark.parametrize(("shape", "options"), MIRRORED)
def test_it_mirrors_a_strided_convnet_in_parameters_and_arithmetic(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    mirrored, own = (
        mirrored_generator(shape, **options, seed=0).eval(),
        build("strided_convnet", shape, options, seed=0),
    )
    with torch.no_grad(), FlopCounterMode(display=False) as made:
        images = mirrored(10 * normal(2, 100))
    with torch.no_grad(), FlopCounterMode(display=False) as seen:
        own(images)
    assert images.shape == (2, *shape)
    assert ((images >= 0) & (images <= 1)).all()
    assert 0.9 < made.get_total_flops() / seen.get_total_flops() < 1.1
    sizes = parameter_count(mirrored), parameter_count(own)
    assert abs(sizes[0] - sizes[1]) < 1.1 * 100 * (options["hidden"] or (shape[1] * shape[2] * 96 // 64,))[-1]


def test_one_seed_gives_one_mirrored_generator_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    one, again, other = (mirrored_generator(SHAPE, channels=(2,), seed=seed) for seed in (3, 3, 4))
    assert weights(one).equal(weights(again))
    assert not weights(one).equal(weights(other))
    assert torch.get_rng_state().equal(before)


def test_what_cannot_be_mirrored() -> None:
    words = r"expected channels, and sides that are multiples of 2 to their number, got \(1, 28, 28\)"
    for channels in ((2, 2, 2), ()):
        with pytest.raises(ValueError, match=words):
            mirrored_generator((1, 28, 28), channels=channels, seed=0)
    with pytest.raises(ValueError, match=r"expected latent and widths >= 1, got 100, \(2,\), \(0,\) and \(\)"):
        mirrored_generator((1, 28, 28), channels=(2,), flat=(0,), seed=0)


# spectral normalisation


def test_every_layer_has_norm_one_from_the_start() -> None:
    """u begins exact; float32, to 1e-4."""
    network = spectral(detector()).eval()
    norms = largest(network)
    assert len(norms) == 5
    assert norms == pytest.approx([1.0] * 5, abs=1e-4)


def test_the_power_iteration_follows_the_weights() -> None:
    """After a small change of the weights the norm is off by less than 1 %, and after some forwards by 1e-3."""
    network = spectral(detector()).train()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * weight.abs().mean() * normal(*weight.shape))
    for _ in range(30):
        network(torch.zeros(1, *SHAPE))
    assert largest(network.eval()) == pytest.approx([1.0] * 5, abs=1e-3)


def test_in_eval_mode_nothing_is_kept_and_in_train_mode_only_the_vectors() -> None:
    network = spectral(detector())
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(normal(*weight.shape))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()(normal(2, *SHAPE))
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    network.train()(normal(2, *SHAPE))
    changed = {name.rpartition(".")[2] for name, value in network.state_dict().items() if not value.equal(before[name])}
    assert changed == {"left"}


def test_the_detector_given_is_left_as_it_is() -> None:
    plain = detector()
    before = weights(plain)
    spectral(plain)(normal(2, *SHAPE))
    assert weights(plain).equal(before)
    assert not any(hasattr(layer, "left") for layer in plain.modules())


def test_weights_of_zero_give_a_logit_of_zero() -> None:
    """As a member at rest has them."""
    network = spectral(detector())
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    assert not network(normal(2, *SHAPE)).any()


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Linear(2, 1), nn.Sequential(nn.ReLU())], ids=repr)
def test_networks_without_layers_inside_are_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="expected a network of convolutions or linear maps, got "):
        spectral(network)


# trained


@pytest.fixture(scope="module")
def target() -> Samples:
    return Samples(normal(40, *SHAPE).mul(0.1).add(0.5).clamp(0, 1))


def train(target: Samples, *seeds: int, **options: object) -> GanFitted:
    settings: dict[str, object] = {"iterations": 3, "batch_size": 4, "latent": LATENT, "seeds": seeds, "r1": 0.5}
    makers = Together([generator(seed) for seed in seeds])
    judges = Together([spectral(detector(seed)) for seed in seeds])
    return train_gan(makers, judges, target, **(settings | options))  # type: ignore[arg-type]


def test_a_member_becomes_what_it_would_have_become_alone(target: Samples) -> None:
    """With its own batch statistics and its own singular vectors; to 1e-3."""
    together, alone = train(target, 3, 5), train(target, 5)
    for both, one in ((together.generator, alone.generator), (together.detector, alone.detector)):
        torch.testing.assert_close(weights(both.member(1)), weights(one.member(0)), rtol=1e-3, atol=1e-4)


def test_half_precision_comes_to_nearly_the_same_weights_in_full_precision(target: Samples) -> None:
    settings: dict[str, Any] = {"seeds": [0], "iterations": 4, "batch_size": 8, "latent": LATENT, "r1": 0.5}
    full, half = (
        train_gan(Together([generator()]), Together([spectral(detector())]), target, half=half, **settings)
        for half in (False, True)
    )
    assert not half.diverged
    assert all(value.dtype == torch.float32 for value in half.generator.parameters())
    torch.testing.assert_close(weights(full.generator), weights(half.generator), rtol=0, atol=0.02)
    assert not torch.equal(weights(full.generator), weights(half.generator))


def test_the_statistics_are_those_of_the_training_alone(target: Samples) -> None:
    """The look at the shapes before leaves none; a running mean counts as the network does."""
    for ema in (None, 0.9):
        fitted = train(target, 0, ema=ema)
        counts = [value for name, value in fitted.generator.named_buffers() if name.endswith("num_batches_tracked")]
        assert [count.tolist() for count in counts] == [[3]]


def test_images_are_made_in_eval_mode_batch_by_batch(target: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1e-6: another batch is another matrix product."""
    fitted = train(target, 0, 1)
    whole = generate(fitted.generator, 7, latent=LATENT, seeds=[5, 6])
    monkeypatch.setattr(gan, "_CHUNK", 3)
    torch.testing.assert_close(generate(fitted.generator, 7, latent=LATENT, seeds=[5, 6]), whole, rtol=0, atol=1e-6)
    assert whole.shape == (2, 7, *SHAPE)
    member = fitted.generator.member(1)
    assert not member.training
    again = generate(Together([member]), 7, latent=LATENT, seeds=[6])
    torch.testing.assert_close(again[0], whole[1], rtol=0, atol=1e-6)
