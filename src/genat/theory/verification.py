"""The closed forms against a solver that does not know them, on random games."""

from dataclasses import dataclass

import numpy as np
import torch

from genat.theory.flows import Vector
from genat.theory.games import Game, adversary_value, conditions, detector_value, duality_gap
from genat.theory.solutions import Adversaries, Detectors, solve
from genat.theory.solvers import solve_maximin, solve_minimax

KINDS = ("free", "everywhere", "unmoved", "within reach")
_MEMBERS = 20  # random members, vertices and moved members, each of both solution sets
_MOVE = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """How well a game's numeric and closed solutions agree; all but `moved` are 0 where they do.

    Attributes:
        gap: duality gap of the numeric detector and the numeric adversary, which were found apart.
        value: largest difference of what either is sure of from the closed form.
        detector: largest distance of the numeric d from p / (p + q) where p is at least 0.01.
        adversary: how much lower than the highest value within reach the numeric q lies, on average.
        members: largest difference from the game's value of what random members and vertices of the solution sets
            are sure of; or how far one of the adversaries is from what can be reached, if that is more.
        moved: smallest loss of members that were moved out of their sets; None where a set is all there is.
    """

    gap: float
    value: float
    detector: float
    adversary: float
    members: float
    moved: float | None


def random_game(kind: str, *, states: int, generator: torch.Generator) -> Game:
    """Return a game with masses uniform on the simplex, a quarter of them then set to 0.

    Args:
        kind: one of `KINDS`; the reach of "within reach" is random, from sparse to dense, the number of its outside
            states too.
        states: n, at least 1.
        generator: of all that is random.

    Raises:
        ValueError: for an unknown kind or fewer states than 1.

    Example:
        >>> game = random_game("unmoved", states=3, generator=torch.Generator().manual_seed(0))
        >>> game.target.round(2), game.outside.round(2)
        (array([0.66, 0.23, 0.11]), array([0.08, 0.33, 0.59]))
    """
    if kind not in KINDS:
        raise ValueError(f"expected kind to be one of {', '.join(KINDS)}, got {kind!r}")
    if states < 1:
        raise ValueError(f"expected states to be at least 1, got {states}")
    target = _masses(states, generator)
    if kind == "free":
        return Game.free(target)
    if kind == "unmoved":
        return Game.unmoved(target, _masses(states, generator))
    outside = _masses(int(torch.randint(1, states + 1, (), generator=generator)), generator)
    if kind == "everywhere":
        return Game.everywhere(target, outside)
    density = 0.1 + 0.5 * torch.rand((), generator=generator, dtype=torch.float64)
    reach = torch.rand(len(outside), states, generator=generator, dtype=torch.float64) < density
    home = torch.randint(states, (len(outside), 1), generator=generator)
    return Game(target, outside, reach.scatter(1, home, value=True).numpy())


def verify(game: Game, *, generator: torch.Generator) -> Check:
    """Solve a game in closed form and numerically and return how well they agree.

    Args:
        game: the game.
        generator: of the members that are drawn.

    Raises:
        ValueError: where cvxpy is not installed.

    Example:
        >>> check = verify(Game.free([0.5, 0.3, 0.2, 0.0]), generator=torch.Generator().manual_seed(0))
        >>> check.gap < 1e-6, check.members < 1e-9, check.moved > 1e-4
        (True, True, True)
    """
    exact = solve(game)
    d, q = solve_maximin(game), solve_minimax(game)
    missed = conditions(game, d, q)
    members = [abs(detector_value(game, m) - exact.value) for m in _members(exact.detectors, generator)]
    members += [abs(adversary_value(game, m) - exact.value) for m in _members(exact.adversaries, generator)]
    members.append(Adversaries.of(game).distance(exact.adversaries.sample(generator=generator)))
    losses = [exact.value - detector_value(game, m) for m in _moved_detectors(game, exact.detectors, generator)]
    losses += [adversary_value(game, m) - exact.value for m in _moved_adversaries(game, exact.adversaries, generator)]
    return Check(
        gap=duality_gap(game, d, q),
        value=max(abs(detector_value(game, d) - exact.value), abs(adversary_value(game, q) - exact.value)),
        detector=float(missed.detector[game.target >= 0.01].max()),
        adversary=abs(missed.adversary),
        members=max(members),
        moved=min(losses, default=None),
    )


def _members(found: Detectors | Adversaries, generator: torch.Generator) -> list[Vector]:
    size = len(found.lower if isinstance(found, Detectors) else found.fixed)
    drawn = [found.sample(generator=generator) for _ in range(_MEMBERS)]
    return drawn + [found.extreme(direction) for direction in _directions(size, generator)]


def _moved_detectors(game: Game, found: Detectors, generator: torch.Generator) -> list[Vector]:
    """Return members of which one entry was moved out of its interval, where that matters by more than rounding."""
    determined = np.flatnonzero((game.target >= 0.01) | (~game.support & (found.upper < 1 - _MOVE)))
    moved = []
    for choice in torch.randint(len(determined), (_MEMBERS,), generator=generator).tolist():
        d, j = found.sample(generator=generator), determined[choice]
        d[j] = found.lower[j] - _MOVE if found.upper[j] > 1 - _MOVE else found.upper[j] + _MOVE
        moved.append(d)
    return moved


def _moved_adversaries(game: Game, found: Adversaries, generator: torch.Generator) -> list[Vector]:
    """Return adversaries on the way from a member to a vertex of all there are, where that leads out of the set."""
    moved = []
    for direction in _directions(len(game.target), generator):
        member, vertex = found.sample(generator=generator), Adversaries.of(game).extreme(direction)
        candidate = (1 - _MOVE) * member + _MOVE * vertex
        if found.distance(candidate) > _MOVE / 100:
            moved.append(candidate)
    return moved


def _directions(size: int, generator: torch.Generator) -> list[Vector]:
    return list(torch.randn(_MEMBERS, size, generator=generator, dtype=torch.float64).numpy())


def _masses(count: int, generator: torch.Generator) -> Vector:
    masses = torch.empty(count, dtype=torch.float64).exponential_(generator=generator)
    dropped = torch.rand(count, generator=generator) < 0.25
    if not dropped.all():
        masses[dropped] = 0
    return np.asarray((masses / masses.sum()).numpy())
