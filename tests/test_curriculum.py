"""When a stage ends."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genat.curriculum import Curriculum, Progress, Stage


def walk(progress: Progress, aurocs: Iterable[float]) -> list[int]:
    """Return the steps that each iteration was taken with."""
    steps = []
    for auroc in aurocs:
        steps.append(progress.steps)
        progress.observe(auroc=auroc)
    return steps


def test_stages_end_by_iterations() -> None:
    progress = Curriculum(2, 4, stage_iterations=3, gate=None).start(iterations=1000)
    assert walk(progress, [1.0] * 12) == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(("stages", "length"), [(1, 12), (3, 4), (4, 3), (12, 1)])
def test_stages_share_the_iterations_evenly(stages: int, length: int) -> None:
    progress = Curriculum(0, stages - 1, gate=None).start(iterations=12)
    assert walk(progress, [1.0] * 12) == [i // length for i in range(12)]


def test_more_stages_than_iterations_are_of_one_iteration_each() -> None:
    assert walk(Curriculum(0, 9, gate=None).start(iterations=4), [0.5] * 4) == [0, 1, 2, 3]


def test_a_gate_ends_a_stage_once_the_window_is_full_and_its_mean_above() -> None:
    progress = Curriculum(0, 1, stage_iterations=100, gate=0.625, window=4).start(iterations=1000)
    assert walk(progress, [1.0, 1.0, 1.0, 1.0]) == [0, 0, 0, 0]  # three times 1 over four would pass already
    assert progress.steps == 1


def test_a_mean_at_the_gate_does_not_pass() -> None:
    progress = Curriculum(0, 1, stage_iterations=100, gate=0.75, window=4).start(iterations=1000)
    walk(progress, [0.5, 1.0, 1.0, 0.5])
    assert progress.steps == 0
    walk(progress, [0.501])
    assert progress.steps == 1


def test_a_gate_looks_at_the_window_and_no_further_back() -> None:
    progress = Curriculum(0, 1, stage_iterations=100, gate=0.9, window=2).start(iterations=1000)
    walk(progress, [0.0] * 50 + [1.0])
    assert progress.steps == 0
    walk(progress, [1.0])
    assert progress.steps == 1


def test_the_window_is_new_at_every_stage() -> None:
    progress = Curriculum(0, 9, stage_iterations=100, gate=0.8, window=3).start(iterations=1000)
    assert walk(progress, [1.0] * 9) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    by_length = Curriculum(0, 9, stage_iterations=2, gate=0.8, window=3).start(iterations=1000)
    assert walk(by_length, [1.0] * 6) == [0, 0, 1, 1, 2, 2]


def test_a_stage_that_ends_is_told_of() -> None:
    progress = Curriculum(2, 4, stage_iterations=4, gate=0.75, window=2).start(iterations=100)
    told = [progress.observe(auroc=auroc) for auroc in (0.0, 0.5, 1.0, 0.25, 0.5, 1.0, 0.75, 1.0, 1.0)]
    assert [stage for stage in told if stage is not None] == [Stage(2, 4, 0.625, False), Stage(3, 3, 0.875, True)]
    assert [index for index, stage in enumerate(told) if stage is not None] == [3, 6]
    short = Curriculum(0, 1, stage_iterations=1, gate=0.75, window=2).start(iterations=100)
    assert short.observe(auroc=1.0) == Stage(0, 1, 1.0, False)


def test_no_gate_ends_no_stage_early() -> None:
    progress = Curriculum(0, 1, stage_iterations=50, gate=None, window=1).start(iterations=100)
    assert walk(progress, [1.0] * 60) == [0] * 50 + [1] * 10


def test_the_last_stage_never_ends() -> None:
    progress = Curriculum(3, 3, stage_iterations=1, gate=0.6, window=1).start(iterations=10)
    assert walk(progress, [1.0] * 500) == [3] * 500
    assert progress.iteration == 500
    assert len(progress.recent) == 1


@given(
    aurocs=st.lists(st.floats(0, 1), max_size=40),
    cut=st.integers(0, 40),
    plan=st.builds(
        Curriculum,
        st.just(0),
        st.integers(0, 6),
        stage_iterations=st.one_of(st.none(), st.integers(1, 9)),
        gate=st.sampled_from([None, 0.6, 0.8]),
        window=st.integers(1, 5),
    ),
)
def test_a_restored_progress_goes_on_as_if_never_interrupted(aurocs: list[float], cut: int, plan: Curriculum) -> None:
    whole = plan.start(iterations=40)
    expected = walk(whole, aurocs)
    first = plan.start(iterations=40)
    steps = walk(first, aurocs[:cut])
    second = plan.start(iterations=40)
    second.restore(json.loads(json.dumps(first.state())))
    assert steps + walk(second, aurocs[cut:]) == expected
    assert second.state() == whole.state()


def test_state_is_a_copy() -> None:
    progress = Curriculum(0, 1, window=5).start(iterations=100)
    walk(progress, [0.5])
    state = progress.state()
    walk(progress, [0.6])
    assert state == {"steps": 0, "iteration": 1, "recent": [0.5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": -1}, "expected first to be at least 0, got -1"),
        ({"first": 3, "last": 2}, "expected last to be at least first=3, got 2"),
        ({"stage_iterations": 0}, "expected stage_iterations to be None or at least 1, got 0"),
        ({"gate": 0.5}, r"expected gate to be None or in \(0.5, 1\], got 0.5"),
        ({"gate": 1.1}, r"expected gate to be None or in \(0.5, 1\], got 1.1"),
        ({"gate": float("nan")}, r"expected gate to be None or in \(0.5, 1\], got nan"),
        ({"window": 0}, "expected window to be at least 1, got 0"),
    ],
)
def test_impossible_plans_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curriculum(**({"first": 0, "last": 5} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 6}, "expected 0 to 5 steps in the curriculum, got 6"),
        ({"steps": -1}, "expected 0 to 5 steps in the curriculum, got -1"),
        ({"recent": [0.5, 0.5, 0.5]}, "expected at most window=2 recent AUROCs, got 3"),
    ],
)
def test_states_of_another_plan_are_refused_and_change_nothing(change: dict[str, Any], message: str) -> None:
    progress = Curriculum(0, 5, window=2).start(iterations=100)
    walk(progress, [0.6])
    before = progress.state()
    with pytest.raises(ValueError, match=message):
        progress.restore({"steps": 3, "iteration": 7, "recent": []} | change)
    assert progress.state() == before
