r"""The games' solutions in closed form: the value, and every optimal detector and adversary. Proofs: docs/theory.md."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from genat.theory.flows import Vector, arrivals, largest_flow
from genat.theory.games import Game, as_adversary, as_detector, highest, xlogy


@dataclass(frozen=True, slots=True, eq=False)
class Detectors:
    r"""The box :math:`\{d : \text{lower}_j \le d_j \le \text{upper}_j\}`.

    Attributes:
        lower, upper: `(n,)`; equal where the detector is determined.

    Example:
        >>> found = solve(Game.free([0.5, 0.5, 0.0])).detectors
        >>> found.lower, found.upper
        (array([0.5, 0.5, 0. ]), array([0.5, 0.5, 0.5]))
        >>> found.extreme([0, 0, 1]), found.distance([0.5, 0.5, 0.75])
        (array([0.5, 0.5, 0.5]), 0.25)
    """

    lower: Vector
    upper: Vector

    def distance(self, point: ArrayLike) -> float:
        """Return the largest distance of an entry from its interval."""
        d = np.asarray(point, dtype=np.float64)
        return float(np.maximum(self.lower - d, d - self.upper).clip(min=0).max())

    def extreme(self, direction: ArrayLike) -> Vector:
        """Return the vertex that is upper where the direction is positive and lower elsewhere."""
        return np.where(np.asarray(direction) > 0, self.upper, self.lower)

    def sample(self, *, generator: torch.Generator) -> Vector:
        """Return a detector drawn uniformly."""
        return self.lower + _uniform(len(self.lower), generator) * (self.upper - self.lower)


@dataclass(frozen=True, slots=True, eq=False)
class Adversaries:
    r"""The polytope of what a transport can make, :math:`\{c + T^\top w : T \ge 0,\ T1 = 1,\ T \text{ within reach}\}`.

    Its vertices are among the transports that carry each mass whole to one state.

    Attributes:
        fixed: `(n,)` masses c that every member has.
        mass: `(k,)` masses w that are carried.
        reach: `(k, n)` bool, where each may be carried.

    Example:
        >>> anywhere = Adversaries.of(Game.free([0.5, 0.5, 0.0]))
        >>> anywhere.extreme([0, 1, 0]), anywhere.distance([0.2, 0.3, 0.5])
        (array([0., 1., 0.]), 0.0)
    """

    fixed: Vector
    mass: Vector
    reach: NDArray[np.bool_]

    @classmethod
    def of(cls, game: Game) -> "Adversaries":
        """Return all that a game's adversary may choose from, Q."""
        return cls(np.zeros(len(game.target)), game.outside, game.reach)

    def distance(self, point: ArrayLike) -> float:
        """Return the L1 distance of masses of sum 1 from the nearest member."""
        rest = np.asarray(point, dtype=np.float64) - self.fixed
        carried, kept = largest_flow(self.mass, rest.clip(min=0), self.reach)
        return float(np.abs(rest - carried.sum(axis=0)).sum() + kept.sum())

    def extreme(self, direction: ArrayLike) -> Vector:
        """Return the member that carries each mass to where the direction is highest, the first of equals."""
        scores = np.where(self.reach, np.asarray(direction, dtype=np.float64), -np.inf)
        transport = np.zeros(self.reach.shape)
        transport[np.arange(len(self.mass)), scores.argmax(axis=1)] = 1.0
        return self._carried(transport)

    def sample(self, *, generator: torch.Generator) -> Vector:
        """Return the member of a random transport, each of whose rows is uniform on its simplex."""
        shares = np.where(self.reach, -np.log1p(-_uniform(self.reach.size, generator).reshape(self.reach.shape)), 0.0)
        return self._carried(shares / shares.sum(axis=1, keepdims=True))

    def _carried(self, transport: Vector) -> Vector:
        return np.asarray(self.fixed + self.mass @ transport)


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What a game comes to.

    Attributes:
        value: of the maximin and of the minimax game; they are equal.
        detectors: all that are optimal in the maximin order, in which the detector commits itself.
        adversaries: all that are optimal in the minimax order, in which the adversary does.

    The saddle points are the pairs of one of each.
    """

    value: float
    detectors: Detectors
    adversaries: Adversaries


def solve(game: Game) -> Solution:
    r"""Return the value and all optimal detectors and adversaries of a game.

    On the target's support both are unique: :math:`q_j = r_j p_j` and :math:`d_j = 1 / (1 + r_j)`, where the ratios r
    are as equal as the reach allows (`ratios`). With :math:`u_i` the highest :math:`d_j` on the support within reach of
    outside state i, 0 where there is none, the rest is

    .. math:: 0 \le d_j \le \min\{u_i : p^0_i > 0,\ R_{ij} = 1\} \quad (\min \emptyset = 1)

    for the detector off the support, and for the adversary: outside mass that reaches no state of the support stays
    anywhere within its reach. For the free adversary this is d = 1/2 on the support and at most 1/2 elsewhere, q = p;
    where nothing moves, d = p / (p + p0) where either has mass and anything where neither has.

    Args:
        game: the game.

    References:
        Lexicographically optimal base of a polymatroid with respect to a weight vector (Fujishige, 1980)
        https://doi.org/10.1287/moor.5.2.186

    Example:
        Three target states in a row, outside data beside the first and the last; each may move one state, or two.

        >>> one_step = Game([0.5, 0.3, 0.2, 0.0], [0.5, 0.5], [[True, False, False, False], [False, False, True, True]])
        >>> found = solve(one_step)
        >>> found.detectors.lower.round(3), found.detectors.upper.round(3), round(found.value, 4)
        (array([0.5  , 1.   , 0.286, 0.   ]), array([0.5  , 1.   , 0.286, 0.286]), -1.1119)
        >>> round(solve(Game.everywhere([0.5, 0.3, 0.2, 0.0], [0.5, 0.5])).value, 4)
        -1.3863
    """
    support, moving = game.support, game.moving
    arrives = moving & game.reach[:, support].any(axis=1)
    d, q = np.zeros(len(game.target)), np.zeros(len(game.target))
    found = ratios(game.target[support], game.outside[arrives], game.reach[np.ix_(arrives, support)])
    d[support], q[support] = 1 / (1 + found), game.target[support] * found
    limit = np.where(game.reach & moving[:, None], highest(game, d)[:, None], 1.0).min(axis=0)
    stuck = moving & ~arrives
    return Solution(
        float(xlogy(game.target, d).sum() + xlogy(q, 1 - d).sum()),
        Detectors(d, np.where(support, d, limit)),
        Adversaries(q, game.outside[stuck], game.reach[stuck]),
    )


def ratios(target: Vector, outside: Vector, reach: NDArray[np.bool_]) -> Vector:
    r"""Return how much outside mass a unit of target mass has to bear, state by state, spread as evenly as can be.

    The spread minimises :math:`\sum_j p_j \phi(q_j / p_j)` over what the adversary can reach, for every convex
    :math:`\phi` at once. It is found by decomposition: were all ratios equal, a largest flow would say so; where
    it cannot be, a minimal cut parts the states that too little outside mass reaches from the others, and
    each part is spread by itself.

    Args:
        target: `(n,)` masses above 0, of any sum.
        outside: `(m,)` masses, of any sum.
        reach: `(m, n)` bool, every row with a state.

    Returns:
        `(n,)` r = q / p, at least 0.

    References:
        Two algorithms for maximizing a separable concave function over a polymatroid feasible region (Groenevelt,
        1991) https://doi.org/10.1016/0377-2217(91)90300-K

    Example:
        >>> ratios(np.array([0.5, 0.5]), np.array([0.8, 0.2]), np.array([[True, False], [True, True]]))
        array([1.6, 0.4])
        >>> ratios(np.array([0.5, 0.5]), np.array([0.2, 0.8]), np.array([[True, False], [True, True]]))
        array([1., 1.])
    """
    even = outside.sum() / target.sum()
    flow, kept = largest_flow(even * target, outside, reach.T)
    short = kept > 0
    entered, returned = arrivals(short, flow, reach.T)
    poor, carriers = short | (returned >= 0), entered >= 0
    if poor.all() or not poor.any():
        return np.full(len(target), even)
    found = np.empty(len(target))
    for states, sources in ((poor, carriers), (~poor, ~carriers)):
        found[states] = ratios(target[states], outside[sources], reach[np.ix_(sources, states)])
    return found


def adversary_replies(game: Game, d: ArrayLike, *, tolerance: float = 1e-9) -> Adversaries:
    """Return the adversary's best answers to a detector: each mass anywhere at the highest value within its reach.

    In the maximin order this is all that is said of the adversary.

    Args:
        game: the game.
        d: `(n,)` the detector it answers.
        tolerance: by how much values may differ and still count as equally high.

    Raises:
        ValueError: for a detector out of [0, 1] or of another shape.

    Example:
        >>> adversary_replies(Game.free([0.5, 0.5, 0.0]), [0.5, 0.5, 0.2]).reach
        array([[ True,  True, False]])
    """
    d = as_detector(game, d)
    top = game.reach & (d >= highest(game, d)[:, None] - tolerance)
    return Adversaries(np.zeros(len(d)), game.outside, top)


def detector_replies(game: Game, q: ArrayLike) -> Detectors:
    """Return the detector's best answers to an adversary: p / (p + q), and anything where neither has mass.

    In the minimax order this is all that is said of the detector.

    Args:
        game: the game.
        q: `(n,)` the adversary it answers.

    Raises:
        ValueError: for masses that are none or of another shape.

    Example:
        >>> found = detector_replies(Game.free([0.5, 0.5, 0.0]), [0.5, 0.5, 0.0])
        >>> found.lower, found.upper
        (array([0.5, 0.5, 0. ]), array([0.5, 0.5, 1. ]))
    """
    q = as_adversary(game, q)
    both = game.target + q
    lower = np.divide(game.target, both, out=np.zeros_like(both), where=both > 0)
    return Detectors(lower, np.where(both > 0, lower, 1.0))


def _uniform(count: int, generator: torch.Generator) -> Vector:
    return np.asarray(torch.rand(count, generator=generator, dtype=torch.float64).numpy())
