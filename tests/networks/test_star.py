"""The network of the 256-pixel experiments."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import genat
from genat import networks, sources
from genat.networks import check_detector, parameter_count, star

MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)


def reference(weights: Iterator[Tensor], x: Tensor) -> Tensor:
    """The discriminator as its paper draws it, reading its parameters in order."""

    def convolve(x: Tensor, padding: int = 1) -> Tensor:
        return functional.conv2d(x, next(weights), next(weights), padding=padding)

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    y = convolve((x - MEAN) / STD)
    width = y.shape[1]
    while y.shape[-1] > 4:
        branch = convolve(leaky(functional.avg_pool2d(convolve(leaky(y)), 2)))
        widened = y if branch.shape[1] == width else functional.conv2d(y, next(weights))
        y = (branch + functional.avg_pool2d(widened, 2)) / math.sqrt(2)
        width = y.shape[1]
    y = leaky(convolve(leaky(y), padding=0))
    return functional.linear(y.flatten(1), next(weights), next(weights))


@pytest.mark.parametrize(("outputs", "size"), [(1000, 21_364_264), (1, 20_851_777)])
def test_star_has_the_papers_size(outputs: int, size: int) -> None:
    with torch.device("meta"):
        assert parameter_count(star(outputs=outputs)) == size


def test_star_goes_from_256_to_4_pixels_in_six_blocks() -> None:
    shapes: list[tuple[int, ...]] = []
    with torch.device("meta"):
        network = star()
        blocks = network.get_submodule("blocks")
        assert isinstance(blocks, nn.Sequential)
        for block in blocks:
            block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))  # noqa: ARG005
        assert network(torch.empty(2, 3, 256, 256)).shape == (2,)
    widths, sides = (128, 256, 512, 512, 512, 512), (128, 64, 32, 16, 8, 4)
    assert shapes == [(2, width, side, side) for width, side in zip(widths, sides, strict=True)]


@pytest.mark.parametrize(("width", "widest"), [(2, 8), (3, 5), (4, 4)])
def test_star_is_its_definition(width: int, widest: int, generator: torch.Generator) -> None:
    network = star((3, 32, 32), width=width, widest=widest, outputs=4, logit=None).double()
    network.get_buffer("normalize.mean").copy_(MEAN)  # else rounded to float32 on the way
    network.get_buffer("normalize.std").copy_(STD)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + 0.05)
    x = torch.rand(3, 3, 32, 32, generator=generator, dtype=torch.float64)
    weights = iter(list(network.parameters()))
    torch.testing.assert_close(network(x), reference(weights, x), rtol=1e-9, atol=1e-9)
    assert next(weights, None) is None


def test_star_begins_as_published() -> None:
    network = star((3, 64, 64), width=16, widest=64)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inputs = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / inputs), rel=0.15)
            assert module.bias is None or module.bias.abs().max() == 0


def test_the_whole_network_runs_forward_and_backward_at_256_pixels(generator: torch.Generator) -> None:
    detector = networks.build("star", (3, 256, 256), {"outputs": 1}, seed=0)
    x = torch.rand(1, 3, 256, 256, generator=generator, requires_grad=True)
    logits = detector(x)
    assert logits.shape == (1,)
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.99


def test_a_narrow_one_is_a_detector(generator: torch.Generator) -> None:
    check_detector(
        star((1, 16, 16), width=2, widest=4, mean=0.5, std=0.5), torch.rand(2, 1, 16, 16, generator=generator)
    )


def step(**options: object) -> tuple[nn.Module, nn.Module]:
    """Train for one step of two images at 256 pixels; the network before and after."""
    shape = (3, 256, 256)
    detector, before = (networks.build("star", shape, options, seed=0) for _ in range(2))
    target, outside = sources.Noise(shape, "gaussian"), sources.Noise(shape)
    genat.fit(detector, target, outside, iterations=1, steps=1, step_size=2.0, batch_size=2, r1=30.0, ema=None)
    return before, detector


def check_step(before: nn.Module, after: nn.Module) -> None:
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert new.isfinite().all(), name
        assert not torch.equal(old, new), name


def test_a_narrow_one_takes_a_training_step_at_256_pixels() -> None:
    check_step(*step(width=4, widest=32, outputs=1))


@pytest.mark.slow
def test_the_whole_network_takes_a_training_step_at_256_pixels() -> None:
    check_step(*step(outputs=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (3, 256)}, r"expected an image \(C, H, W\) with sides >= 1, got \(3, 256\)"),
        ({"shape": (3, 256, 128)}, r"expected a square image .* sides 8, 16, 32 and so on, got \(3, 256, 128\)"),
        ({"shape": (3, 250, 250)}, "expected a square image"),
        ({"shape": (3, 4, 4)}, "expected a square image"),
        ({"shape": (3, 1, 1)}, "expected a square image"),
        ({"width": 0}, "expected 1 <= width <= widest, got 0 and 512"),
        ({"width": 64, "widest": 32}, "expected 1 <= width <= widest, got 64 and 32"),
        ({"outputs": 0}, "expected outputs >= 1, got 0"),
        ({"logit": 1000}, r"expected a logit in \[0, 1000\), got 1000"),
        ({"shape": (1, 256, 256)}, "expected mean and std of 1 channels"),
    ],
)
def test_star_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        star(**options)  # type: ignore[arg-type]
