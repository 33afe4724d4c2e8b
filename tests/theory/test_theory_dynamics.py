"""What settles and what cycles, against the proofs of docs/theory.md."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from genat.theory.dynamics import (
    First,
    Plays,
    best_response,
    contraction,
    fictitious_play,
    gaps,
    gradient_play,
    period,
)
from genat.theory.games import Game, adversary_value, detector_value
from genat.theory.solutions import solve

FIRSTS: tuple[First, ...] = ("detector", "adversary", "both")
FREE = Game.free([0.5, 0.3, 0.2, 0.0])
REACH = Game([0.5, 0.3, 0.2, 0.0], [0.5, 0.5], [[True, False, False, False], [False, False, True, True]])
CYCLING = Game([0.5, 0.3, 0.2], [0.5, 0.5], [[True, True, False], [False, True, True]])


# exact answers to the present play


@pytest.mark.parametrize(("first", "rounds"), [("adversary", 2), ("detector", 2), ("both", 4)])
@pytest.mark.parametrize("game", [FREE, CYCLING], ids=["free", "within reach"])
def test_best_responses_cycle_where_there_is_a_choice(game: Game, first: First, rounds: int) -> None:
    """Also from a start at a solution: the adversary answers it with a single state."""
    assert period(best_response(game, 60, first=first)) == rounds
    assert period(best_response(game, 60, first=first, start=solve(game).detectors.lower)) == rounds


@pytest.mark.parametrize("first", FIRSTS)
def test_best_responses_rest_where_there_is_none(first: First) -> None:
    for game in (Game.free([1.0, 0.0]), Game.unmoved([0.5, 0.5, 0.0], [0.2, 0.0, 0.8]), REACH):
        plays = best_response(game, 20, first=first)
        assert period(plays) == 1
        assert gaps(game, plays)[-1] == pytest.approx(0, abs=1e-12)


def test_the_last_to_move_has_the_upper_hand() -> None:
    """In a cycle the detector is sure of nothing before the adversary moves and of more than the value after."""
    plays = best_response(FREE, 20)
    for d, q in zip(plays.detectors[2:-1], plays.adversaries[3:], strict=True):
        assert detector_value(FREE, d) == -math.inf
        assert adversary_value(FREE, q) > solve(FREE).value + 0.1


# exact answers to the mean of all plays


@pytest.mark.parametrize("game", [FREE, CYCLING, REACH], ids=["free", "within reach", "stuck"])
@pytest.mark.parametrize("first", FIRSTS)
@pytest.mark.parametrize("remember", ["both", "adversary"])
def test_memory_of_the_adversaries_settles_play(
    game: Game, first: First, remember: Literal["both", "adversary"]
) -> None:
    plays = fictitious_play(game, 1200, first=first, remember=remember)
    means = plays.averages()
    d = means.detectors if remember == "both" else plays.detectors[1:]
    found = gaps(game, Plays(d, means.adversaries))
    assert found[99:].max() < 3 / 100
    assert found[999:].max() < 3 / 1000


@pytest.mark.parametrize("target", [[0.5, 0.3, 0.2, 0.0], [0.9, 0.05, 0.05], [1.0, 0.0], [0.25] * 4])
def test_a_detector_that_remembers_all_adversaries_settles_as_fast_as_is_proven(target: list[float]) -> None:
    game = Game.free(target)
    plays = fictitious_play(game, 600, remember="adversary")
    n, s, value = len(target), int(game.support.sum()), solve(game).value
    counts = plays.adversaries[1:].cumsum(axis=0)
    for t in range(n + 1, 601):
        q = counts[t - 1] / t
        assert (q >= game.target * (1 - n / t) - 1e-12).all()
        assert (q[game.support] <= game.target[game.support] + 1 / t + 1e-12).all()
        short = value - detector_value(game, plays.detectors[t])
        assert -1e-12 <= short <= (s + n / (1 - n / t)) / (2 * t) + 1e-12


def test_an_adversary_that_remembers_all_detectors_settles_them_at_the_wrong_level() -> None:
    for s in (2, 3, 5):
        target = np.arange(1, s + 1) / (s * (s + 1) / 2)
        game = Game.free([*target, 0.0])
        means = fictitious_play(game, 3000, remember="detector").averages()
        np.testing.assert_allclose(means.detectors[-1][:s], s / (s + 1), atol=2e-3)
        np.testing.assert_allclose(means.adversaries[-1][:s], (1 + target) / (s + 1), atol=2e-3)


# gradients


@pytest.mark.parametrize("rates", [(1.0, 1.0), (2.0, 7.0), (2.0, 9.0), (7.0, 0.5), (16.0, 1.0), (math.inf, 3.0)])
@pytest.mark.parametrize("first", FIRSTS)
@pytest.mark.parametrize("n", [2, 5])
def test_the_contraction_is_the_spectral_radius_of_a_round(n: int, rates: tuple[float, float], first: First) -> None:
    """Of the Jacobian of one round at the solution, by central differences, on deviations of mean 0."""
    game, h = Game.free(np.full(n, 1 / n)), 1e-5

    def after(deviation: np.ndarray) -> np.ndarray:
        plays = gradient_play(game, 1, rates=rates, first=first, start=(deviation[:n], deviation[None, n:]))
        d, q = plays.detectors[-1], plays.adversaries[-1]
        if math.isinf(rates[0]) and first == "both":
            assert (q > 0).all()
        return np.concatenate([np.log(d / (1 - d)), np.log(q)])

    jacobian = np.array([(after(h * e) - after(-h * e)) / (2 * h) for e in np.eye(2 * n)]).T
    centre = np.kron(np.eye(2), np.eye(n) - 1 / n)
    radius = np.abs(np.linalg.eigvals(centre @ jacobian @ centre)).max()
    assert contraction(n, rates, first=first) == pytest.approx(radius, abs=1e-4)


def test_who_moves_first_matters_less_than_whether_one_does() -> None:
    for rates in ((1.0, 1.0), (2.0, 9.0), (16.0, 1.0), (3.0, 0.1)):
        assert contraction(4, rates, first="detector") == contraction(4, rates, first="adversary")
    assert contraction(4, (2.0, 9.0), first="detector") < 1 < contraction(4, (2.0, 9.0), first="both")


def test_gradient_play_settles_or_not_as_the_contraction_says() -> None:
    n, tilt = 4, np.array([0.3, -0.1, 0.1, -0.3])
    game = Game.free(np.full(n, 1 / n))
    for rates in ((1.0, 1.0), (2.0, 9.0), (2.0, 20.0)):
        for first in FIRSTS:
            plays = gradient_play(game, 600, rates=rates, first=first, start=(tilt, -tilt[None]))
            settles = contraction(n, rates, first=first) < 1
            assert (gaps(game, plays)[-1] < 1e-9) == settles


def test_gradient_play_solves_games_with_reach() -> None:
    game = Game(CYCLING.target, [0.6, 0.4], CYCLING.reach)
    found, plays = solve(game), gradient_play(game, 2000, rates=(4.0, 4.0))
    assert gaps(game, plays)[-1] < 1e-9
    assert found.detectors.distance(plays.detectors[-1]) < 1e-6
    assert found.adversaries.distance(plays.adversaries[-1]) < 1e-6


def test_a_leading_detector_settles_to_within_its_rate_and_leaves_low_states_where_they_were() -> None:
    value, low, high = solve(FREE).value, -2.0, 2.0
    shorts = []
    for rate in (0.4, 0.2, 0.1):
        for level in (low, high):
            start = (np.array([0.0, 0.5, -0.5, level]), np.zeros((1, 4)))
            plays = gradient_play(FREE, 2000, rates=(rate, math.inf), first="adversary", start=start)
            short = np.mean([value - detector_value(FREE, d) for d in plays.detectors[-500:]])
            off = plays.detectors[-1][3]
            assert abs(off - plays.detectors[0][3]) < 1e-12 if level == low else 0.45 < off <= 0.52
            assert (np.diff(plays.detectors[:, 3]) <= 0).all()
        shorts.append(short)
    assert shorts[0] / shorts[1] == pytest.approx(2, rel=0.1)
    assert shorts[1] / shorts[2] == pytest.approx(2, rel=0.1)


def test_a_leading_adversary_settles_for_good_and_leaves_the_detector_no_choice() -> None:
    start = (np.zeros(4), np.array([[0.0, 1.0, -1.0, 0.5]]))
    plays = gradient_play(FREE, 3000, rates=(math.inf, 1.0), start=start)
    assert adversary_value(FREE, plays.adversaries[-1]) - solve(FREE).value < 1e-3
    assert plays.detectors[-1][3] == 0  # what is left of q there is little, but all there is
    assert 0 < plays.adversaries[-1][3] < 1e-3


def test_two_infinite_rates_are_best_responses() -> None:
    start = (np.zeros(4), np.zeros((1, 4)))
    for first in FIRSTS:
        steps = gradient_play(FREE, 10, rates=(math.inf, math.inf), first=first, start=start)
        answers = best_response(FREE, 10, first=first)
        np.testing.assert_array_equal(steps.detectors, answers.detectors)
        np.testing.assert_array_equal(steps.adversaries, answers.adversaries)


# records


def test_averages_leave_the_start_out() -> None:
    means = Plays(np.array([[9.0], [1.0], [2.0]]), np.array([[9.0], [3.0], [5.0]])).averages()
    assert means.detectors.tolist() == [[1.0], [1.5]]
    assert means.adversaries.tolist() == [[3.0], [4.0]]


def test_a_period_is_the_smallest_and_seen_twice() -> None:
    def plays(values: Sequence[float]) -> Plays:
        column = np.array(values)[:, None]
        return Plays(column, column)

    assert period(plays([9, 0, 1, 2] + [0, 1, 2] * 4)) == 3
    assert period(plays([3, 2, 1, 1, 1, 1, 1, 1])) == 1
    assert period(plays([1 / k for k in range(1, 30)])) is None
    assert period(plays([0, 1, 2, 0])) is None
    assert period(plays([1 / k for k in range(1, 30)]), tolerance=1.0) == 1


def test_no_round_is_the_start() -> None:
    for plays in (best_response(FREE, 0), fictitious_play(FREE, 0), gradient_play(FREE, 0, rates=(1.0, 1.0))):
        assert plays.detectors.tolist() == [[0.5] * 4]
        assert plays.adversaries.tolist() == [[0.25] * 4]


def test_bad_arguments_get_a_line() -> None:
    with pytest.raises(ValueError, match="expected rounds to be at least 0, got -1"):
        best_response(FREE, -1)
    with pytest.raises(ValueError, match="expected first to be 'detector', 'adversary' or 'both', got 'maximin'"):
        best_response(FREE, 1, first="maximin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected remember to be 'both', 'adversary' or 'detector', got 'none'"):
        fictitious_play(FREE, 1, remember="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected a detector in \[0, 1\], got 0\.0 to 2\.0"):
        fictitious_play(FREE, 1, start=[0, 2, 0, 0])
    with pytest.raises(ValueError, match=r"expected rates above 0, got \(0\.0, 1\.0\)"):
        gradient_play(FREE, 1, rates=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"logits of shape \(4,\) and \(1, 4\), got \(4,\) and \(4,\)"):
        gradient_play(FREE, 1, rates=(1.0, 1.0), start=(np.zeros(4), np.zeros(4)))
    with pytest.raises(ValueError, match="expected finite logits, got some that are not"):
        gradient_play(FREE, 1, rates=(1.0, 1.0), start=(np.full(4, math.inf), np.zeros((1, 4))))
    with pytest.raises(ValueError, match="expected n to be at least 2, got 1"):
        contraction(1, (1.0, 1.0))
    with pytest.raises(ValueError, match="expected rates above 0, the adversary's finite, got"):
        contraction(2, (1.0, math.inf))
    with pytest.raises(ValueError, match="expected first to be"):
        contraction(2, (1.0, 1.0), first="neither")  # type: ignore[arg-type]
