"""What is noted while a training runs, and what is made of it: moments, the last fifth, the rule of failure."""

import math

import pytest
import torch
from torch import Tensor

from genat.simulations.outcome import Row
from genat.stability.measure import failure, measure
from genat.stability.watch import MOMENTS, Watch
from genat.training import DivergenceError

REFERENCES = {"starts": 30.0, "means": 20.0, "real": 1.0, "accuracy": 0.9}


def run(watch: Watch, *, each: int, aurocs: list[float] | None = None) -> list[int]:
    """Let a training of `each` passes an iteration go through; return the iterations that were looked at."""
    looked: list[int] = []

    def draw() -> Tensor:
        looked.append(watch.iteration)
        return torch.full((2, 1), float(watch.iteration))

    for i in range(1, watch.iterations + 1):
        watch(i, spent=each * i, auroc=0.5 if aurocs is None else aurocs[i - 1], draw=draw)
    return looked


def watch(iterations: int, *, each: int = 4, **options: object) -> Watch:
    return Watch("it", each * iterations, iterations, lambda images: images.mean().item(), **options)  # type: ignore[arg-type]


def test_it_looks_evenly_and_at_the_end() -> None:
    seen = watch(20)
    assert run(seen, each=4) == [5, 10, 15, 20]
    assert seen.curve == [{"passes": 4.0 * i, "distance": float(i)} for i in (5, 10, 15, 20)]
    assert seen.images is not None
    assert seen.images.tolist() == [[20.0], [20.0]]
    assert run(watch(3), each=4) == [1, 2, 3]
    assert run(watch(7), each=4)[-1] == 7
    assert len(run(watch(1000), each=4)) == MOMENTS


def test_moments_are_even_in_passes_where_iterations_cost_more_and_more() -> None:
    seen = Watch("it", 55, 10, lambda _: 0.0)
    for i in range(1, 11):
        seen(i, spent=i * (i + 1) // 2, auroc=0.5, draw=lambda: torch.zeros(1))
    assert [point["passes"] for point in seen.curve] == [15, 28, 45, 55]


def test_the_last_fifth_is_of_iterations() -> None:
    seen = watch(10)
    run(seen, each=4, aurocs=[0.1] * 8 + [0.6, 0.8])
    assert seen.late_auroc == pytest.approx(0.7)
    assert watch(10).late_auroc is None


def test_a_record_for_each_of_at_most_some_hundred_iterations() -> None:
    seen = watch(1001)
    run(seen, each=4)
    assert 200 <= len(seen.history) <= 202
    assert seen.history[-1] == {"iteration": 1001, "passes": 4004, "auroc": 0.5}
    short = watch(3)
    run(short, each=4)
    assert [record["iteration"] for record in short.history] == [1, 2, 3]


def test_a_line_at_every_tenth() -> None:
    said: list[str] = []
    run(watch(20, each=50, say=said.append), each=50)
    assert len(said) == 10
    assert said[0].startswith("it  100/1,000 passes  AUROC 0.500  ")
    assert "distance" not in said[0]
    assert "  distance 5.00  " in said[2]
    assert "  distance 20.00  0 s left" in said[-1]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_images_that_are_not_finite(value: float) -> None:
    seen = watch(1)
    with pytest.raises(DivergenceError, match="iteration 1: expected finite images, got some that are not"):
        seen(1, spent=4, auroc=0.5, draw=lambda: torch.tensor([0.0, value]))


def test_the_figures_of_a_training_that_ended() -> None:
    seen = watch(10)
    run(seen, each=4, aurocs=[0.9] * 10)
    assert measure(seen, diverged=False, references=REFERENCES) == {
        "passes": 40,
        "iterations": 10,
        "diverged": None,
        "distance": 10.0,
        "starts": 30.0,
        "means": 20.0,
        "late_auroc": pytest.approx(0.9),
        "failure": None,
    }


def test_the_figures_of_a_training_that_was_cut_short() -> None:
    seen = watch(10)
    seen(1, spent=4, auroc=0.9, draw=lambda: torch.zeros(1))
    row = measure(seen, diverged=True, references=REFERENCES)
    assert (row["passes"], row["iterations"], row["diverged"], row["failure"]) == (4, 1, 1, "not finite")
    assert row["distance"] is row["late_auroc"] is None


GOOD: Row = {"diverged": None, "distance": 4.9, "starts": 10.0, "means": 5.0, "late_auroc": 0.7}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"diverged": 0}, "not finite"),
        ({"diverged": 7, "distance": 0.0}, "not finite"),
        ({"distance": 5.0}, "no nearer than class means"),
        ({"distance": 12.0, "late_auroc": 1.0}, "no nearer than class means"),
        ({"distance": math.nan}, "no nearer than class means"),
        ({"late_auroc": 0.049}, "one player won"),
        ({"late_auroc": 0.05}, None),
        ({"late_auroc": 0.999}, None),
        ({"late_auroc": 0.9991}, "one player won"),
        ({"late_auroc": math.nan}, "one player won"),
    ],
    ids=str,
)
def test_one_rule_of_failure(change: Row, reason: str | None) -> None:
    assert failure(GOOD | change) == reason
