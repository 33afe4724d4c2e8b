"""What the watch over a training sees, as a function of the steps alone."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genat.curriculum import Curriculum, Stage
from genat.training import Health, Incident, Step
from genat.training import health as pure
from genat.training.health import Watch

PLAN = Curriculum(0, 3, gate=0.8, window=10)
FULL = Stage(steps=1, iterations=20, auroc=0.7, passed=False)


def step(iteration: int, *, auroc: float = 0.5, path: float = 1.0, steps: int = 3) -> Step:
    return Step(iteration, loss=0.7, auroc=auroc, steps=steps, inside=0, outside=0, path=path, gradient=1, seconds=0)


def walked(health: Health, steps: list[Step], *, plan: Curriculum = PLAN, members: int = 1) -> Watch:
    watch = pure.begin(members)
    for each in steps:
        watch = pure.observe(watch, health, each, plan=plan, ended=None, final=False)
    return watch


def kinds(watch: Watch) -> list[tuple[int, str]]:
    return [(incident.iteration, incident.kind) for incident in watch.incidents]


# settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"non_finite": "continue"}, "expected non_finite to be 'stop' or 'back-off', got 'continue'"),
        ({"gate": "halt"}, "expected gate to be 'continue', 'stop' or 'back-off', got 'halt'"),
        ({"stuck": "back_off"}, "expected stuck to be 'continue', 'stop' or 'back-off', got 'back_off'"),
        ({"wins": None}, "expected wins to be 'continue', 'stop' or 'back-off', got None"),
        ({"loses": True}, "expected loses to be 'continue', 'stop' or 'back-off', got True"),
        ({"window": 0}, "expected window to be at least 1, got 0"),
        ({"back_offs": 0}, "expected back_offs to be at least 1, got 0"),
        ({"stuck_below": 0.0}, r"expected stuck_below in \(0, 1\), got 0.0"),
        ({"wins_above": 1.0}, r"expected wins_above in \(0, 1\), got 1.0"),
        ({"loses_below": math.nan}, r"expected loses_below in \(0, 1\), got nan"),
        ({"rate_factor": 1.0}, r"expected rate_factor in \(0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Health(**options)


def test_going_back_is_told_of_the_settings() -> None:
    assert not Health().backs_off
    assert not Health(non_finite="stop", gate="stop", stuck="stop", wins="stop", loses="stop").backs_off
    assert Health(non_finite="back-off").backs_off
    assert Health(gate="back-off").backs_off
    assert Health(stuck="back-off").backs_off
    assert Health(wins="back-off").backs_off
    assert Health(loses="back-off").backs_off


# windows


@pytest.mark.parametrize(
    ("figures", "kind", "value", "level"),
    [
        ({"auroc": 1.0}, "wins", 1.0, 0.999),
        ({"auroc": 0.0}, "loses", 0.0, 0.05),
        ({"path": 0.0}, "stuck", 0.0, 0.05),
    ],
)
def test_a_window_is_judged_when_it_is_full_and_the_next_again(
    figures: dict[str, Any], kind: str, value: float, level: float
) -> None:
    watch = walked(Health(window=4), [step(i, **figures) for i in range(1, 12)])
    assert kinds(watch) == [(4, kind), (8, kind)]
    first = watch.incidents[0]
    assert (first.value, first.level, first.action) == (value, level, "continue")
    assert (first.member, first.back_to, first.rate) == (None, None, None)
    assert f"{value:.4f} over 4 steps, " in first.text
    assert f"{level:g}" in str(first)
    assert str(first).startswith("step 4: ")
    assert "\n" not in str(first)


def test_means_at_a_level_are_in_order() -> None:
    health = Health(window=2, wins_above=0.75, loses_below=0.25, stuck_below=0.5)
    quiet = [(0.5, 1.0, 0.5), (1.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5)]
    steps = [step(i, auroc=auroc, path=path) for i, (*aurocs, path) in enumerate(quiet) for auroc in aurocs]
    assert walked(health, steps).incidents == ()


def test_only_ascents_can_be_stuck() -> None:
    health = Health(window=3)
    assert walked(health, [step(i, path=0.0, steps=0) for i in range(3)]).incidents == ()
    mixed = [step(i, path=0.0, steps=int(i > 0)) for i in range(6)]
    assert kinds(walked(health, mixed)) == [(5, "stuck")]


def test_a_detector_wins_where_no_longer_ascent_will_come() -> None:
    health = Health(window=3)
    earlier = [step(i, auroc=1.0, steps=2) for i in range(3)]
    across = [step(i, auroc=1.0, steps=3 if i else 2) for i in range(3)]
    assert walked(health, earlier).incidents == ()
    assert walked(health, across).incidents == ()
    assert walked(health, [step(i, auroc=1.0, steps=0) for i in range(3)], plan=Curriculum(0, 0)).incidents == ()
    assert kinds(walked(health, [step(i, auroc=1.0) for i in range(3)])) == [(2, "wins")]


def test_a_detector_loses_in_any_stage() -> None:
    assert kinds(walked(Health(window=2), [step(i, auroc=0.0, steps=i) for i in range(2)])) == [(1, "loses")]


@given(
    aurocs=st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=30),
    window=st.integers(1, 5),
    split=st.integers(0, 30),
)
def test_incidents_are_those_of_the_whole_windows(aurocs: list[float], window: int, split: int) -> None:
    """Also where the state went to JSON and came back in between."""
    health = Health(window=window)
    watch = pure.begin(1)
    for i, auroc in enumerate(aurocs, start=1):
        if i == split:
            watch = pure.restore(json.loads(json.dumps(pure.state(watch), allow_nan=False)))
        watch = pure.observe(watch, health, step(i, auroc=auroc), plan=PLAN, ended=None, final=False)
    expected = []
    for end in range(window, len(aurocs) + 1, window):
        mean = sum(aurocs[end - window : end]) / window
        expected += [(end, "wins")] * (mean > 0.999) + [(end, "loses")] * (mean < 0.05)
    assert kinds(watch) == expected


# several members


def test_each_member_is_judged_on_its_own_and_one_that_rests_is_not() -> None:
    def together(i: int, *aurocs: float) -> Step:
        rows = tuple(step(i, auroc=auroc, path=math.nan if math.isnan(auroc) else 1.0) for auroc in aurocs)
        return replace(step(i), members=rows)

    steps = [together(i, 0.5, 0.0, math.nan if i > 1 else 0.0) for i in range(1, 7)]
    watch = walked(Health(window=3), steps, members=3)
    assert [(incident.iteration, incident.member) for incident in watch.incidents] == [(3, 1), (6, 1)]
    assert watch.incidents[0].text.startswith("member 1: the detector loses: ")
    halfway = walked(Health(window=4), steps, members=3)
    back = pure.restore(json.loads(json.dumps(pure.state(halfway), allow_nan=False)))
    assert repr(back) == repr(halfway)  # NaN is not equal to itself


def test_members_that_diverge_are_named_and_the_training_continues() -> None:
    watch = pure.rest(pure.begin(4), 9, [1, 3], "expected finite points, got others")
    assert [(incident.member, incident.action) for incident in watch.incidents] == [(1, "continue"), (3, "continue")]
    assert str(watch.incidents[1]) == "step 9: member 3: expected finite points, got others"


# the gate


def observed(*, plan: Curriculum = PLAN, ended: Stage | None, final: bool = False, passed: int = 0) -> Watch:
    watch = replace(pure.begin(1), passed=passed)
    return pure.observe(watch, Health(), step(20), plan=plan, ended=ended, final=final)


def test_a_stage_that_ended_by_its_iterations_is_named() -> None:
    (incident,) = observed(ended=FULL).incidents
    assert (incident.kind, incident.value, incident.level) == ("gate", 0.7, 0.8)
    assert incident.text == (
        "the gate was not met: 20 iterations ended the stage of 1 ascent steps, the mean adversarial AUROC of its "
        "last 10 was 0.7000, not above 0.8"
    )


@pytest.mark.parametrize(
    ("ended", "plan"),
    [
        (None, PLAN),
        (replace(FULL, passed=True), PLAN),
        (replace(FULL, iterations=9), PLAN),  # shorter than the gate's window: it could not have been met
        (FULL, replace(PLAN, gate=None)),
    ],
    ids=["within a stage", "passed", "short", "no gate"],
)
def test_other_ends_of_a_stage_are_in_order(ended: Stage | None, plan: Curriculum) -> None:
    assert observed(ended=ended, plan=plan).incidents == ()


def test_a_training_in_which_no_stage_passed_is_named_at_its_end() -> None:
    (incident,) = observed(ended=None, final=True).incidents
    assert incident.text == "the gate was never met: none of the stages passed 0.8"
    assert len(observed(ended=FULL, final=True).incidents) == 2
    for plan, ended, passed in (
        (PLAN, None, 1),
        (PLAN, replace(FULL, passed=True), 0),
        (replace(PLAN, gate=None), None, 0),
        (Curriculum(3, 3), None, 0),
    ):
        assert observed(plan=plan, ended=ended, final=True, passed=passed).incidents == ()


# what is done


def test_going_back_is_written_down_and_comes_to_an_end() -> None:
    health = Health(loses="back-off", window=2, back_offs=2, rate_factor=0.1)
    watch = replace(pure.begin(1), good=40)
    told = []
    for _ in range(3):
        for i in (43, 44):
            watch = pure.observe(watch, health, step(i, auroc=0.0), plan=PLAN, ended=None, final=False)
        last = watch.incidents[-1]
        told.append((last.action, last.back_to, last.rate))
        if last.action == "back-off":
            watch = pure.go_back(watch)
    assert told == [("back-off", 40, 0.1), ("back-off", 40, pytest.approx(0.01)), ("stop", None, None)]
    assert (watch.back_offs, watch.good, len(watch.incidents)) == (2, 40, 3)
    assert str(watch.incidents[0]).endswith("; back to step 40, learning rate x 0.1")


def test_going_back_empties_the_window() -> None:
    watch = walked(Health(window=5), [step(i, auroc=0.0) for i in range(4)])
    assert pure.go_back(watch) == replace(pure.begin(1), back_offs=1)


def test_where_anything_stops_the_training_nothing_goes_back() -> None:
    health = Health(window=1, loses="back-off", stuck="stop", gate="continue")
    watch = pure.observe(pure.begin(1), health, step(1, auroc=0.0, path=0.0), plan=PLAN, ended=FULL, final=False)
    assert {i.kind: (i.action, i.back_to) for i in watch.incidents} == {
        "gate": ("continue", None),
        "stuck": ("stop", None),
        "loses": ("stop", None),
    }


def test_a_value_that_is_not_finite_is_refused_in_its_step() -> None:
    watch = pure.refuse(pure.begin(1), Health(), 7, "expected finite values, got loss=nan")
    assert watch.incidents == (Incident(7, "non_finite", "expected finite values, got loss=nan", "stop"),)
    back = pure.refuse(pure.begin(1), Health(non_finite="back-off"), 7, "expected finite weights")
    assert (back.incidents[0].action, back.incidents[0].back_to) == ("back-off", 0)
