"""The payoff and what is certain of a pair, against brute force and identities; tolerance 1e-12 unless said else."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from genat.theory.flows import largest_flow
from genat.theory.games import (
    Game,
    adversary_value,
    conditions,
    detector_value,
    duality_gap,
    payoff,
)
from genat.theory.solutions import Adversaries, adversary_replies, detector_replies
from genat.theory.verification import KINDS, random_game


def games(count: int, seed: int = 0) -> list[Game]:
    generator = torch.Generator().manual_seed(seed)
    return [random_game(KINDS[i % 4], states=1 + i % 9, generator=generator) for i in range(count)]


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()


def test_the_payoff_is_the_sum_it_is_defined_by() -> None:
    game = Game.free([0.5, 0.25, 0.25])
    expected = (
        0.5 * math.log(0.9) + 0.25 * math.log(0.3) + 0.25 * math.log(0.6) + 0.2 * math.log(0.1) + 0.8 * math.log(0.7)
    )
    assert payoff(game, [0.9, 0.3, 0.6], [0.2, 0.8, 0.0]) == pytest.approx(expected, abs=1e-12)


def test_no_mass_costs_nothing_and_a_certain_error_everything() -> None:
    game = Game.free([1.0, 0.0])
    assert payoff(game, [1.0, 0.0], [0.0, 1.0]) == 0
    assert payoff(game, [0.0, 0.0], [0.0, 1.0]) == -math.inf
    assert payoff(game, [1.0, 0.0], [1.0, 0.0]) == -math.inf
    assert adversary_value(game, [0.0, 1.0]) == 0


def test_the_detectors_value_is_the_least_payoff_over_what_can_be_carried() -> None:
    """Over the vertices, which a linear payoff needs, and over random transports."""
    for game in games(24):
        d = uniform(len(game.target), seed=len(game.target))
        choices = np.array(np.meshgrid(*[np.flatnonzero(row) for row in game.reach[:4]])).reshape(
            len(game.reach[:4]), -1
        )
        worst = detector_value(game, d)
        generator = torch.Generator().manual_seed(0)
        for q in (Adversaries.of(game).sample(generator=generator) for _ in range(20)):
            assert payoff(game, d, q) >= worst - 1e-12
        assert payoff(game, d, Adversaries.of(game).extreme(d)) == pytest.approx(worst, abs=1e-12)
        if len(game.outside) <= 4:
            vertices = (np.bincount(c, weights=game.outside, minlength=len(d)) for c in choices.T)
            assert min(payoff(game, d, q) for q in vertices) == pytest.approx(worst, abs=1e-12)


def test_the_adversarys_value_is_the_greatest_payoff_over_detectors() -> None:
    grid = np.linspace(1e-6, 1 - 1e-6, 1001)
    for game in games(24):
        q = Adversaries.of(game).sample(generator=torch.Generator().manual_seed(1))
        best = adversary_value(game, q)
        gains = np.outer(game.target, np.log(grid)) + np.outer(q, np.log(1 - grid))
        assert gains.max(axis=1).sum() == pytest.approx(best, abs=1e-4)
        replies = detector_replies(game, q)
        for d in (replies.lower, replies.upper, replies.sample(generator=torch.Generator().manual_seed(2))):
            assert payoff(game, d, q) == pytest.approx(best, abs=1e-12)


def test_the_adversarys_value_is_the_jensen_shannon_divergence() -> None:
    from scipy.spatial.distance import jensenshannon

    game, q = Game.free([0.5, 0.3, 0.2, 0.0]), [0.1, 0.0, 0.6, 0.3]
    assert adversary_value(game, q) == pytest.approx(
        2 * jensenshannon(game.target, q) ** 2 - 2 * math.log(2), abs=1e-12
    )


def test_weak_duality_holds_for_every_pair() -> None:
    for game in games(40):
        d = uniform(len(game.target))
        q = Adversaries.of(game).sample(generator=torch.Generator().manual_seed(3))
        assert detector_value(game, d) <= payoff(game, d, q) + 1e-12
        assert payoff(game, d, q) <= adversary_value(game, q) + 1e-12
        assert duality_gap(game, d, q) >= -1e-12


def test_the_detectors_value_is_concave_and_the_adversarys_convex() -> None:
    for game in games(20):
        one, two = uniform(len(game.target)), uniform(len(game.target), seed=1)
        middle = (detector_value(game, one) + detector_value(game, two)) / 2
        assert detector_value(game, (one + two) / 2) >= middle - 1e-12
        q, r = (Adversaries.of(game).sample(generator=torch.Generator().manual_seed(i)) for i in (0, 1))
        middle = (adversary_value(game, q) + adversary_value(game, r)) / 2
        assert adversary_value(game, (q + r) / 2) <= middle + 1e-12


def test_conditions_hold_at_a_saddle_point_and_each_misses_by_what_it_says() -> None:
    game = Game.unmoved([0.5, 0.5, 0.0], [0.5, 0.0, 0.5])
    right = conditions(game, [0.5, 1.0, 0.0], [0.5, 0.0, 0.5])
    assert (right.detector.max(), right.adversary, right.transport) == (0, 0, 0)
    wrong = conditions(game, [0.6, 1.0, 0.0], [0.25, 0.25, 0.5])
    np.testing.assert_allclose(wrong.detector, [1 / 15, 1 / 3, 0], atol=1e-12)
    assert wrong.transport == pytest.approx(0.5)  # a quarter is where it cannot be, and missing where it is
    assert conditions(Game.free([1.0, 0.0]), [0.5, 0.1], [0.0, 1.0]).adversary == pytest.approx(0.4)


def test_the_adversarys_condition_does_not_ask_for_a_transport() -> None:
    """Its shortfall is the same for every transport that makes q, and 0 for every best answer."""
    for game in games(20):
        d = uniform(len(game.target))
        q = adversary_replies(game, d).sample(generator=torch.Generator().manual_seed(0))
        missed = conditions(game, d, q)
        assert missed.adversary == pytest.approx(0, abs=1e-9)
        assert missed.transport == pytest.approx(0, abs=1e-9)


def test_a_largest_flow_is_scipys() -> None:
    from scipy.optimize import linprog

    for seed in range(12):
        numbers = uniform(40, seed=seed)
        supply, demand, edges = numbers[:5], numbers[5:9], uniform(5, 4, seed=seed + 100) < 0.5
        flow, kept = largest_flow(supply, demand, edges)
        assert flow.min() >= 0
        assert not flow[~edges].any()
        np.testing.assert_allclose(flow.sum(axis=1) + kept, supply, atol=1e-12)
        assert (flow.sum(axis=0) <= demand + 1e-12).all()
        rows, columns = np.nonzero(edges)
        limits = np.vstack([rows == np.arange(5)[:, None], columns == np.arange(4)[:, None]]).astype(float)
        best = linprog(-np.ones(len(rows)), A_ub=limits, b_ub=np.concatenate([supply, demand]))
        assert flow.sum() == pytest.approx(-best.fun, abs=1e-9)


def test_masses_are_kept_in_float64_and_cannot_be_changed() -> None:
    target = np.array([0.5, 0.5])
    game = Game.free(target)
    target[0] = 0.9
    assert game.target.tolist() == [0.5, 0.5]
    for array in (game.target, game.outside, game.reach):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("target", "outside", "reach", "message"),
    [
        ([0.5, 0.6], [1.0], [[True, True]], r"expected target to sum to 1, got 1\.1"),
        ([1.5, -0.5], [1.0], [[True, True]], r"expected target to have masses of at least 0, got -0\.5"),
        ([math.nan, 1.0], [1.0], [[True, True]], "expected target to have masses of at least 0, got nan"),
        ([math.inf, 0.0], [1.0], [[True, True]], "expected target to sum to 1, got inf"),
        ([1 - 1e-13, 1e-13], [1.0], [[True, True]], "expected target to have masses of 0 or at least 1e-12, got 1e-13"),
        ([], [1.0], [[]], r"expected target to be masses of shape \(n,\) with n >= 1, got \(0,\)"),
        ([[1.0]], [1.0], [[True]], r"expected target to be masses of shape \(n,\) with n >= 1, got \(1, 1\)"),
        ([0.5, 0.5], [0.9], [[True, True]], r"expected outside to sum to 1, got 0\.9"),
        ([0.5, 0.5], [1.0], [[True]], r"expected reach to be bool of shape \(1, 2\), got bool \(1, 1\)"),
        ([0.5, 0.5], [1.0], [[1, 0]], r"expected reach to be bool of shape \(1, 2\), got int64 \(1, 2\)"),
        ([0.5, 0.5], [1.0, 0.0], [[True, True], [False, False]], "to reach some state, got none for outside state 1"),
    ],
)
def test_what_is_no_game_is_refused_in_a_line(
    target: ArrayLike, outside: ArrayLike, reach: ArrayLike, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Game(target, outside, reach)
    assert "\n" not in str(caught.value)


def test_unmoved_data_lives_where_the_target_does() -> None:
    with pytest.raises(ValueError, match=r"expected reach to be bool of shape \(3, 2\), got bool \(3, 3\)"):
        Game.unmoved([0.5, 0.5], [0.2, 0.3, 0.5])


def test_what_is_no_detector_or_adversary_is_refused_in_a_line() -> None:
    game = Game.free([0.5, 0.5])
    with pytest.raises(ValueError, match=r"expected a detector of shape \(2,\), got \(3,\)"):
        detector_value(game, [0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"expected a detector in \[0, 1\], got 0\.5 to 1\.5"):
        payoff(game, [0.5, 1.5], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"expected a detector in \[0, 1\], got nan to nan"):
        duality_gap(game, [math.nan, 0.5], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"expected an adversary of shape \(2,\), got \(1,\)"):
        adversary_value(game, [1.0])
    with pytest.raises(ValueError, match=r"expected the adversary to sum to 1, got 0\.9"):
        conditions(game, [0.5, 0.5], [0.4, 0.5])
    with pytest.raises(ValueError, match=r"expected the adversary to have masses of at least 0, got -0\.1"):
        payoff(game, [0.5, 0.5], [1.1, -0.1])
