"""GAT as a trainer: its plan, what it costs, its seeds alone and in company, its samples, and its divergence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from genat import networks
from genat.balls import L2Ball, LinfBall
from genat.evaluation.points import mode_report
from genat.networks import Together
from genat.simulations import trainers
from genat.simulations.lineup import BUDGET, TRAINERS
from genat.simulations.trainers import TRAJECTORIES, Gat, Trained, Trainer, detectors
from genat.simulations.watch import Watch, member_logits
from genat.sources.toy import TOYS

pytestmark = pytest.mark.usefixtures("small")
GAT = Gat(iterations=24, batch_size=8, hidden=(8,), last=3)
RING = TOYS["ring"]()
Poison = Callable[..., None]


def train(trainer: Trainer, seeds: Sequence[int] = (0, 1)) -> tuple[Trained, Watch]:
    watch = Watch(RING, trainer.iterations)
    return trainer.train(RING, seeds=seeds, device="cpu", watch=watch), watch


def planned(trainer: Gat) -> list[int]:
    """Return the ascent steps of every iteration."""
    progress = trainer.curriculum().start(iterations=trainer.iterations)
    steps = []
    for _ in range(trainer.iterations):
        steps.append(progress.steps)
        progress.observe(auroc=1.0)  # no gate: a detector that wins changes nothing
    return steps


# settings


@pytest.mark.parametrize("ramp", [0.25, 0.5, 1.0])
def test_the_steps_grow_evenly_and_then_stay(ramp: float) -> None:
    steps = planned(Gat(iterations=400, first=1, last=10, ramp=ramp))
    assert steps[0] == 1
    assert steps[-1] == 10
    assert steps.index(10) == round(0.9 * ramp * 400)
    assert {steps.count(k) for k in range(1, 10)} == {round(ramp * 40)}


def test_without_a_ramp_and_in_short_trainings_every_iteration_is_a_stage() -> None:
    assert planned(Gat(iterations=6, first=1, last=4, ramp=0.0)) == [1, 2, 3, 4, 4, 4]
    assert planned(Gat(iterations=3, first=1, last=20)) == [1, 2, 3]


def test_the_ball_is_the_norms() -> None:
    assert Gat().ball == L2Ball(None)
    assert Gat(radius=0.3).ball == L2Ball(0.3)
    assert Gat(norm="linf", radius=0.3).ball == LinfBall(0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": -1.0}, "radius .* at least 0, got -1"),
        ({"radius": math.nan}, "radius"),
        ({"radius": -1.0, "norm": "linf"}, "radius"),
        ({"ramp": 1.5}, r"ramp in \[0, 1\], got 1.5"),
        ({"ramp": -0.1}, "ramp"),
        ({"first": -1}, "first to be at least 0"),
        ({"first": 30}, "last to be at least first=30"),
    ],
)
def test_settings_out_of_range_are_refused_when_they_are_made(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Gat(**options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_another_rate_is_the_only_change() -> None:
    assert Gat(hidden=(8,)).with_rate(0.5) == Gat(hidden=(8,), rate=0.5)


@pytest.mark.parametrize("name", ["gat", "gat-ball", "gat-replay"])
@pytest.mark.parametrize("budget", [BUDGET, 10 * BUDGET])
def test_the_budget_is_spent(name: str, budget: int) -> None:
    trainer = TRAINERS[name].with_budget(budget)
    assert isinstance(trainer, Gat)
    assert trainer == replace(trainer, iterations=trainer.iterations)
    spent = trainer.batch_size * sum(min(k, trainer.burst or k) + 2 for k in planned(trainer))
    assert spent == pytest.approx(budget, rel=2e-3)


def test_a_budget_below_an_iteration_is_one_iteration() -> None:
    assert Gat().with_budget(1).iterations == 1


# passes


@pytest.mark.parametrize(
    "trainer",
    [GAT, replace(GAT, first=0, last=0), replace(GAT, random_start=True, radius=0.2), replace(GAT, burst=2)],
)
def test_passes_are_those_that_the_detector_saw(trainer: Gat, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, forward = 0, Together.forward

    def counted(self: Together, inputs: Tensor) -> Tensor:
        nonlocal rows
        rows += len(inputs) if torch.is_grad_enabled() else 0  # what is only looked at is no pass
        return forward(self, inputs)

    seen = 0

    class Counting(Watch):
        def __call__(self, iteration: int, **what: Any) -> None:  # noqa: ANN401
            nonlocal seen
            seen = rows
            super().__call__(iteration, **what)

    monkeypatch.setattr(Together, "forward", counted)
    monkeypatch.setattr(Together, "written_out", lambda _: None)  # its passes would go past `forward`
    watch = Counting(RING, trainer.iterations)
    trained = trainer.train(RING, seeds=(0, 1, 2), device="cpu", watch=watch)
    assert 3 * trained.passes == seen
    assert trained.passes == 8 * sum(min(k, trainer.burst or k) + 2 for k in planned(trainer))
    assert [record["steps"] for record in watch.history] == planned(trainer)


# seeds


def test_each_seed_has_its_own_network_in_its_place_and_its_hidden_layers_hes_variance() -> None:
    made = detectors(2, hidden=(8, 300, 200), std=0.1, seeds=(3, 7), device="cpu").member(1)
    plain = networks.build("mlp", (2,), {"hidden": (8, 300, 200), "mean": 0.5, "std": 0.1}, seed=7)
    factors = [1.0 if name.endswith("bias") else math.sqrt(6) for name, _ in plain.named_parameters()]
    factors[-2] = 1.0  # the last layer's weight
    for ours, theirs, factor in zip(made.parameters(), plain.parameters(), factors, strict=True):
        torch.testing.assert_close(ours, theirs * factor, rtol=1e-6, atol=0)
    widest = next(weight for weight in made.parameters() if weight.shape == (200, 300))
    assert widest.var().item() == pytest.approx(2 / 300, rel=0.02)


def test_without_hes_variance_weights_begin_as_pytorchs() -> None:
    made = detectors(2, hidden=(8, 8), std=0.1, seeds=(3, 7), device="cpu", he=False).member(1)
    plain = networks.build("mlp", (2,), {"hidden": (8, 8), "mean": 0.5, "std": 0.1}, seed=7)
    assert all(map(torch.equal, made.parameters(), plain.parameters()))


def test_a_seed_in_company_is_the_seed_alone() -> None:
    together, both = train(GAT, seeds=(0, 5))
    alone, single = train(GAT, seeds=(5,))
    cells = both.lattice
    logits = member_logits(together.detector, cells)
    torch.testing.assert_close(logits[1], member_logits(alone.detector, cells)[0], rtol=0, atol=1e-4)
    assert (logits[0] - logits[1]).abs().max() > 0.01
    torch.testing.assert_close(together.samples[1], alone.samples[0], rtol=0, atol=1e-3)
    for one, two in zip(single.history, both.history, strict=True):
        assert one["loss"][0] == pytest.approx(two["loss"][1], abs=1e-5)
    assert both.late_aurocs()[1] == pytest.approx(single.late_aurocs()[0], abs=0.02)  # a pair of 64 may change places


def test_the_same_seeds_twice_are_the_same_to_the_bit() -> None:
    first, second = train(GAT)[0], train(GAT)[0]
    assert first.samples.equal(second.samples)
    assert first.trajectory.equal(second.trajectory)
    for one, two in zip(first.detector.parameters(), second.detector.parameters(), strict=True):
        assert one.equal(two)


# samples


def start_and_end(slope: float, cut: float, linear: Callable[..., Together], n: int = 100) -> tuple[Tensor, Tensor]:
    return GAT.sample(linear((slope, cut)).member(0), RING, seed=3, n=n)


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_samples_begin_outside_and_climb_until_they_have_arrived(linear: Callable[..., Together], slope: float) -> None:
    samples, way = start_and_end(slope, 0.5, linear)
    assert samples.shape == (100, 2)
    assert way.shape[1:] == (TRAJECTORIES, 2)
    assert len(way) <= 1 + 3 + 40 + 40  # fewer where all have arrived
    assert {tuple(point) for point in way[0].tolist()} <= {tuple(point) for point in RING.outside.tolist()}
    assert way[-1].equal(samples[:TRAJECTORIES])
    # the logit is the way to the right, or to the left, and the positives' median is where it ends
    level, right = RING.target[:, 0].mul(slope).median(), way[..., 0] * slope
    assert right.diff(dim=0).min() >= 0
    assert way[..., 1].diff(dim=0).abs().max() == 0
    there = right[0] >= level
    assert 0 < there.sum() < TRAJECTORIES
    assert way[-1, there].equal(way[0, there])
    near = ~there & (right[0] > level - 0.3)  # the ascent's three steps reach .06 to .3, those that follow .48 in all
    assert near.any()
    assert (right[-1, near] >= level).all()
    assert (right[-1, near] <= level + 0.1).all()


def test_an_ascent_stops_where_it_cannot_go_on(linear: Callable[..., Together]) -> None:
    samples, _ = start_and_end(1.0, 0.5, linear)
    assert samples.amin() >= 0
    assert samples.amax() <= 1


def test_samples_of_a_seed_are_its_own(linear: Callable[..., Together]) -> None:
    detector = linear((1.0, 0.5)).member(0)
    first, second, again = (GAT.sample(detector, RING, seed=seed, n=30)[0] for seed in (0, 1, 0))
    assert first.equal(again)
    assert not first.equal(second)


def test_a_detector_without_ascent_takes_a_step_to_generate(linear: Callable[..., Together]) -> None:
    _, way = replace(GAT, first=0, last=0).sample(linear((1.0, 5.0)).member(0), RING, seed=0, n=2)
    assert len(way) <= 1 + 1 + 40 + 40
    assert way.shape[1:] == (2, 2)


# divergence


def test_a_seed_that_diverges_leaves_the_others_unharmed(poison: Poison) -> None:
    healthy, _ = train(GAT)
    poison(1)
    trained, watch = train(GAT)
    assert trained.diverged == {1: 4}
    torch.testing.assert_close(
        member_logits(trained.detector, watch.lattice)[0],
        member_logits(healthy.detector, watch.lattice)[0],
        rtol=0,
        atol=1e-6,
    )
    assert trained.samples[0].equal(healthy.samples[0])
    assert trained.passes == healthy.passes
    for record in watch.history:
        gone = record["iteration"] >= 4
        assert [math.isnan(value) for value in record["loss"]] == [False, gone]
        assert [math.isnan(value) for value in record["auroc"]] == [False, gone]


def test_where_all_diverge_the_steps_are_told_and_zeros_are_left(poison: Poison) -> None:
    poison(2, after=1)
    poison(0, 1, after=3)
    trained, watch = train(GAT, seeds=(0, 1, 2))
    assert trained.diverged == {0: 4, 1: 4, 2: 2}
    assert trained.passes == 8 * (3 + 3 + 3)  # three steps, with one of ascent each
    assert trained.samples.shape == (3, 50, 2)
    assert not trained.samples.any()
    assert trained.trajectory.shape == (0, 0, 2)
    assert not member_logits(trained.detector, watch.lattice).any()
    assert [record["iteration"] for record in watch.history] == [1, 2, 3]


def test_a_rate_that_throws_all_out_at_once() -> None:
    trained, watch = train(GAT.with_rate(1e30))
    assert trained.diverged == {0: 2, 1: 2}
    assert [record["iteration"] for record in watch.history] == [1]


def test_a_last_step_into_the_void_counts_as_divergence() -> None:
    trained, watch = train(replace(GAT, iterations=1, rate=1e30))
    assert trained.diverged == {0: 1, 1: 1}
    assert torch.isfinite(trained.samples).all()
    assert not member_logits(trained.detector, watch.lattice).any()


# quality


@pytest.mark.slow
def test_gat_finds_every_mode_of_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "SAMPLES", 2500)
    trained, watch = train(Gat(hidden=(64, 64, 64)).with_budget(550_000))
    assert trained.diverged == {}
    assert RING.centers is not None
    assert RING.radius is not None
    for samples in trained.samples:
        modes, high_quality = mode_report(samples, RING.centers, RING.radius)
        assert modes == 8
        assert high_quality >= 0.9
    assert all(0.5 < area < 0.999 for area in watch.late_aurocs())
