"""Both games as convex programmes for a solver that knows nothing of their solutions; the two are solved apart."""

import warnings
from typing import Any

import numpy as np

from genat.theory.flows import Vector
from genat.theory.games import Game

_TOLERANCES = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
_NOTHING = 1e-15  # the least that is carried anywhere, so that a mass below the tolerance is carried somewhere
_CERTAIN = 1e-15  # a numeric detector keeps this far from 0 and from 1, which would cost infinity


def solve_maximin(game: Game) -> Vector:
    r"""Return a detector that solves the maximin game, the primal programme, numerically.

    .. math::
        \max_{d, t} \sum_j p_j \log d_j + \sum_i p^0_i \log(1 - t_i)
        \quad \text{with } 0 \le d_j \le 1,\ t_i \le 1,\ d_j \le t_i \text{ where } R_{ij} = 1

    The programme is given to Clarabel, an interior-point solver of conic programmes, by way of cvxpy. What it returns
    is certified by `games.detector_value`, a lower bound of the game's value whatever the solver's state.

    Args:
        game: the game.

    Returns:
        `(n,)` in [0, 1].

    Raises:
        ValueError: where cvxpy is not installed.
        RuntimeError: where the solver finds no point.

    References:
        Clarabel: An interior-point solver for conic programs with quadratic objectives (Goulart, Chen, 2024)
        https://arxiv.org/abs/2405.12762

    Example:
        >>> solve_maximin(Game.free([0.7, 0.3])).round(3)
        array([0.5, 0.5])
    """
    cp = _cvxpy()
    d, t = cp.Variable(len(game.target)), cp.Variable(len(game.outside))
    i, j = np.nonzero(game.reach)
    support, moving = np.flatnonzero(game.support), np.flatnonzero(game.moving)
    gain = game.target[support] @ cp.log(d[support]) + game.outside[moving] @ cp.log(1 - t[moving])
    _solve(cp.Problem(cp.Maximize(gain), [d[j] <= t[i], d >= 0, d <= 1, t <= 1]))
    return np.asarray(np.clip(d.value, _CERTAIN, 1 - _CERTAIN))


def solve_minimax(game: Game) -> Vector:
    r"""Return an adversary that solves the minimax game, the dual programme, numerically.

    .. math::
        \min_{T} \sum_j p_j \log\frac{p_j}{p_j + q_j} + \sum_j q_j \log\frac{q_j}{p_j + q_j}
        \quad \text{with } q = T^\top p^0,\ T \ge 0,\ T 1 = 1,\ T_{ij} = 0 \text{ where } R_{ij} = 0

    What it returns is carried by a transport within reach, so that `games.adversary_value` is an upper bound of the
    game's value whatever the solver's state.

    Args:
        game: the game.

    Returns:
        `(n,)` masses within the adversary's reach.

    Raises:
        ValueError: where cvxpy is not installed.
        RuntimeError: where the solver finds no point.

    Example:
        >>> solve_minimax(Game.free([0.7, 0.3])).round(3)
        array([0.7, 0.3])
    """
    cp = _cvxpy()
    reach, mass = game.reach[game.moving], game.outside[game.moving]
    i, j = np.nonzero(reach)
    carried = cp.Variable(len(i), nonneg=True)
    out_of = (i == np.arange(len(mass))[:, None]).astype(np.float64)
    into = (j == np.arange(len(game.target))[:, None]).astype(np.float64)
    q = into @ carried
    loss = cp.sum(cp.rel_entr(game.target, game.target + q)) + cp.sum(cp.rel_entr(q, game.target + q))
    _solve(cp.Problem(cp.Minimize(loss), [out_of @ carried == mass]))
    found = np.maximum(carried.value, _NOTHING)
    return np.asarray(into @ (found * (mass / (out_of @ found))[i]))


def _solve(problem: Any) -> None:  # noqa: ANN401 - cvxpy declares no types here
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")  # the duality gap says how much
        problem.solve(solver="CLARABEL", **_TOLERANCES)
    if any(variable.value is None for variable in problem.variables()):
        raise RuntimeError(f"expected the solver to find a point, got {problem.status}")


def _cvxpy() -> Any:  # noqa: ANN401 - a module
    try:
        import cvxpy
    except ImportError:
        raise ValueError("expected cvxpy for the numeric solvers, got none: pip install 'genat[peers]'") from None
    return cvxpy
