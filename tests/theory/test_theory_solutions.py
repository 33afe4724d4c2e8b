"""The closed forms: what they say where they can be written down, and laws; tolerance 1e-12 unless a test says else."""

import math

import numpy as np
import pytest
import torch

from genat.theory.games import Game, adversary_value, conditions, detector_value, duality_gap, payoff
from genat.theory.solutions import Adversaries, Detectors, adversary_replies, detector_replies, ratios, solve
from genat.theory.verification import KINDS, random_game

LEAST = -2 * math.log(2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_games(kind: str, count: int = 25, seed: int = 0) -> list[Game]:
    generator = seeded(seed)
    return [random_game(kind, states=1 + i % 12, generator=generator) for i in range(count)]


# the free adversary, reach = all, reach = none


@pytest.mark.parametrize("kind", ["free", "everywhere"])
def test_full_reach_leaves_one_half_on_the_support_and_at_most_that_elsewhere(kind: str) -> None:
    for game in random_games(kind):
        found = solve(game)
        assert found.value == pytest.approx(LEAST, abs=1e-12)
        np.testing.assert_allclose(found.detectors.lower, np.where(game.support, 0.5, 0.0), atol=1e-12)
        np.testing.assert_allclose(found.detectors.upper, 0.5, atol=1e-12)
        np.testing.assert_allclose(found.adversaries.fixed, game.target, atol=1e-12)
        assert len(found.adversaries.mass) == 0


def test_no_reach_leaves_bayes_rule_where_there_is_data_and_nothing_elsewhere() -> None:
    for game in random_games("unmoved"):
        found, both = solve(game), game.target + game.outside
        there = both > 0
        bayes = game.target[there] / both[there]
        np.testing.assert_allclose(found.detectors.lower[there], bayes, atol=1e-12)
        np.testing.assert_allclose(found.detectors.upper[there], bayes, atol=1e-12)
        assert not found.detectors.lower[~there].any()
        assert (found.detectors.upper[~there] == 1).all()
        assert found.value == pytest.approx(adversary_value(game, game.outside), abs=1e-12)
        for q in (found.adversaries.sample(generator=seeded()), found.adversaries.extreme(game.target)):
            np.testing.assert_allclose(q, game.outside, atol=1e-12)


def test_one_state_is_a_game_too() -> None:
    found = solve(Game.free([1.0]))
    assert found.value == pytest.approx(LEAST)
    assert found.detectors.lower.tolist() == found.detectors.upper.tolist() == [0.5]


def test_outside_data_that_cannot_reach_the_target_leaves_it_certain() -> None:
    game = Game([0.5, 0.5, 0.0, 0.0], [1.0], [[False, False, True, True]])
    found = solve(game)
    assert found.value == 0
    assert found.detectors.lower.tolist() == found.detectors.upper.tolist() == [1, 1, 0, 0]
    assert found.adversaries.distance([0.0, 0.0, 0.3, 0.7]) == 0
    assert found.adversaries.extreme([0, 0, 0, 1]).tolist() == [0, 0, 0, 1]


def test_states_that_no_outside_mass_reaches_are_anyones_guess() -> None:
    game = Game([1.0, 0.0, 0.0], [1.0, 0.0], [[True, True, False], [True, True, True]])  # the second has no mass
    found = solve(game)
    assert found.detectors.lower.tolist() == [0.5, 0, 0]
    assert found.detectors.upper.tolist() == [0.5, 0.5, 1]


def test_outside_data_on_the_support_is_told_apart_only_where_it_has_to_stay() -> None:
    target, outside = [0.5, 0.5], [0.9, 0.1]
    assert solve(Game.unmoved(target, outside)).detectors.lower == pytest.approx([0.5 / 1.4, 0.5 / 0.6])
    assert solve(Game(target, outside, [[True, True], [False, True]])).detectors.lower == pytest.approx([0.5, 0.5])


def test_the_value_is_least_exactly_where_the_outside_data_can_be_carried_onto_the_target() -> None:
    seen = set()
    for game in random_games("within reach", count=80):
        within = Adversaries.of(game).distance(game.target) < 1e-12
        assert (solve(game).value < LEAST + 1e-12) == within
        seen.add(within)
    for game in random_games("within reach", count=10, seed=1):  # outside data that is the target, free to stay
        home = Game(game.target, game.target, np.eye(len(game.target), dtype=bool))
        found = solve(home)
        assert found.value == pytest.approx(LEAST)
        np.testing.assert_allclose(found.detectors.lower[game.support], 0.5)
    assert False in seen


# laws


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_of_optimal_ones_is_a_saddle_point(kind: str) -> None:
    for game in random_games(kind):
        found, generator = solve(game), seeded()
        for _ in range(3):
            d, q = found.detectors.sample(generator=generator), found.adversaries.sample(generator=generator)
            assert duality_gap(game, d, q) == pytest.approx(0, abs=1e-9)
            assert payoff(game, d, q) == pytest.approx(found.value, abs=1e-9)
            missed = conditions(game, d, q)
            assert max(missed.detector.max(), abs(missed.adversary), missed.transport) < 1e-9


def test_what_is_not_optimal_loses() -> None:
    """A detector or an adversary anywhere: it attains the value if and only if it is in its set."""
    for kind in KINDS:
        for game in random_games(kind, count=12):
            found, generator = solve(game), seeded(1)
            anything = Detectors(np.zeros(len(game.target)), np.ones(len(game.target)))
            for _ in range(5):
                d, q = anything.sample(generator=generator), Adversaries.of(game).sample(generator=generator)
                assert (found.value - detector_value(game, d) < 1e-9) == (found.detectors.distance(d) < 1e-9)
                assert (adversary_value(game, q) - found.value < 1e-9) == (found.adversaries.distance(q) < 1e-9)


def test_more_reach_never_helps_the_detector() -> None:
    for game in random_games("within reach", count=40):
        more = game.reach | (np.arange(game.reach.size).reshape(game.reach.shape) % 3 == 0)
        assert solve(Game(game.target, game.outside, more)).value <= solve(game).value + 1e-12
        assert LEAST - 1e-12 <= solve(game).value <= 1e-12


def test_names_of_states_do_not_matter() -> None:
    for game in random_games("within reach", count=20):
        there = np.argsort(np.cos(np.arange(len(game.target))))
        rows = np.argsort(np.cos(np.arange(len(game.outside))))
        renamed = solve(Game(game.target[there], game.outside[rows], game.reach[np.ix_(rows, there)]))
        np.testing.assert_allclose(renamed.detectors.lower, solve(game).detectors.lower[there], atol=1e-12)
        np.testing.assert_allclose(renamed.detectors.upper, solve(game).detectors.upper[there], atol=1e-12)


def test_the_even_spread_is_best_for_every_convex_function_at_once() -> None:
    functions = (np.square, lambda r: -np.sqrt(r), lambda r: np.exp(-3 * r), lambda r: np.abs(r - 0.7))
    for game in random_games("within reach", count=30):
        p = np.full(len(game.target), 1 / len(game.target))
        game = Game(p, game.outside, game.reach)  # noqa: PLW2901 - of full support, so that all of q is compared
        even, generator = solve(game).adversaries.fixed, seeded()
        for _ in range(10):
            q = Adversaries.of(game).sample(generator=generator)
            for function in functions:
                assert (p * function(even / p)).sum() <= (p * function(q / p)).sum() + 1e-12


def test_a_state_that_is_short_by_little_is_told_from_one_that_rounding_makes_so() -> None:
    """A tight set of states and a poor one together once passed for a spread that could not be evened."""
    target, outside = np.array([0.52, 0.25, 0.23]), np.array([0.02, 0.31, 0.19, 0.21, 0.27])
    reach = np.zeros((5, 3), dtype=bool)
    reach[[0, 1, 2, 2, 3, 3, 4], [0, 1, 1, 2, 0, 1, 0]] = True
    np.testing.assert_allclose(ratios(target, outside, reach), [0.5 / 0.52, 0.31 / 0.25, 0.19 / 0.23], atol=1e-12)


# the sets


def test_an_answer_to_a_detector_lies_where_it_is_highest() -> None:
    found = adversary_replies(Game.free([0.5, 0.5, 0.0]), [0.5, 0.5, 0.5])
    assert found.distance([0.2, 0.3, 0.5]) == 0
    found = adversary_replies(Game.free([0.5, 0.5, 0.0]), [0.5, 0.4, 0.2])
    assert found.sample(generator=seeded()).tolist() == [1, 0, 0]
    assert found.distance([0.9, 0.1, 0.0]) == pytest.approx(0.2)


def test_in_either_order_the_follower_is_free_where_the_leader_is_not() -> None:
    """Maximin: any q on the half level set. Minimax: any d off the support. Neither alone is a saddle point."""
    game = Game.free([0.5, 0.5, 0.0])
    d = np.array([0.5, 0.5, 0.5])
    elsewhere = adversary_replies(game, d).extreme([0, 0, 1])
    assert payoff(game, d, elsewhere) == pytest.approx(LEAST)
    assert duality_gap(game, d, elsewhere) == pytest.approx(-LEAST)
    wild = detector_replies(game, game.target).extreme([0, 0, 1])
    assert wild.tolist() == [0.5, 0.5, 1]
    assert payoff(game, wild, game.target) == pytest.approx(LEAST)
    assert duality_gap(game, wild, game.target) == math.inf


def test_members_and_vertices_lie_in_their_sets() -> None:
    box = Detectors(np.array([0.0, 0.2]), np.array([1.0, 0.2]))
    assert box.extreme([1, 1]).tolist() == [1, 0.2]
    assert box.extreme([-1, 1]).tolist() == [0, 0.2]
    assert box.distance(box.sample(generator=seeded())) == 0
    assert box.distance([1.5, 0.1]) == 0.5
    some = Adversaries(np.array([0.4, 0.0, 0.0]), np.array([0.3, 0.3]), np.array([[1, 1, 0], [0, 1, 1]], dtype=bool))
    assert some.extreme([0, 1, 2]) == pytest.approx([0.4, 0.3, 0.3])
    assert some.distance(some.sample(generator=seeded())) < 1e-12
    assert some.distance([0.3, 0.4, 0.3]) == pytest.approx(0.2)
    assert some.distance([0.8, 0.2, 0.0]) == pytest.approx(0.2)


def test_sampling_is_a_matter_of_the_generator() -> None:
    found = solve(Game.free([0.5, 0.5, 0.0])).detectors
    one, same, other = (found.sample(generator=seeded(seed)) for seed in (0, 0, 1))
    assert one.tolist() == same.tolist() != other.tolist()
