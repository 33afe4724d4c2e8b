"""GANs side by side: closed forms of a first step, members that know nothing of each other, and small games."""

import copy
import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from genat.baselines.gan import GanFitted, GanStep, generate, point_generator, train_gan
from genat.baselines.learner import Learner
from genat.networks import Together, build
from genat.objectives import maximin, minimax
from genat.ranking import auroc
from genat.recipe import adam, annealed
from genat.sources import Samples
from genat.training import fit, step_generator

LATENT = 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def target() -> Samples:
    """A Gaussian around (.4, .6) of deviation .05."""
    return Samples(torch.tensor([0.4, 0.6]) + 0.05 * normal(500, 2))


def generators(*seeds: int, hidden: tuple[int, ...] = (16, 16)) -> Together:
    return Together([point_generator(LATENT, 2, hidden=hidden, seed=seed) for seed in seeds])


def detectors(*seeds: int, hidden: tuple[int, ...] = (16, 16)) -> Together:
    options = {"hidden": hidden, "mean": 0.5, "std": 0.1}
    return Together([build("mlp", (2,), options, seed=100 + seed) for seed in seeds])


def train(target: Samples, *seeds: int, **options: object) -> GanFitted:
    settings: dict[str, object] = {"iterations": 20, "batch_size": 16, "latent": LATENT, "seeds": seeds}
    return train_gan(generators(*seeds), detectors(*seeds), target, **(settings | options))  # type: ignore[arg-type]


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def poison(network: Together, member: int, value: float) -> Together:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[member] = value
    return network


def test_a_generator_learns_where_the_target_is(target: Samples) -> None:
    fitted = train(target, 0, 1, iterations=150, batch_size=64, r1=0.01, rates=(5e-3, 5e-3), ema=0.9)
    points = generate(fitted.generator, 500, latent=LATENT, seeds=[7, 8])
    assert points.shape == (2, 500, 2)
    torch.testing.assert_close(points.mean(1), torch.tensor([[0.4, 0.6]] * 2), rtol=0, atol=0.02)
    assert ((points.std(1) > 0.02) & (points.std(1) < 0.09)).all()
    assert fitted.diverged == {}
    assert not fitted.generator.training
    assert not fitted.detector.training


@pytest.mark.parametrize("options", [{}, {"r1": 0.01}, {"saturating": True, "ema": None}], ids=str)
def test_a_member_becomes_what_it_would_have_become_alone(target: Samples, options: dict[str, object]) -> None:
    together, alone = train(target, 3, 5, **options), train(target, 5, **options)
    for both, one in ((together.generator, alone.generator), (together.detector, alone.detector)):
        torch.testing.assert_close(weights(both.member(1)), weights(one), rtol=1e-3, atol=1e-5)


def test_one_seed_gives_one_gan_and_another_another(target: Samples) -> None:
    first, again, other = (
        train_gan(
            generators(0), detectors(0), target, seeds=[seed], iterations=3, batch_size=8, latent=LATENT
        ).generator
        for seed in (0, 0, 1)
    )
    assert weights(first).equal(weights(again))
    assert not weights(first).equal(weights(other))


@pytest.mark.parametrize("saturating", [False, True])
def test_the_first_losses_are_the_games(target: Samples, saturating: bool) -> None:
    """A linear detector f = w x + b has the penalty |w|^2 / 2. In float32, to 1e-4."""
    generator, detector = generators(0, 1), detectors(0, 1, hidden=())
    pairs = [(generator.member(m), detector.member(m)) for m in (0, 1)]
    steps: list[GanStep] = []
    train_gan(
        generator,
        detector,
        target,
        seeds=[4, 9],
        iterations=1,
        batch_size=16,
        latent=LATENT,
        r1=0.3,
        saturating=saturating,
        rates=(1e-12, 1e-12),
        callback=steps.append,
    )
    (step,) = steps
    for member, (seed, (make, judge)) in enumerate(zip((4, 9), pairs, strict=True)):
        real = target.draw(16, generator=step_generator(seed, 0, "target"))
        fake = make(torch.randn(16, LATENT, generator=step_generator(seed, 0, "latent")))
        inside, outside = judge(real), judge(fake)
        steepness = next(judge.parameters()).square().sum() / 0.1**2
        loss = maximin(inside, outside) + 0.3 * steepness / 2
        torch.testing.assert_close(step.detector_loss[member], loss.detach(), rtol=1e-4, atol=0)
        reply = minimax(outside, saturating=saturating)
        torch.testing.assert_close(step.generator_loss[member], reply.detach(), rtol=1e-4, atol=0)
        assert step.auroc[member].item() == pytest.approx(auroc(inside.detach(), outside.detach()), abs=0.01)


def test_each_network_steps_down_its_own_loss(target: Samples) -> None:
    """Of one member without target data to learn: the detector's logit falls where points are generated, and then the
    generator's points climb it."""
    generator, detector = generators(0), detectors(0)
    made = generator(normal(64, LATENT)).detach()
    before = detector(made).mean()
    train_gan(
        generator, detector, target, seeds=[0], iterations=5, batch_size=64, latent=LATENT, rates=(1e-9, 1e-3), ema=None
    )
    assert detector(made).mean() < before
    before = detector(generator(normal(64, LATENT))).mean()
    train_gan(
        generator, detector, target, seeds=[0], iterations=5, batch_size=64, latent=LATENT, rates=(1e-3, 1e-9), ema=None
    )
    assert detector(generator(normal(64, LATENT))).mean() > before


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("which", ["generator", "detector"])
def test_a_member_that_diverges_is_set_to_zero_and_the_others_go_on(target: Samples, which: str, value: float) -> None:
    """The other member ends where it would have ended alone; float32, to 1e-3."""
    generator, detector = generators(3, 5), detectors(3, 5)
    poison(generator if which == "generator" else detector, 0, value)
    losses: list[Tensor] = []
    fitted = train_gan(
        generator,
        detector,
        target,
        seeds=[3, 5],
        iterations=20,
        batch_size=16,
        latent=LATENT,
        callback=lambda step: losses.append(step.detector_loss),
    )
    assert fitted.diverged == {0: 1}
    for network in (generator, detector, fitted.generator, fitted.detector):
        assert not weights(network.member(0)).any()
    alone = train(target, 5)
    torch.testing.assert_close(weights(fitted.generator.member(1)), weights(alone.generator), rtol=1e-3, atol=1e-5)
    assert torch.isfinite(torch.stack(losses)[:, 1]).all()
    assert torch.stack(losses)[1:, 0].tolist() == pytest.approx([math.log(2)] * 19)


def test_training_ends_where_no_member_is_left(target: Samples) -> None:
    generator, detector = poison(generators(0), 0, math.nan), detectors(0)
    fitted = train_gan(generator, detector, target, seeds=[0], iterations=20, batch_size=16, latent=LATENT)
    assert fitted.diverged == {0: 1}
    assert fitted.passes == 4 * 16


@pytest.mark.parametrize(("r1", "each"), [(0.0, 4), (0.1, 5)])
def test_passes_are_counted_by_the_network_and_the_point(target: Samples, r1: float, each: int) -> None:
    """Counted by hooks: the points that each network sees, all with a backward, and the penalty's second one."""
    generator, detector = generators(0), detectors(0)
    seen = [0]

    def count(_: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[0] += len(inputs[0])

    handles = [network.register_forward_pre_hook(count) for network in (generator, detector)]
    fitted = train_gan(
        generator, detector, target, seeds=[0], iterations=3, batch_size=16, latent=LATENT, r1=r1, ema=None
    )
    for handle in handles:
        handle.remove()
    assert fitted.passes == 3 * each * 16
    assert seen[0] - 2 == 3 * 4 * 16  # two for the look at the shapes


def test_the_callback_sees_every_nth_iteration(target: Samples) -> None:
    steps: list[GanStep] = []
    fitted = train(target, 0, 1, iterations=7, every=3, callback=steps.append)
    assert [step.iteration for step in steps] == [3, 6]
    assert steps[0].generator is fitted.generator
    assert steps[0].detector is fitted.detector
    assert steps[0].auroc.shape == steps[0].generator_loss.shape == (2,)


def test_annealing_is_that_of_fit() -> None:
    """The rate of its optimiser, step by step; to 1e-12."""
    rates: list[float] = []

    def watched(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = adam(1.0)(parameters)
        optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
        return optimizer

    for anneal in (0.0, 0.3, 1.0):
        rates.clear()
        points = normal(10, 2)
        fit(
            detectors(0).member(0),
            points,
            points,
            iterations=10,
            steps=0,
            step_size=1.0,
            box=None,
            anneal=anneal,
            optimizer=watched,
            batch_size=2,
        )
        assert rates == pytest.approx([annealed(i, iterations=10, anneal=anneal) for i in range(10)], rel=1e-12)


def test_generated_points_depend_on_the_seed_and_their_number_alone() -> None:
    """To 1e-6: more points are another matrix product."""
    generator = generators(0, 1)
    many, few = (generate(generator, n, latent=LATENT, seeds=[5, 6]) for n in (9, 4))
    torch.testing.assert_close(many[:, :4], few, rtol=0, atol=1e-6)
    alone = generate(Together([generator.member(1)]), 4, latent=LATENT, seeds=[6])
    torch.testing.assert_close(alone[0], few[1], rtol=0, atol=1e-6)
    assert not generate(generator, 4, latent=LATENT, seeds=[6, 6]).equal(few)
    assert not few.requires_grad


def test_a_point_generator_begins_where_the_data_is() -> None:
    make = point_generator(LATENT, 3, hidden=(8,), center=-4.0, spread=0.01, seed=0)
    points = make(normal(100, LATENT))
    assert points.shape == (100, 3)
    assert ((points + 4).abs() < 0.05).all()
    wide = point_generator(LATENT, 3, hidden=(8,), center=-4.0, spread=0.02, seed=0)(normal(100, LATENT))
    torch.testing.assert_close(wide + 4, 2 * (points + 4), rtol=1e-3, atol=1e-5)


def test_the_learners_step_is_adams() -> None:
    """Also for gradients that are not contiguous, which the fused optimiser misreads on a CPU; to 1e-6."""
    network = detectors(0, 1)
    plain = copy.deepcopy(network)
    learner = Learner(network, rate=0.01, betas=(0.5, 0.9), ema=0.5)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.005, betas=(0.5, 0.9))
    start = weights(network)
    for seed in range(2):
        inputs = normal(32, 2, seed=seed)
        assert learner.learn(network(inputs).sum(), finite=torch.ones(2, dtype=torch.bool), factor=0.5) == []
        optimizer.zero_grad()
        torch.autograd.backward(plain(inputs).sum())
        optimizer.step()
        if seed == 0:
            mean = start.lerp(weights(plain), 1 - 2 / 11)
    torch.testing.assert_close(weights(network), weights(plain), rtol=0, atol=1e-6)
    torch.testing.assert_close(weights(learner.best), mean.lerp(weights(plain), 1 - 3 / 12), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [0]}, "expected 2 seeds, one a member, got 1"),
        ({"iterations": 0}, "expected iterations to be at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"latent": 0}, "expected latent to be at least 1, got 0"),
        ({"every": 0}, "expected every to be at least 1, got 0"),
        ({"r1": -0.1}, "expected r1 to be at least 0 and finite, got -0.1"),
        ({"rates": (1e-3, 0.0)}, "expected learning rates to be positive and finite, got 0.0"),
        ({"ema": 1.0}, r"expected ema to be None or in \(0, 1\), got 1.0"),
        ({"anneal": 1.1}, r"expected anneal in \[0, 1\], got 1.1"),
        ({"latent": 3}, r"expected a generator of samples \(3,\), got one that fails: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_it_refuses(target: Samples, options: dict[str, object], message: str) -> None:
    generator, detector = generators(0, 1), detectors(0, 1)
    before = weights(generator)
    settings: dict[str, object] = {"iterations": 2, "batch_size": 4, "latent": LATENT, "seeds": [0, 1]}
    with pytest.raises(ValueError, match=f"^{message}") as refused:
        train_gan(generator, detector, target, **(settings | options))  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    assert weights(generator).equal(before)


def test_it_refuses_networks_of_another_shape(target: Samples) -> None:
    line = Samples(normal(10, 1))
    with pytest.raises(ValueError, match=r"expected a generator that returns \(1, 1\), got \(1, 2\)"):
        train_gan(generators(0), detectors(0), line, seeds=[0], iterations=1, batch_size=4, latent=LATENT)
    with pytest.raises(ValueError, match=r"expected a detector that returns \(1,\), got \(1, 2\)"):
        train_gan(generators(0), generators(0), target, seeds=[0], iterations=1, batch_size=4, latent=LATENT)


def test_generating_refuses() -> None:
    with pytest.raises(ValueError, match="expected n to be at least 1, got 0"):
        generate(generators(0), 0, latent=LATENT, seeds=[0])
    with pytest.raises(ValueError, match="expected 1 seeds, one a member, got 2"):
        generate(generators(0), 1, latent=LATENT, seeds=[0, 1])
    with pytest.raises(ValueError, match="expected spread to be positive and finite, got 0"):
        point_generator(LATENT, 2, spread=0, seed=0)
