"""Closed forms and conditions against a solver that does not know them, on 200 random games of up to 12 states."""

import builtins
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from genat.theory import solvers, verification
from genat.theory.games import Game, adversary_value, detector_value
from genat.theory.solutions import Adversaries, solve
from genat.theory.verification import KINDS, Check, random_game, verify


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    generator = torch.Generator().manual_seed(2024)
    sizes = torch.randint(1, 13, (200,), generator=generator).tolist()
    played = [random_game(KINDS[i % 4], states=states, generator=generator) for i, states in enumerate(sizes)]
    return [verify(game, generator=generator) for game in played]


def test_both_programmes_come_to_one_value_and_it_is_the_closed_forms(checks: list[Check]) -> None:
    assert len(checks) == 200
    assert min(check.gap for check in checks) > -1e-9
    assert max(check.gap for check in checks) <= 1e-6
    assert max(check.value for check in checks) <= 1e-6


def test_numeric_optima_satisfy_the_conditions(checks: list[Check]) -> None:
    assert max(check.detector for check in checks) <= 1e-3
    assert max(check.adversary for check in checks) <= 1e-3


def test_members_and_vertices_attain_the_value_and_moved_members_lose(checks: list[Check]) -> None:
    assert max(check.members for check in checks) <= 1e-9
    losses = [check.moved for check in checks if check.moved is not None]
    assert len(losses) == 200
    assert min(losses) > 1e-9


def test_solvers_find_what_can_be_written_down() -> None:
    game = Game([0.5, 0.3, 0.2, 0.0], [0.5, 0.5], [[True, False, False, False], [False, False, True, True]])
    np.testing.assert_allclose(solvers.solve_maximin(game)[:3], [0.5, 1.0, 2 / 7], atol=1e-5)
    np.testing.assert_allclose(solvers.solve_minimax(game), [0.5, 0.0, 0.5, 0.0], atol=1e-5)


def test_what_a_solver_returns_can_be_played() -> None:
    """Small masses, far from what its tolerances see, still make a feasible pair with a finite gap."""
    small = 1e-11
    game = Game([1 - small, small, 0.0], [small, 1 - small], [[True, True, True], [False, False, True]])
    d, q = solvers.solve_maximin(game), solvers.solve_minimax(game)
    assert Adversaries.of(game).distance(q) < 1e-9
    assert -1e-9 < adversary_value(game, q) - detector_value(game, d) < 1e-6
    assert solve(game).value == pytest.approx(detector_value(game, d), abs=1e-6)


def test_a_solver_without_a_point_says_so() -> None:
    import cvxpy

    x = cvxpy.Variable()
    with pytest.raises(RuntimeError, match="expected the solver to find a point, got infeasible"):
        solvers._solve(cvxpy.Problem(cvxpy.Minimize(x), [x >= 1, x <= 0]))


def test_without_cvxpy_a_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_cvxpy(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> object:
        if name == "cvxpy":
            raise ImportError(name)
        return real(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", no_cvxpy)
    for solver in (solvers.solve_maximin, solvers.solve_minimax):
        with pytest.raises(ValueError, match=r"pip install 'genat\[peers\]'") as caught:
            solver(Game.free([0.5, 0.5]))
        assert "\n" not in str(caught.value)


def test_random_games_are_a_matter_of_the_generator_and_of_every_kind() -> None:
    for kind in KINDS:
        one, same = (random_game(kind, states=5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
        assert one.target.tolist() == same.target.tolist()
        assert one.reach.tolist() == same.reach.tolist()
    with pytest.raises(ValueError, match="expected kind to be one of free, everywhere, unmoved, within reach, got 'x'"):
        random_game("x", states=2, generator=torch.Generator())
    with pytest.raises(ValueError, match="expected states to be at least 1, got 0"):
        random_game("free", states=0, generator=torch.Generator())


def test_a_wrong_closed_form_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check would notice: a game solved as if it had no reach limits."""
    game = Game([0.5, 0.5], [1.0, 0.0], [[True, False], [True, True]])
    monkeypatch.setattr(verification, "solve", lambda _: solve(Game.free([0.5, 0.5])))
    check = verify(game, generator=torch.Generator().manual_seed(0))
    assert check.gap < 1e-6
    assert check.value > 0.01
    assert math.isfinite(check.value)
