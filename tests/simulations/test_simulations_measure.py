"""A row of figures: those of the law itself, one rule for failures, and no figure for what diverged."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genat.evaluation.points import energy_distance, lattice
from genat.networks import Together
from genat.simulations import measure as module
from genat.simulations.measure import box_row, failure, measure
from genat.simulations.outcome import Row
from genat.simulations.trainers import Trained
from genat.simulations.watch import Watch
from genat.sources.toy import TOYS, Toy
from genat.training import step_generator

pytestmark = pytest.mark.usefixtures("small")
Linear = Callable[..., Together]
FIGURES = {"iou", "iou_threshold", "auroc", "inside", "energy_distance", "starts_energy_distance",
           "sliced_wasserstein", "late_auroc"}  # fmt: skip


def law(toy: Toy, n: int = 400) -> Tensor:
    return toy.draw(n, generator=torch.Generator().manual_seed(0))


def followed(toy: Toy, *, late: list[float]) -> Watch:
    watch = Watch(toy, 10)
    watch.late = (torch.tensor(late, dtype=torch.float64), 1)
    return watch


def know(monkeypatch: pytest.MonkeyPatch, toy: Toy) -> None:
    """Let every detector be high on the support and nowhere else."""

    def logits(detector: Together, points: Tensor) -> Tensor:
        return torch.where(toy.inside(points), 1.0, -1.0).repeat(detector.members, 1)

    monkeypatch.setattr(module, "member_logits", logits)


# figures


@pytest.mark.parametrize("name", ["ring", "spirals", "checkerboard", "blobs"])
def test_the_law_itself_has_nothing_to_wish_for(name: str, linear: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = TOYS[name]()
    know(monkeypatch, toy)
    detector = linear((1.0, 0.0), (1.0, 0.0), dim=toy.shape[0])
    trained = Trained(detector, torch.stack([law(toy), toy.outside[:400]]), torch.empty(0), 123, {})
    ideal, outside = measure(toy, trained, followed(toy, late=[0.5, 0.5]), seeds=(4, 7), seconds=6.0)
    found = {"cells"} if toy.centers is None else {"modes", "high_quality"}
    found |= {"peak_1", "peak_2"} if name == "blobs" else set()
    assert ideal.keys() == outside.keys() == FIGURES | found | {"seed", "passes", "seconds", "diverged", "failure"}
    assert (ideal["seed"], ideal["passes"], ideal["seconds"], ideal["failure"]) == (4, 123, 3.0, None)
    assert (ideal["iou"], ideal["iou_threshold"], ideal["auroc"], ideal["late_auroc"]) == (1.0, 1.0, 1.0, 0.5)
    assert float(ideal["inside"] or 0) > 0.95  # three deviations hold .989 of a Gaussian in the plane
    assert float(ideal["energy_distance"] or 9) < 0.005
    assert float(ideal["sliced_wasserstein"] or 9) < 0.03
    if toy.centers is not None:
        assert ideal["modes"] == len(toy.centers)
        assert float(ideal["high_quality"] or 0) > 0.95
    assert (outside["seed"], outside["inside"], outside["failure"]) == (7, 0.0, "too few modes")
    # the starts are what they are compared with
    assert outside["starts_energy_distance"] == ideal["starts_energy_distance"]
    assert outside["energy_distance"] == pytest.approx(outside["starts_energy_distance"], rel=0.15)


def test_the_held_out_draws_are_no_seeds_and_no_positives(linear: Linear) -> None:
    toy = TOYS["ring"]()
    detector = linear((1.0, 0.5))
    (row,) = measure(toy, Trained(detector, law(toy)[None], torch.empty(0), 1, {}),
                     followed(toy, late=[0.5]), seeds=(0,), seconds=1.0)  # fmt: skip
    held_out = toy.draw(200, generator=step_generator(0, 0, "held out ring"))
    assert row["energy_distance"] == energy_distance(law(toy), held_out)
    assert not (held_out[:, None] == toy.target[None]).all(dim=2).any()


def test_a_logit_of_no_use_is_chance(linear: Linear) -> None:
    toy = TOYS["ring"]()
    trained = Trained(linear((0.0, 0.0)), law(toy)[None], torch.empty(0), 1, {})
    (row,) = measure(toy, trained, followed(toy, late=[0.5]), seeds=(0,), seconds=1.0)
    assert row["auroc"] == 0.5
    assert 0 < float(row["iou"] or 0) < 0.1  # the support's share of the window


def test_the_peaks_on_the_line_are_where_the_logit_is_highest_near_each_mode(
    linear: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = TOYS["blobs"]()
    monkeypatch.setattr(
        module, "member_logits", lambda _, cells: toy.density(cells - 0.02).clamp_min(1e-30).log()[None]
    )
    trained = Trained(linear((1.0, 0.0), dim=1), law(toy)[None], torch.empty(0), 1, {})
    (row,) = measure(toy, trained, followed(toy, late=[0.5]), seeds=(0,), seconds=1.0)
    assert row["peak_1"] == pytest.approx(0.42, abs=0.0051)  # half a cell
    assert row["peak_2"] == pytest.approx(0.62, abs=0.0051)


@pytest.mark.parametrize("name", ["ring", "checkerboard"])
def test_the_box_is_counted_cell_by_cell(name: str) -> None:
    toy = TOYS[name]()
    cells = lattice(100)
    support = toy.inside(cells)
    low, high = toy.target.amin(dim=0), toy.target.amax(dim=0)
    box = ((cells >= low) & (cells <= high)).all(dim=1)
    assert box_row(toy) == pytest.approx((box & support).sum().item() / (box | support).sum().item())


# divergence


def test_a_seed_that_diverged_has_no_figures(linear: Linear) -> None:
    toy = TOYS["ring"]()
    trained = Trained(linear((1.0, 0.5), (0.0, 0.0)), torch.stack([law(toy)] * 2), torch.empty(0), 5, {1: 3})
    sound, lost = measure(toy, trained, followed(toy, late=[0.5, math.nan]), seeds=(0, 1), seconds=2.0)
    assert sound["diverged"] is None
    assert lost == {"seed": 1, "passes": 5, "seconds": 1.0, "diverged": 3, "failure": "not finite"}


@pytest.mark.parametrize("where", ["samples", "detector"])
def test_what_is_not_finite_at_the_end_has_diverged_in_the_last_step(linear: Linear, where: str) -> None:
    toy = TOYS["ring"]()
    samples, detector = torch.stack([law(toy)] * 2), linear((1.0, 0.5), (1.0, 0.5))
    if where == "samples":
        samples[0, 7, 1] = math.inf
    else:
        detector = linear((math.nan, 0.5), (1.0, 0.5))
    watch = followed(toy, late=[0.5, 0.5])
    lost, sound = measure(toy, Trained(detector, samples, torch.empty(0), 5, {}), watch, seeds=(0, 1), seconds=2.0)
    assert (lost["diverged"], lost["failure"]) == (10, "not finite")
    assert "iou" not in lost
    assert sound["diverged"] is None


# failures

SOUND: Row = {"diverged": None, "modes": 8, "energy_distance": 0.01, "starts_energy_distance": 0.2, "late_auroc": 0.7}


@pytest.mark.parametrize(
    ("changes", "modes", "reason"),
    [
        ({}, 8, None),
        ({"diverged": 1}, 8, "not finite"),
        ({"diverged": 0}, 8, "not finite"),
        ({"modes": 4}, 8, None),
        ({"modes": 3}, 8, "too few modes"),
        ({"modes": 12}, 25, "too few modes"),
        ({"modes": 13}, 25, None),
        ({"modes": 1}, 2, None),
        ({"modes": 0}, 2, "too few modes"),
        ({"cells": 0.5}, None, None),
        ({"cells": 0.49}, None, "too few modes"),
        ({"energy_distance": 0.2}, 8, "no nearer than the starts"),
        ({"energy_distance": 0.3}, 8, "no nearer than the starts"),
        ({"energy_distance": 0.19}, 8, None),
        ({"late_auroc": 0.049}, 8, "one player won"),
        ({"late_auroc": 0.05}, 8, None),
        ({"late_auroc": 0.999}, 8, None),
        ({"late_auroc": 0.9991}, 8, "one player won"),
        ({"late_auroc": None}, 8, None),
        # the first reason is told
        ({"diverged": 5, "modes": 0}, 8, "not finite"),
        ({"modes": 0, "energy_distance": 1.0, "late_auroc": 1.0}, 8, "too few modes"),
        ({"energy_distance": 1.0, "late_auroc": 1.0}, 8, "no nearer than the starts"),
    ],
)
def test_when_a_training_has_failed(changes: Row, modes: int | None, reason: str | None) -> None:
    assert failure(SOUND | changes, modes=modes) == reason


def test_a_trainer_without_an_adversary_cannot_lose_to_it() -> None:
    row = {name: value for name, value in SOUND.items() if name != "late_auroc"}
    assert failure(row, modes=8) is None


def test_a_law_without_modes_is_counted_by_its_cells(linear: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = TOYS["checkerboard"]()
    know(monkeypatch, toy)
    half = law(toy, 4000)
    half = half[half[:, 0] < 0.45]  # less than half of the board
    trained = Trained(linear((1.0, 0.0)), half[None], torch.empty(0), 1, {})
    (row,) = measure(toy, trained, followed(toy, late=[0.5]), seeds=(0,), seconds=1.0)
    assert float(row["cells"] or 0) < 0.5
    assert row["failure"] == "too few modes"
