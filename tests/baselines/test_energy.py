"""Energy models side by side: chains in closed form, members that know nothing of each other, and a small training."""

import math
import sys

import pytest
import torch
from torch import Tensor, nn

from genat.baselines.energy import Chain, EnergyFitted, EnergyStep, langevin, train_energy
from genat.evaluation.points import energy_distance
from genat.networks import Together, build
from genat.sources import Samples
from genat.training import step_generator

CHAIN = Chain(steps=4, step_size=0.05, noise_scale=0.2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def target() -> Samples:
    """A Gaussian around (.4, .6) of deviation .05."""
    return Samples(torch.tensor([0.4, 0.6]) + 0.05 * normal(500, 2))


def detectors(*seeds: int, hidden: tuple[int, ...] = (16, 16)) -> Together:
    options = {"hidden": hidden, "mean": 0.5, "std": 0.1}
    return Together([build("mlp", (2,), options, seed=seed) for seed in seeds])


def train(target: Samples, *seeds: int, **options: object) -> EnergyFitted:
    settings: dict[str, object] = {"seeds": seeds, "iterations": 10, "batch_size": 8, "chain": CHAIN}
    return train_energy(detectors(*seeds), target, **(settings | options))  # type: ignore[arg-type]


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class Bowl(nn.Module):
    """f(x) = -|x - m|^2 / (2 s^2)."""

    def __init__(self, middle: float, deviation: float) -> None:
        super().__init__()
        self.middle, self.deviation = nn.Parameter(torch.tensor(middle)), nn.Parameter(torch.tensor(deviation))

    def forward(self, x: Tensor) -> Tensor:
        return -((x - self.middle) / self.deviation).square().sum(1) / 2


def test_a_chain_up_a_slope_is_a_drift_and_its_noise() -> None:
    """f = w x: u_K = u_0 + sum_k (eta_k spread w + sqrt(2 eta_k) sigma_k eps_k). In float32, to 1e-5."""
    detector = detectors(0, 1, hidden=())
    chain = Chain(steps=3, step_size=(0.4, 0.1), noise_scale=(0.8, 0.2), center=0.3, spread=0.5)
    starts = normal(2, 5, 2)
    ends = langevin(detector, starts, seeds=[6, 7], chain=chain)
    assert ends.shape == starts.shape
    for member, seed in enumerate((6, 7)):
        slope = next(detector.member(member).parameters())[0].detach() / 0.1
        for i in range(5):
            noise = torch.randn(3, 2, generator=step_generator(seed, i, "langevin"))
            u = (starts[member, i] - 0.3) / 0.5
            for k, (size, scale) in enumerate(((0.4, 0.8), (0.2, 0.4), (0.1, 0.2))):
                u = u + size * 0.5 * slope + math.sqrt(2 * size) * scale * noise[k]
            torch.testing.assert_close(ends[member, i], 0.3 + 0.5 * u, rtol=0, atol=1e-5)


def test_chains_settle_at_the_law_of_their_discretisation() -> None:
    """In a bowl u is autoregressive with a = 1 - eta spread^2 / s^2, and its variance 2 eta sigma^2 / (1 - a^2)."""
    detector = Together([Bowl(0.4, 0.05), Bowl(0.6, 0.1)])
    chain = Chain(steps=60, step_size=0.1, noise_scale=1.0)
    ends = langevin(detector, torch.full((2, 2000, 2), 0.5), seeds=[0, 1], chain=chain)
    for points, middle, deviation in zip(ends, (0.4, 0.6), (0.05, 0.1), strict=True):
        a = 1 - 0.1 * 0.1**2 / deviation**2
        spread = 0.1 * math.sqrt(2 * 0.1 / (1 - a**2))
        assert points.mean().item() == pytest.approx(middle, abs=4 * spread / math.sqrt(4000))
        assert points.std().item() == pytest.approx(spread, rel=0.05)


def test_a_sample_depends_on_its_start_its_seed_and_its_number_alone() -> None:
    """To 1e-5: more samples are another matrix product."""
    detector, starts = detectors(0, 1), torch.rand(2, 6, 2, generator=torch.Generator().manual_seed(0))
    ends = langevin(detector, starts, seeds=[3, 4], chain=CHAIN)
    few = langevin(detector, starts[:, :2], seeds=[3, 4], chain=CHAIN)
    alone = langevin(Together([detector.member(1)]), starts[1:], seeds=[4], chain=CHAIN)
    torch.testing.assert_close(few, ends[:, :2], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone, ends[1:], rtol=0, atol=1e-5)
    assert not ends.requires_grad
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_it_learns_where_the_target_is(target: Samples) -> None:
    chain = Chain(steps=10, step_size=0.05, noise_scale=(1.0, 0.5))
    fitted = train(target, 0, 1, iterations=150, batch_size=64, chain=chain, rate=5e-3, ema=0.9, anneal=0.5)
    starts = torch.rand(2, 300, 2, generator=torch.Generator().manual_seed(0))
    points = langevin(fitted.detector, starts, seeds=[0, 1], chain=Chain(100, 0.05, (1.0, 0.5)))
    for begun, ended in zip(starts, points, strict=True):
        assert energy_distance(ended, target.values) < energy_distance(begun, target.values) / 10
    assert fitted.diverged == {}
    assert fitted.passes == 150 * 64 * (10 + 2)
    assert not fitted.detector.training


@pytest.mark.parametrize("persistent", [False, True])
def test_chains_begin_at_the_target_or_where_they_ended(target: Samples, persistent: bool) -> None:
    """By the mean logit of the ends under a linear detector that hardly learns; float32, to 1e-4."""
    detector = detectors(0, 1, hidden=())
    judge = detector.member(1)
    slope = next(judge.parameters())[0].detach() / 0.1
    steps: list[EnergyStep] = []
    train_energy(
        detector,
        target,
        seeds=[5, 6],
        iterations=2,
        batch_size=8,
        chain=CHAIN,
        persistent=persistent,
        rate=1e-12,
        callback=steps.append,
    )
    first = torch.randn(8, 2, generator=step_generator(6, 0, "persistent"))
    ends = 0.5 + 0.1 * first
    for iteration, step in enumerate(steps):
        real = target.draw(8, generator=step_generator(6, iteration, "target"))
        noise = torch.randn(4, 8, 2, generator=step_generator(6, iteration, "chains")).sum(0)
        walk = 4 * 0.05 * 0.1**2 * slope + 0.1 * math.sqrt(2 * 0.05) * 0.2 * noise
        ends = (ends if persistent else real) + walk
        with torch.no_grad():
            torch.testing.assert_close(step.outside[1], judge(ends).mean(), rtol=0, atol=1e-4)
            torch.testing.assert_close(step.inside[1], judge(real).mean(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_member_becomes_what_it_would_have_become_alone(target: Samples, persistent: bool) -> None:
    together, alone = train(target, 3, 5, persistent=persistent), train(target, 5, persistent=persistent)
    torch.testing.assert_close(weights(together.detector.member(1)), weights(alone.detector), rtol=1e-3, atol=1e-5)


def test_one_seed_gives_one_model_and_another_another(target: Samples) -> None:
    first, again, other = (
        train_energy(detectors(0), target, seeds=[seed], iterations=3, batch_size=8, chain=CHAIN).detector
        for seed in (0, 0, 1)
    )
    assert weights(first).equal(weights(again))
    assert not weights(first).equal(weights(other))


def test_the_penalty_pulls_the_logits_to_zero(target: Samples) -> None:
    sizes = []
    for regularisation in (0.0, 10.0):
        detector = detectors(0)
        with torch.no_grad():
            detector.get_parameter("6/bias").fill_(3.0)
        steps: list[EnergyStep] = []
        train_energy(
            detector,
            target,
            seeds=[0],
            iterations=30,
            batch_size=8,
            chain=CHAIN,
            regularisation=regularisation,
            rate=0.01,
            callback=steps.append,
        )
        sizes.append(steps[-1].inside.abs().item())
    assert sizes[1] < sizes[0] - 1


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("value", [math.nan, 1e30])
def test_a_member_that_diverges_is_set_to_zero_and_the_others_go_on(
    target: Samples, value: float, persistent: bool
) -> None:
    """The other ends where it would have ended alone, though torchebm swallows the loss of both; to 1e-3."""
    detector = detectors(3, 5)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter[0] = value
    fitted = train_energy(
        detector, target, seeds=[3, 5], iterations=10, batch_size=8, chain=CHAIN, persistent=persistent
    )
    assert fitted.diverged == {0: 1}
    assert not weights(detector.member(0)).any()
    assert not weights(fitted.detector.member(0)).any()
    alone = train(target, 5, persistent=persistent)
    torch.testing.assert_close(weights(fitted.detector.member(1)), weights(alone.detector), rtol=1e-3, atol=1e-5)


def test_training_ends_where_no_member_is_left(target: Samples) -> None:
    detector = detectors(0)
    with torch.no_grad():
        next(detector.parameters()).fill_(math.nan)
    fitted = train_energy(detector, target, seeds=[0], iterations=10, batch_size=8, chain=CHAIN)
    assert fitted.diverged == {0: 1}
    assert fitted.passes == 0


def test_the_callback_sees_every_nth_iteration(target: Samples) -> None:
    steps: list[EnergyStep] = []
    fitted = train(target, 0, 1, iterations=7, every=3, callback=steps.append)
    assert [step.iteration for step in steps] == [3, 6]
    assert steps[0].detector is fitted.detector
    assert steps[0].inside.shape == steps[0].outside.shape == steps[0].auroc.shape == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [0]}, "expected 2 seeds, one a member, got 1"),
        ({"iterations": 0}, "expected iterations to be at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size to be at least 1, got 0"),
        ({"every": 0}, "expected every to be at least 1, got 0"),
        ({"regularisation": -1.0}, "expected regularisation to be at least 0 and finite, got -1.0"),
        ({"rate": 0.0}, "expected learning rates to be positive and finite, got 0.0"),
        ({"ema": 0.0}, r"expected ema to be None or in \(0, 1\), got 0.0"),
        ({"anneal": -0.1}, r"expected anneal in \[0, 1\], got -0.1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_it_refuses(target: Samples, options: dict[str, object], message: str) -> None:
    detector = detectors(0, 1)
    before = weights(detector)
    settings: dict[str, object] = {"seeds": [0, 1], "iterations": 2, "batch_size": 4, "chain": CHAIN}
    with pytest.raises(ValueError, match=f"^{message}$"):
        train_energy(detector, target, **(settings | options))  # type: ignore[arg-type]
    assert weights(detector).equal(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "expected steps to be at least 1, got 0"),
        ({"step_size": 0.0}, "expected step_size to be positive and finite, got 0.0"),
        ({"noise_scale": math.nan}, "expected noise_scale to be positive and finite, got nan"),
        (
            {"noise_scale": (0.1, 1.0)},
            r"expected noise_scale to be \(first, last\) with first >= last > 0 and finite, got \(0.1, 1.0\)",
        ),
        ({"spread": math.inf}, "expected spread to be positive and finite, got inf"),
    ],
    ids=str,
)
def test_a_chain_refuses(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Chain(**({"steps": 1, "step_size": 0.1, "noise_scale": 0.1} | options))  # type: ignore[arg-type]


def test_chains_refuse_starts_that_are_not_a_lot_a_member() -> None:
    for shape in ((1, 4, 2), (2, 0, 2), (2, 4)):
        with pytest.raises(ValueError, match=r"expected starts of shape \(2, n, \*\) with n >= 1, got \("):
            langevin(detectors(0, 1), torch.zeros(shape), seeds=[0, 1], chain=CHAIN)
    with pytest.raises(ValueError, match="expected 2 seeds, one a member, got 1"):
        langevin(detectors(0, 1), torch.zeros(2, 4, 2), seeds=[0], chain=CHAIN)


def test_without_torchebm_it_says_what_to_install(target: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchebm", None)
    with pytest.raises(ValueError, match=r"^expected torchebm .*, got none: pip install 'genat\[peers\]'$"):
        train(target, 0)
    with pytest.raises(ValueError, match=r"^expected torchebm .*, got none: pip install 'genat\[peers\]'$"):
        langevin(detectors(0), torch.zeros(1, 4, 2), seeds=[0], chain=CHAIN)
