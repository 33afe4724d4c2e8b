"""Players who learn by playing a finite game: best responses, fictitious play and gradient steps.

What settles, what cycles and why: docs/theory.md.
"""

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from genat.theory.flows import Vector
from genat.theory.games import Game, as_detector, duality_gap
from genat.theory.solutions import Adversaries, detector_replies

First: TypeAlias = Literal["detector", "adversary", "both"]
"""Who moves first in a round, seen by the other in the same round; "both" move at once and see the round before."""

_Player: TypeAlias = Callable[[Vector], Vector]
"""What the other plays to what one plays next."""


@dataclass(frozen=True, slots=True, eq=False)
class Plays:
    """What was played, the start first.

    Attributes:
        detectors: `(rounds + 1, n)`.
        adversaries: `(rounds + 1, n)`.
    """

    detectors: Vector
    adversaries: Vector

    def averages(self) -> "Plays":
        """Return the means of the plays of rounds 1 to t, for every t: `(rounds, n)`; the start does not count."""
        counts = np.arange(1, len(self.detectors))[:, None]
        return Plays(self.detectors[1:].cumsum(axis=0) / counts, self.adversaries[1:].cumsum(axis=0) / counts)


def best_response(game: Game, rounds: int, *, first: First = "adversary", start: ArrayLike | None = None) -> Plays:
    """Play rounds in which each answers the present play of the other exactly.

    Of equally good states the adversary takes the first; where neither target nor adversary has mass the detector
    keeps the value it has.

    Args:
        game: the game.
        rounds: how many, at least 0.
        first: who moves first in a round.
        start: `(n,)` the detector before the first round; None is 1/2 everywhere. The adversary starts with its mass
            spread evenly over what is within reach.

    Raises:
        ValueError: for fewer rounds than 0, an unknown first, or a start that is no detector.

    Example:
        >>> plays = best_response(Game.free([0.5, 0.3, 0.2]), rounds=12)
        >>> plays.adversaries[1:5]
        array([[1., 0., 0.],
               [0., 1., 0.],
               [1., 0., 0.],
               [0., 1., 0.]])
        >>> period(plays)
        2
    """
    d = _start(game, start)
    return _play(game, rounds, first, detector=_exact_detector(game, d), adversary=_exact_adversary(game), d=d)


def fictitious_play(
    game: Game,
    rounds: int,
    *,
    first: First = "adversary",
    remember: Literal["both", "adversary", "detector"] = "both",
    start: ArrayLike | None = None,
) -> Plays:
    """Play rounds in which a player answers, exactly, the mean of all it has seen of the other.

    With remember="both" this is fictitious play. With "adversary" the detector answers all adversaries so far and the
    adversary the present detector, as in training with a replay buffer that forgets nothing. With "detector" the
    adversary answers the mean of all detectors so far and the detector the present adversary. The first two settle at
    the game's solutions, the third does not.

    Args:
        game: the game.
        rounds: how many, at least 0.
        first: who moves first in a round.
        remember: whose past counts; of the other, only the present play is answered.
        start: as in `best_response`.

    Raises:
        ValueError: for fewer rounds than 0, an unknown first or remember, or a start that is no detector.

    References:
        An iterative method of solving a game (Robinson, 1951) https://doi.org/10.2307/1969530
        Best response dynamics for continuous zero-sum games (Hofbauer, Sorin, 2006)
        https://doi.org/10.3934/dcdsb.2006.6.215

    Example:
        >>> game = Game.free([0.7, 0.3])
        >>> settled = fictitious_play(game, rounds=1000).averages()
        >>> settled.adversaries[-1].round(2), settled.detectors[-1].round(2)
        (array([0.69, 0.31]), array([0.5, 0.5]))
        >>> fictitious_play(game, rounds=1000, remember="detector").averages().detectors[-1].round(2)
        array([0.67, 0.67])
    """
    if remember not in ("both", "adversary", "detector"):
        raise ValueError(f"expected remember to be 'both', 'adversary' or 'detector', got {remember!r}")
    d = _start(game, start)
    detector, adversary = _exact_detector(game, d), _exact_adversary(game)
    if remember != "detector":
        detector = _to_the_mean(detector)
    if remember != "adversary":
        adversary = _to_the_mean(adversary)
    return _play(game, rounds, first, detector=detector, adversary=adversary, d=d)


def gradient_play(
    game: Game,
    rounds: int,
    *,
    rates: tuple[float, float],
    first: First = "detector",
    start: tuple[ArrayLike, ArrayLike] | None = None,
) -> Plays:
    r"""Play rounds of gradient steps: the detector ascends the payoff in its logits, the adversary descends it in its.

    .. math::
        f_j \mathrel{+}= \alpha\,(p_j - (p_j + q_j) d_j), \qquad
        a_{ij} \mathrel{-}= \beta\, p^0_i T_{ij} \Bigl(\ell_j - \sum_k T_{ik} \ell_k\Bigr), \qquad
        \ell_j = \log(1 - d_j)

    with :math:`d = \sigma(f)` and :math:`T_i` the softmax of :math:`a_i` over what is within reach. A rate of infinity
    is the exact answer in place of a step: (alpha, inf) is the maximin game, played by a detector against the best
    adversary as in GAT, (inf, beta) the minimax game, played by an adversary against the best detector, as a GAN would.

    Args:
        game: the game.
        rounds: how many, at least 0.
        rates: alpha of the detector and beta of the adversary, above 0.
        first: who moves first in a round.
        start: logits `(n,)` of the detector and `(m, n)` of the adversary, of which those within reach count; None is
            0 for all.

    Raises:
        ValueError: for rounds or rates out of range, an unknown first, or logits not finite or of another shape.

    Example:
        >>> plays = gradient_play(Game.free([0.7, 0.3]), 500, rates=(0.5, 0.5))
        >>> plays.adversaries[-1].round(3), plays.detectors[-1].round(3)
        (array([0.7, 0.3]), array([0.5, 0.5]))
    """
    alpha, beta = rates
    if not (alpha > 0 and beta > 0):
        raise ValueError(f"expected rates above 0, got {rates}")
    f, a = (np.zeros(len(game.target)), np.zeros(game.reach.shape)) if start is None else _logits(game, start)
    d, transport = _sigmoid(f), _softmax(game, a)
    detector = _exact_detector(game, d) if math.isinf(alpha) else _ascending_detector(game, f, alpha)
    adversary = _exact_adversary(game) if math.isinf(beta) else _descending_adversary(game, a, beta)
    return _play(game, rounds, first, detector=detector, adversary=adversary, d=d, q=game.outside @ transport)


def contraction(n: int, rates: tuple[float, float], *, first: First = "detector") -> float:
    r"""Return by which factor a round of gradient play shrinks small deviations from the solution, in closed form.

    For the free adversary and a target uniform over n states, with :math:`x = \alpha / 2n` and :math:`y = \beta / 2n`,
    the deviations (of the detector's logits and of the adversary's, both of mean 0) follow a matrix of trace t and
    determinant D,

    .. math::
        (t, D) = (2 - x,\ 1 - x + xy) \text{ moving at once}, \qquad
        (t, D) = (2 - x - xy,\ 1 - x) \text{ in turns, whoever is first},

    whose spectral radius this is; below 1 play settles. The exact answer, alpha = inf, is x = 1.

    Args:
        n: states, at least 2.
        rates: alpha and beta, above 0; beta finite: the best adversary jumps, which no matrix describes.
        first: who moves first in a round.

    Raises:
        ValueError: for fewer states than 2, rates out of range or an unknown first.

    Example:
        >>> round(contraction(2, (1.0, 1.0)), 4), round(contraction(2, (1.0, 1.0), first="both"), 4)
        (0.866, 0.9014)
        >>> round(contraction(2, (1.0, 5.0)), 4), round(contraction(2, (1.0, 5.0), first="both"), 4)
        (0.866, 1.0308)
    """
    alpha, beta = rates
    if n < 2:
        raise ValueError(f"expected n to be at least 2, got {n}")
    if not (alpha > 0 and 0 < beta < math.inf):
        raise ValueError(f"expected rates above 0, the adversary's finite, got {rates}")
    _check(0, first)
    x, y = 1.0 if math.isinf(alpha) else alpha / (2 * n), beta / (2 * n)
    trace, determinant = (2 - x, 1 - x + x * y) if first == "both" else (2 - x - x * y, 1 - x)
    root = cmath.sqrt(trace**2 - 4 * determinant)
    return max(abs(trace + root), abs(trace - root)) / 2


def gaps(game: Game, plays: Plays) -> Vector:
    """Return the duality gap (exploitability) of every pair of plays, `(rounds + 1,)`; of means for `plays.averages()`.

    Example:
        >>> game = Game.free([0.7, 0.3])
        >>> gaps(game, fictitious_play(game, rounds=1000).averages())[[9, 99, 999]].round(4)
        array([0.0923, 0.0037, 0.0003])
    """
    pairs = zip(plays.detectors, plays.adversaries, strict=True)
    return np.array([duality_gap(game, d, q) for d, q in pairs])


def period(plays: Plays, *, tolerance: float = 1e-9) -> int | None:
    """Return after how many rounds the plays repeat themselves: 1 where they rest, None where they do not.

    Looked at is the later half of them, in which a repetition has to be seen twice.

    Args:
        plays: the plays.
        tolerance: by how much an entry may differ and still count as repeated.
    """
    both = np.hstack([plays.detectors, plays.adversaries])
    tail = both[len(both) // 2 :]
    lags = range(1, len(tail) // 2 + 1)
    return next((lag for lag in lags if np.abs(tail[lag:] - tail[:-lag]).max() <= tolerance), None)


def _play(
    game: Game, rounds: int, first: First, *, detector: _Player, adversary: _Player, d: Vector, q: Vector | None = None
) -> Plays:
    _check(rounds, first)
    q = game.outside @ _softmax(game, np.zeros(game.reach.shape)) if q is None else q
    detectors, adversaries = [d], [q]
    for _ in range(rounds):
        if first == "both":
            d, q = detector(q), adversary(d)
        elif first == "detector":
            d = detector(q)
            q = adversary(d)
        else:
            q = adversary(d)
            d = detector(q)
        detectors.append(d)
        adversaries.append(q)
    return Plays(np.array(detectors), np.array(adversaries))


def _exact_detector(game: Game, d: Vector) -> _Player:
    def answer(q: Vector) -> Vector:
        nonlocal d
        best = detector_replies(game, q)
        d = d.clip(best.lower, best.upper)
        return d

    return answer


def _exact_adversary(game: Game) -> _Player:
    return Adversaries.of(game).extreme  # log(1 - d) is least where d is highest


def _to_the_mean(player: _Player) -> _Player:
    total, seen = np.zeros(1), 0

    def answer(other: Vector) -> Vector:
        nonlocal total, seen
        total, seen = total + other, seen + 1
        return player(total / seen)

    return answer


def _ascending_detector(game: Game, f: Vector, rate: float) -> _Player:
    def step(q: Vector) -> Vector:
        nonlocal f
        f = f + rate * (game.target - (game.target + q) * _sigmoid(f))
        return _sigmoid(f)

    return step


def _descending_adversary(game: Game, a: Vector, rate: float) -> _Player:
    def step(d: Vector) -> Vector:
        nonlocal a
        transport = _softmax(game, a)
        loss = np.log1p(-np.minimum(d, _BELOW_ONE))
        slope = transport * (loss - (transport * loss).sum(axis=1, keepdims=True))
        a = a - rate * game.outside[:, None] * slope
        return np.asarray(game.outside @ _softmax(game, a))

    return step


_BELOW_ONE = 1 - 2.0**-53  # the largest float64 below 1: a certain detector is attacked, not divided by


def _sigmoid(f: Vector) -> Vector:
    return np.asarray(1 / (1 + np.exp(-f.clip(-700, 700))))


def _softmax(game: Game, a: Vector) -> Vector:
    logits = np.where(game.reach, a, -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _start(game: Game, start: ArrayLike | None) -> Vector:
    return np.full(len(game.target), 0.5) if start is None else as_detector(game, start)


def _logits(game: Game, start: tuple[ArrayLike, ArrayLike]) -> tuple[Vector, Vector]:
    f, a = (np.asarray(logits, dtype=np.float64) for logits in start)
    if f.shape != game.target.shape or a.shape != game.reach.shape:
        shapes = f"{game.target.shape} and {game.reach.shape}, got {f.shape} and {a.shape}"
        raise ValueError(f"expected logits of shape {shapes}")
    if not (np.isfinite(f).all() and np.isfinite(a).all()):
        raise ValueError("expected finite logits, got some that are not")
    return f, a


def _check(rounds: int, first: str) -> None:
    if rounds < 0:
        raise ValueError(f"expected rounds to be at least 0, got {rounds}")
    if first not in ("detector", "adversary", "both"):
        raise ValueError(f"expected first to be 'detector', 'adversary' or 'both', got {first!r}")
