"""The training step on a line: when its gradient is right, and what starts and lengths of climbs decide."""

from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
import torch

from genat.balls import L2Ball
from genat.theory.games import detector_value
from genat.theory.solutions import solve
from genat.theory.steps import SETTINGS, Lesson, Setting, inner_gradients, play_on_line, train_on_line

BUMPS = (1.0, 0.8, 0.3)


def test_at_the_only_maximiser_the_gradient_is_right() -> None:
    """Danskin: the highest logit has a derivative and it is the logit's own, the maximiser held fixed."""
    found = inner_gradients(BUMPS, 0.27, steps=320, step_size=1e-4)
    torch.testing.assert_close(found.below, found.above, rtol=0, atol=2e-4)
    torch.testing.assert_close(found.used, found.above, rtol=0, atol=0.011)  # 100 a unit of x, 1e-4 off


def test_at_a_tie_it_is_one_of_two_one_sided_ones() -> None:
    found = inner_gradients((1.0, 1.0, 0.3), 0.05, steps=250, step_size=1e-3)
    torch.testing.assert_close(found.below[:2], torch.zeros(2).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.above[:2], torch.ones(2).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.used[:2], torch.tensor([1.0, 0.0]).double(), rtol=0, atol=1e-3)


def test_a_climb_that_overshoots_is_off_by_no_more_than_its_steps() -> None:
    """The gradient's Lipschitz constant in x, 100, times the distance from the top, which is below the step."""
    for step_size in (0.04, 0.02, 0.01, 0.005):
        found = inner_gradients(BUMPS, 0.05, steps=60, step_size=step_size)
        assert abs(found.end - 0.3) <= step_size + 1e-9
        assert (found.used - found.above).abs().max() <= 100 * (step_size + 2e-4)  # the top is at 0.3001


def test_a_climb_that_stops_on_the_way_has_another_gradient() -> None:
    found = inner_gradients(BUMPS, 0.05, steps=5, step_size=0.02)
    assert found.end == pytest.approx(0.15)
    assert found.used[0] < 0.4
    assert found.above[0] > 0.99
    torch.testing.assert_close(found.used, found.of_steps, rtol=0, atol=1e-6)  # steps by the sign do not bend


def test_what_is_left_out_can_turn_the_gradient_round() -> None:
    """With steps whose ends move with the detector the dropped term is as large as the one that is kept."""
    found = inner_gradients(BUMPS, 0.05, steps=20, step_size=0.02, rule="adam")
    assert found.used[2] > 4
    assert found.of_steps[2] < -1
    later = inner_gradients(BUMPS, 0.05, steps=160, step_size=0.02, rule="adam")
    assert (later.used - later.of_steps).abs().max() < 0.05


def test_at_the_balls_edge_the_gradient_is_right() -> None:
    found = inner_gradients(BUMPS, 0.05, steps=20, step_size=0.02, ball=L2Ball(0.1))
    assert found.end == pytest.approx(0.15)
    for other in (found.of_steps, found.below, found.above):
        torch.testing.assert_close(found.used, other, rtol=0, atol=1e-4)


def test_a_climb_in_the_wrong_basin_is_wrong_for_ever() -> None:
    found = inner_gradients(BUMPS, 0.85, steps=200, step_size=1e-3)
    torch.testing.assert_close(found.used[:2], torch.tensor([0.0, 1.0]).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.above[:2], torch.tensor([1.0, 0.0]).double(), rtol=0, atol=1e-3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def lessons() -> dict[str, Lesson]:
    return {name.partition(",")[0]: train_on_line(setting, generator=seeded()) for name, setting in SETTINGS.items()}


def test_growing_climbs_teach_the_peaks_and_what_is_not_one(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["growing climbs"]
    assert abs(lesson.peaks) < 0.1  # d = 1/2 on the support
    assert lesson.highest < -2
    assert lesson.arrived > 0.95
    assert 0.4 < lesson.auroc < 0.6


def test_long_climbs_throughout_leave_the_detector_flat(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["long climbs throughout"]
    assert abs(lesson.peaks) < 0.1
    assert lesson.highest > -1
    assert lesson.elsewhere > lessons["growing climbs"].elsewhere + 2
    assert lesson.arrived > 0.95  # its climbs arrive all the same


def test_short_climbs_do_not_pull_from_afar(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["short climbs throughout"]
    assert lesson.peaks > 4  # nothing opposes it there
    assert lesson.arrived < 0.2
    assert lesson.auroc > 0.99


def test_large_steps_do_not_see_the_peaks(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["growing climbs of large steps"]
    assert lesson.peaks > 1.5
    assert lesson.arrived < 0.25
    assert lesson.auroc > 0.9


def test_starts_too_near_leave_far_regions_as_they_were(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["growing climbs from starts .03 to .07 beside the peaks"]
    assert abs(lesson.peaks) < 0.1
    assert lesson.highest == pytest.approx(1.0, abs=0.02)  # the untrained detector's level
    assert lesson.arrived == 0


def test_a_lesson_is_a_matter_of_the_generator() -> None:
    setting = Setting(0)
    one, same, other = (astuple(train_on_line(setting, generator=seeded(seed))) for seed in (0, 0, 1))
    assert one == same != other


def test_reach_that_grows_and_full_reach_settle_alike_but_not_at_the_same_detector() -> None:
    growing, d = play_on_line((np.arange(41) / 40).tolist(), rounds=200)
    full, flat = play_on_line([1.0], rounds=200 * 41)
    value = solve(full).value
    assert solve(growing).value == value
    shorts = value - detector_value(growing, d), value - detector_value(full, flat)
    assert shorts[0] == pytest.approx(shorts[1], abs=1e-3)
    assert 0 < shorts[0] < 0.04
    away = growing.moving
    assert d[away].max() < 0.05
    assert flat[away].min() > 0.49


def test_off_the_support_training_only_lowers() -> None:
    levels = [play_on_line([0.0, 0.2, 0.5][: i + 1], rounds=50)[1] for i in range(3)]
    game, _ = play_on_line([0.0], rounds=0)
    for before, after in pairwise(levels):
        assert (after[~game.support] <= before[~game.support] + 1e-9).all()
