"""The maximin and the minimax game on a finite space: the players, the payoff, and what is certain of any pair."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genat.theory.flows import Vector, largest_flow

_SUM_TOLERANCE = 1e-8  # a sum of many roundings; what is negative or not finite has no tolerance
_SMALLEST = 1e-12  # a mass much below it makes a detector that float64 cannot tell from a certain one


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    r"""Who plays for what: the target, the outside data and how far the adversary may carry it.

    A detector gives every state j a probability :math:`d_j \in [0, 1]` of being target, the adversary carries the mass
    :math:`p^0_i` of every outside state i to states within its reach, and the payoff, which the detector raises and
    the adversary lowers, is

    .. math:: U(d, q) = \sum_j p_j \log d_j + \sum_j q_j \log(1 - d_j), \qquad 0 \log 0 = 0,

    with q in :math:`Q = \{T^\top p^0 : T \ge 0,\ T 1 = 1,\ T_{ij} = 0 \text{ where } R_{ij} = 0\}`. In the *maximin*
    game (GAT) the detector commits itself and the adversary answers, :math:`\max_d \min_q U`; in the *minimax* game
    (GAN) it is the other way round.

    Args:
        target: `(n,)` the masses p, of sum 1, each 0 or at least 1e-12.
        outside: `(m,)` the masses :math:`p^0`, likewise.
        reach: `(m, n)` bool, R: where `reach[i, j]`, outside state i may be carried to state j. An outside state
            stays where it is only if its own state is within its reach.

    Raises:
        ValueError: for masses that are negative, too small, not finite or not of sum 1, another shape, or an outside
            state that may go nowhere.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568

    Example:
        >>> game = Game([0.5, 0.5, 0.0], outside=[0.25, 0.75], reach=[[True, True, False], [False, True, True]])
        >>> print(f"{detector_value(game, [0.5, 0.5, 0.5]):.4f}")
        -1.3863
    """

    target: Vector
    outside: Vector
    reach: NDArray[np.bool_]

    def __init__(self, target: ArrayLike, outside: ArrayLike, reach: ArrayLike) -> None:
        for name, masses in (("target", target), ("outside", outside)):
            values = _masses(name, masses)
            if ((values > 0) & (values < _SMALLEST)).any():
                smallest = values[values > 0].min()
                raise ValueError(f"expected {name} to have masses of 0 or at least {_SMALLEST}, got {smallest}")
            object.__setattr__(self, name, values)
        allowed = np.array(reach)
        shape = (len(self.outside), len(self.target))
        if allowed.shape != shape or allowed.dtype != np.bool_:
            raise ValueError(f"expected reach to be bool of shape {shape}, got {allowed.dtype} {allowed.shape}")
        lost = np.flatnonzero(~allowed.any(axis=1))
        if len(lost):
            raise ValueError(f"expected every outside state to reach some state, got none for outside state {lost[0]}")
        allowed.setflags(write=False)
        object.__setattr__(self, "reach", allowed)

    @classmethod
    def free(cls, target: ArrayLike) -> Self:
        """Return the game of an adversary without outside data: any q of sum 1.

        Example:
            >>> Game.free([0.5, 0.5]).reach
            array([[ True,  True]])
        """
        return cls.everywhere(target, [1.0])

    @classmethod
    def everywhere(cls, target: ArrayLike, outside: ArrayLike) -> Self:
        """Return the game in which all outside data reaches all states; it is the free game again.

        Example:
            >>> Game.everywhere([0.5, 0.5], outside=[1.0, 0.0, 0.0]).reach.shape
            (3, 2)
        """
        return cls(target, outside, np.ones((np.size(outside), np.size(target)), dtype=bool))

    @classmethod
    def unmoved(cls, target: ArrayLike, outside: ArrayLike) -> Self:
        """Return the game in which nothing moves: q is the outside distribution, over the same states.

        Example:
            >>> Game.unmoved([0.5, 0.5], outside=[1.0, 0.0]).reach
            array([[ True, False],
                   [False,  True]])
        """
        return cls(target, outside, np.eye(np.size(outside), dtype=bool))

    @property
    def support(self) -> NDArray[np.bool_]:
        """Where the target has mass, `(n,)`."""
        return self.target > 0

    @property
    def moving(self) -> NDArray[np.bool_]:
        """Which outside states have mass to carry, `(m,)`."""
        return self.outside > 0


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """By how much a pair misses each of the three conditions of a saddle point; all are 0 at one and only there.

    Attributes:
        detector: `(n,)` distance of d from p / (p + q), 0 where neither has mass: nothing is asked there.
        adversary: how much lower than the highest value within reach the outside mass lies, on average.
        transport: L1 distance of q from what the adversary can reach.
    """

    detector: Vector
    adversary: float
    transport: float


def payoff(game: Game, d: ArrayLike, q: ArrayLike) -> float:
    r"""Return :math:`U(d, q) = \sum_j p_j \log d_j + \sum_j q_j \log(1 - d_j)`.

    Args:
        game: the game.
        d: `(n,)` a detector, in [0, 1].
        q: `(n,)` an adversary's masses, of sum 1; that it can reach q is not asked.

    Returns:
        At most 0; minus infinity where the detector is certain and wrong.

    Raises:
        ValueError: for a detector out of [0, 1], masses that are none, or another shape.

    Example:
        >>> print(f"{payoff(Game.free([0.5, 0.5]), [0.5, 0.5], [1.0, 0.0]):.4f}")
        -1.3863
    """
    d, q = as_detector(game, d), as_adversary(game, q)
    return float(xlogy(game.target, d).sum() + xlogy(q, 1 - d).sum())


def detector_value(game: Game, d: ArrayLike) -> float:
    r"""Return what a detector is sure of, :math:`F(d) = \min_{q \in Q} U(d, q)`: the maximin game's objective.

    .. math:: F(d) = \sum_j p_j \log d_j + \sum_i p^0_i \log\bigl(1 - \max_{j \in R_i} d_j\bigr)

    Args:
        game: the game.
        d: `(n,)` a detector, in [0, 1].

    Raises:
        ValueError: for a detector out of [0, 1] or of another shape.

    Example:
        >>> game = Game.free([0.5, 0.5, 0.0])
        >>> print(f"{detector_value(game, [0.5, 0.5, 0.1]):.4f} {detector_value(game, [0.5, 0.5, 0.6]):.4f}")
        -1.3863 -1.6094
    """
    d = as_detector(game, d)
    return float(xlogy(game.target, d).sum() + xlogy(game.outside, 1 - highest(game, d)).sum())


def adversary_value(game: Game, q: ArrayLike) -> float:
    r"""Return what an adversary is sure of, :math:`G(q) = \max_d U(d, q)`: the minimax game's objective.

    .. math::
        G(q) = \sum_j p_j \log\frac{p_j}{p_j + q_j} + \sum_j q_j \log\frac{q_j}{p_j + q_j}
             = 2\,\mathrm{JSD}(p, q) - 2 \log 2

    Args:
        game: the game.
        q: `(n,)` masses of sum 1; that the adversary can reach them is not asked.

    Returns:
        Between -2 log 2, where q = p, and 0, where q and p share no state.

    Raises:
        ValueError: for masses that are none or of another shape.

    Example:
        >>> game = Game.free([0.5, 0.5, 0.0])
        >>> print(f"{adversary_value(game, [0.5, 0.5, 0.0]):.4f} {adversary_value(game, [0.0, 0.0, 1.0]):.4f}")
        -1.3863 0.0000
    """
    q = as_adversary(game, q)
    both = game.target + q
    return float(xlogy(game.target, _ratio(game.target, both)).sum() + xlogy(q, _ratio(q, both)).sum())


def duality_gap(game: Game, d: ArrayLike, q: ArrayLike) -> float:
    r"""Return :math:`G(q) - F(d)`, the exploitability of a pair: what both could win by answering the other exactly.

    The game's value lies between F(d) and G(q), so that the gap bounds the error of both; it is 0 at saddle points
    and only there.

    Args:
        game: the game.
        d: `(n,)` a detector, in [0, 1].
        q: `(n,)` an adversary within reach.

    Raises:
        ValueError: for a detector out of [0, 1], masses that are none, or another shape.

    Example:
        >>> game = Game.free([0.5, 0.5])
        >>> print(f"{duality_gap(game, [0.5, 0.5], [1.0, 0.0]):.4f} {duality_gap(game, [0.5, 0.5], [0.5, 0.5]):.4f}")
        0.4315 0.0000
    """
    return adversary_value(game, q) - detector_value(game, d)


def conditions(game: Game, d: ArrayLike, q: ArrayLike) -> Residuals:
    r"""Return by how much a pair misses the conditions of optimality.

    A pair (d, q) is a saddle point exactly if

    .. math::
        q \in Q, \qquad d_j = \frac{p_j}{p_j + q_j} \text{ where } p_j + q_j > 0, \qquad
        \sum_i p^0_i \max_{k \in R_i} d_k = \sum_j q_j d_j.

    The third says, without naming a transport, that every transport which makes q carries outside mass only to where d
    is highest within reach.

    Args:
        game: the game.
        d: `(n,)` a detector, in [0, 1].
        q: `(n,)` masses of sum 1.

    Raises:
        ValueError: for a detector out of [0, 1], masses that are none, or another shape.

    Example:
        >>> found = conditions(Game.free([0.5, 0.5]), [0.6, 0.5], [0.5, 0.5])
        >>> found.detector.round(3), round(found.adversary, 3), found.transport
        (array([0.1, 0. ]), 0.05, 0.0)
    """
    d, q = as_detector(game, d), as_adversary(game, q)
    both = game.target + q
    missed = np.where(both > 0, np.abs(d - _ratio(game.target, both)), 0.0)
    shortfall = float(game.outside @ highest(game, d) - q @ d)
    _, kept = largest_flow(game.outside, q, game.reach)
    return Residuals(missed, shortfall, 2 * float(kept.sum()))


def highest(game: Game, d: Vector) -> Vector:
    """Return the detector's highest value within the reach of each outside state, `(m,)`."""
    return np.asarray(np.where(game.reach, d, 0.0).max(axis=1))


def xlogy(x: Vector, y: Vector) -> Vector:
    """Return x log y, 0 where x is 0 and minus infinity where y alone is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 0, x * np.log(y), 0.0)


def as_detector(game: Game, d: ArrayLike) -> Vector:
    """Return a detector as float64 `(n,)`, checked."""
    values = np.asarray(d, dtype=np.float64)
    if values.shape != game.target.shape:
        raise ValueError(f"expected a detector of shape {game.target.shape}, got {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected a detector in [0, 1], got {values.min()} to {values.max()}")
    return values


def as_adversary(game: Game, q: ArrayLike) -> Vector:
    """Return an adversary's masses as float64 `(n,)`, checked."""
    values = _masses("the adversary", q)
    if values.shape != game.target.shape:
        raise ValueError(f"expected an adversary of shape {game.target.shape}, got {values.shape}")
    return values


def _masses(name: str, masses: ArrayLike) -> Vector:
    values = np.array(masses, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected {name} to be masses of shape (n,) with n >= 1, got {values.shape}")
    if not (values >= 0).all():
        raise ValueError(f"expected {name} to have masses of at least 0, got {values.min()}")
    if not abs(values.sum() - 1) <= _SUM_TOLERANCE:
        raise ValueError(f"expected {name} to sum to 1, got {values.sum()}")
    values.setflags(write=False)
    return values


def _ratio(part: Vector, whole: Vector) -> Vector:
    """Return part / whole, 1 where both are 0: a factor that then stands before a mass of 0."""
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
