"""Several trainings side by side: each becomes what it would have become alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from genat import networks
from genat.balls import Ball, L2Ball, LinfBall
from genat.curriculum import Curriculum
from genat.networks import Together
from genat.recipe import OptimizerFactory, adam, annealed, sgd
from genat.sources import Box, Samples
from genat.training import DivergenceError, Fitted, Step, fit
from genat.training import members as side

POINTS = 0.5 + 0.05 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
SEEDS = (3, 1, 4)


def nets(seeds: Sequence[int]) -> list[nn.Module]:
    return [networks.build("mlp", (2,), {"hidden": (16, 16)}, seed=seed) for seed in seeds]


def train(
    detector: nn.Module,
    seed: int | Sequence[int],
    *,
    target: Tensor | Samples = POINTS,
    iterations: int = 12,
    ball: Ball = L2Ball(),
    random_start: bool = False,
    step_size: float | tuple[float, float] = 0.05,
    shrink: float | tuple[float, float] = 1.0,
    r1: float = 0.0,
    clip_norm: float | None = None,
    anneal: float = 0.0,
    descent_steps: int = 0,
    optimizer: OptimizerFactory = adam(1e-3),  # noqa: B008
    folder: Path | None = None,
    resume: bool = False,
    seen: list[Step] | None = None,
) -> Fitted:
    return fit(
        detector,
        target,
        Box(2),
        iterations=iterations,
        steps=Curriculum(0, 3, gate=None),
        step_size=step_size,
        shrink=shrink,
        ball=ball,
        random_start=random_start,
        r1=r1,
        clip_norm=clip_norm,
        anneal=anneal,
        descent_steps=descent_steps,
        batch_size=8,
        optimizer=optimizer,
        seed=seed,
        folder=folder,
        checkpoint_every=5,
        resume=resume,
        callback=None if seen is None else seen.append,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": sgd(0.05)},
        {"r1": 0.1},
        {"clip_norm": 0.01},
        {"anneal": 0.5},
        {"step_size": (0.01, 0.1), "shrink": (0.1, 1.0)},
        {"descent_steps": 2},
        {"ball": LinfBall(0.3), "random_start": True},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_a_member_becomes_what_it_becomes_alone(options: dict[str, object]) -> None:
    seen: list[Step] = []
    together = train(Together(nets(SEEDS)), SEEDS, seen=seen, **options)  # type: ignore[arg-type]
    x = POINTS[:20]
    assert isinstance(together.detector, Together)
    for index, (seed, network) in enumerate(zip(SEEDS, nets(SEEDS), strict=True)):
        steps: list[Step] = []
        alone = train(network, seed, seen=steps, **options)  # type: ignore[arg-type]
        torch.testing.assert_close(together.detector.member(index)(x), alone.detector(x), rtol=1e-3, atol=1e-4)
        for mine, both in zip(steps, seen, strict=True):
            member = both.members[index]
            assert member.loss == pytest.approx(mine.loss, rel=1e-3)
            assert member.auroc == pytest.approx(mine.auroc, abs=1 / 64)
            assert member.gradient == pytest.approx(mine.gradient, rel=1e-2)
            assert member.path == pytest.approx(mine.path, abs=1e-3)
    assert seen[-1].loss == pytest.approx(sum(member.loss for member in seen[-1].members) / 3)


def test_a_resumed_training_of_several_is_the_same(tmp_path: Path) -> None:
    whole = train(Together(nets(SEEDS)), SEEDS)
    train(Together(nets(SEEDS)), SEEDS, iterations=12, folder=tmp_path)
    for path in tmp_path.glob("step-00000012*"):
        path.unlink()
    resumed = train(Together(nets(SEEDS)), SEEDS, folder=tmp_path, resume=True)
    assert resumed.digest == whole.digest


class Poisoned(nn.Module):
    """A linear detector whose logit is not a number from some input on, by a weight of its own."""

    def __init__(self, poison: float) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer("poison", torch.tensor(poison))

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.linear(x)[:, 0]
        return logit + (x.sum(1) - x.sum(1).detach()) * self.get_buffer("poison")


class BlowsUp(torch.optim.SGD):
    """Plain descent that makes the weights of chosen members infinite after some steps."""

    def __init__(self, parameters: object, *, rows: list[int], at: int) -> None:
        super().__init__(parameters, lr=0.01)  # type: ignore[arg-type]
        self.rows, self.left = rows, at

    def step(self, _: object = None) -> None:  # type: ignore[override]
        super().step()
        self.left -= 1
        if self.left == 0:
            with torch.no_grad():
                self.param_groups[0]["params"][0][self.rows] = math.inf


def test_a_member_that_diverges_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    def optimizer(rows: list[int]) -> OptimizerFactory:
        return lambda parameters: BlowsUp(parameters, rows=rows, at=4)

    seen: list[Step] = []
    lost = train(Together(nets(SEEDS)), SEEDS, optimizer=optimizer([1]), folder=tmp_path, seen=seen)
    whole = train(Together(nets(SEEDS)), SEEDS, optimizer=optimizer([]))
    assert lost.diverged == {1: 5}
    assert whole.diverged == {}
    assert isinstance(lost.detector, Together)
    assert isinstance(whole.detector, Together)
    x = POINTS[:20]
    for index in (0, 2):
        assert torch.equal(lost.detector.member(index)(x), whole.detector.member(index)(x))
    assert torch.equal(lost.detector.member(1)(x), torch.zeros(20))
    assert [math.isnan(step.members[1].loss) for step in seen] == [False] * 4 + [True] * 8
    assert all(math.isfinite(step.loss) for step in seen)
    resumed = train(Together(nets(SEEDS)), SEEDS, optimizer=optimizer([]), folder=tmp_path, resume=True, iterations=12)
    assert resumed.diverged == {1: 5}
    with pytest.raises(DivergenceError, match=r"^step 5: expected finite"):
        train(Together(nets(SEEDS)), SEEDS, optimizer=optimizer([0, 1, 2]))


def test_a_gradient_that_is_no_number_costs_one_member_only() -> None:
    with torch.random.fork_rng(devices=[]):
        together = Together([Poisoned(poison) for poison in (0.0, math.nan, 0.0)])
    lost = train(together, SEEDS)
    assert list(lost.diverged) == [1]


@pytest.mark.parametrize(
    ("detector", "seed", "message"),
    [
        (Together(nets(SEEDS)), 0, "expected 3 seeds, one a member, got 0"),
        (Together(nets(SEEDS)), (0, 1), r"expected 3 seeds, one a member, got \(0, 1\)"),
        (nets([0])[0], (0,), r"expected one seed, got \(0,\)"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(detector: nn.Module, seed: int | Sequence[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(detector, seed)


def test_other_seeds_are_not_gone_on_with(tmp_path: Path) -> None:
    train(Together(nets(SEEDS)), SEEDS, folder=tmp_path)
    with pytest.raises(ValueError, match=r"expected to resume with seed \[3, 1, 4\], got \[3, 1, 5\]"):
        train(Together(nets(SEEDS)), (3, 1, 5), folder=tmp_path, resume=True)


def test_the_learning_rate_falls_by_half_a_cosine() -> None:
    factors = [annealed(i, iterations=100, anneal=0.4) for i in range(101)]
    assert factors[:61] == [1.0] * 61
    assert factors[80] == pytest.approx(0.505)
    assert factors[100] == pytest.approx(0.01)
    assert factors == sorted(factors, reverse=True)


def test_clipping_is_a_members_own() -> None:
    with torch.random.fork_rng(devices=[]):
        both = Together([nn.Linear(1, 1, bias=False)] * 2)
    both(torch.tensor([[3.0], [4.0]])).sum().backward()
    side.clip_gradients(both, side.gradient_norms(both), 3.5)
    gradient = both.get_parameter("weight").grad
    assert gradient is not None
    torch.testing.assert_close(gradient.flatten(), torch.tensor([3.0, 3.5]))


@pytest.mark.parametrize(
    ("step_size", "message"),
    [
        ((0.2, 0.1), r"expected step_size to be \(low, high\) with 0 < low <= high and finite, got \(0.2, 0.1\)"),
        ((0.0, 0.1), r"expected step_size to be \(low, high\)"),
        ((0.1, math.inf), r"expected step_size to be \(low, high\)"),
    ],
)
def test_step_sizes_out_of_range_are_refused(step_size: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(nets([0])[0], 0, step_size=step_size)


@pytest.mark.parametrize("shrink", [(0.5, 1.5), 1.5])
def test_a_shrinking_that_grows_is_refused(shrink: float | tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected shrink to be at most 1, got"):
        train(nets([0])[0], 0, shrink=shrink)


def test_anneal_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected anneal in \[0, 1\], got 1.5"):
        train(nets([0])[0], 0, anneal=1.5)


def test_members_may_have_data_of_their_own() -> None:
    """Each becomes what it would have become alone, on its own target against its own outside data."""
    targets = [Samples(POINTS, name="near"), Samples(1 - 0.3 * POINTS, name="far")]
    outsides: list[Box | Samples] = [Box(2), Samples(POINTS)]
    alone = [
        fit(net, target, outside, iterations=8, steps=3, step_size=0.05, seed=seed).detector
        for net, target, outside, seed in zip(nets(SEEDS[:2]), targets, outsides, SEEDS, strict=False)
    ]
    both = fit(Together(nets(SEEDS[:2])), targets, outsides, iterations=8, steps=3, step_size=0.05, seed=SEEDS[:2])
    assert isinstance(both.detector, Together)
    for index, one in enumerate(alone):
        torch.testing.assert_close(both.detector.member(index)(POINTS), one(POINTS), rtol=1e-4, atol=1e-5)


def test_data_that_is_not_one_a_member_is_refused() -> None:
    def run(target: list[Tensor], outside: list[Box]) -> None:
        fit(Together(nets(SEEDS)), target, outside, iterations=1, steps=1, step_size=0.1, seed=SEEDS)

    with pytest.raises(ValueError, match="expected one target for all, or 3, one a member, got 2"):
        run([POINTS] * 2, [Box(2)])
    with pytest.raises(ValueError, match="expected one outside for all, or 3, one a member, got 0"):
        run([POINTS] * 3, [])
    with pytest.raises(ValueError, match=r"expected target and outside of one shape, got \(2,\) and \(3,\)"):
        run([POINTS, POINTS, torch.zeros(4, 3)], [Box(2)])
