"""The numbers of a training and the makers of its optimiser."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from genat.ascent import Box, Rule
from genat.balls import Ball, L2Ball

OptimizerFactory: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]

_RATE_FLOOR = 0.01  # share of the learning rate that annealing ends at


def adam(rate: float = 5e-4, *, betas: tuple[float, float] = (0.0, 0.99)) -> OptimizerFactory:
    r"""Return a maker of Adam optimisers with the papers' :math:`\beta = (0, 0.99)`.

    Args:
        rate: learning rate.
        betas: decay of the first and of the second moment.

    Example:
        >>> import torch
        >>> adam(1e-3)([nn.Parameter(torch.zeros(1))]).defaults["betas"]
        (0.0, 0.99)
    """
    return partial(Adam, lr=rate, betas=betas, fused=True)  # one kernel: a fifth of the time on a processor


def sgd(rate: float, *, momentum: float = 0.9, weight_decay: float = 0.0) -> OptimizerFactory:
    """Return a maker of SGD optimisers with Nesterov momentum.

    Args:
        rate: learning rate.
        momentum: of Nesterov's kind where positive.
        weight_decay: L2 penalty on the weights.

    Example:
        >>> import torch
        >>> sgd(0.1)([nn.Parameter(torch.zeros(1))]).defaults["nesterov"]
        True
    """
    return partial(SGD, lr=rate, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay)


@dataclass(frozen=True, slots=True)
class Classification:
    """How a `networks.Joint` learns its classes beside the maximin game: by cross-entropy under attack.

    Target samples of a batch of their own are moved to raise the cross-entropy of their labels, and the network learns
    to classify where they arrive. The defaults are the paper's for CIFAR-10.

    Args:
        ball: where the attack may go; it has a radius.
        steps: of the attack, at least 0; 0 leaves the samples clean.
        step_size: of the attack, in the input's units.
        weight: of the cross-entropy in the loss; 0 leaves it out of the loss, though it is measured.
        toward: what outside data climbs in training: "class", the logit of the label that the target sample in its
            row has, so that every class is approached as often as the target has it; or "any", the detector's logit.

    Raises:
        ValueError: for values out of range.

    References:
        Scalable Energy-Based Models via Adversarial Training: Unifying Discrimination and Generation
        (Yin et al., 2025) https://arxiv.org/abs/2510.13872
        Towards Deep Learning Models Resistant to Adversarial Attacks (Madry et al., 2018)
        https://arxiv.org/abs/1706.06083

    Example:
        >>> from genat.balls import LinfBall
        >>> how = Classification(ball=LinfBall(8 / 255), step_size=2 / 255)
        >>> how.steps, how.weight, how.toward
        (10, 1.0, 'class')
    """

    ball: Ball = L2Ball(0.5)
    steps: int = 10
    step_size: float = 0.1
    weight: float = 1.0
    toward: Literal["class", "any"] = "class"

    def __post_init__(self) -> None:
        if self.ball.radius is None:
            raise ValueError("expected a ball with a radius to attack a classification in, got radius=None")
        for name in ("steps", "weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} to be at least 0 and finite, got {getattr(self, name)}")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"expected step_size to be positive and finite, got {self.step_size}")
        if self.toward not in ("class", "any"):
            raise ValueError(f"expected toward to be 'class' or 'any', got {self.toward!r}")


@dataclass(frozen=True, slots=True)
class Replay:
    """Ascents that go on from one iteration to the next, so that long ones cost an iteration only a few steps.

    A pool holds climbs under way. An iteration takes a batch of them a burst of steps further, learns from where they
    are then and puts them back; one that has gone the curriculum's steps, or more where no burst ends just there, gives
    its place to new outside data. So the detector meets climbs of every length up to the curriculum's, each of which
    began against a detector a few iterations younger. With the rule "adam" its moments are kept with it, so that a
    climb goes on as one of Adam's.

    Args:
        burst: steps an iteration, at least 1; with fewer in the curriculum it is those.
        rows: of the pool, a detector's, at least the batch size: the more, the longer a climb waits for its turn.

    Raises:
        ValueError: where a number is below 1.

    References:
        Implicit Generation and Modeling with Energy-Based Models (Du, Mordatch, 2019), whose Langevin chains persist
        likewise https://arxiv.org/abs/1903.08689

    Example:
        >>> Replay()
        Replay(burst=5, rows=256)
    """

    burst: int = 5
    rows: int = 256

    def __post_init__(self) -> None:
        for name in ("burst", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} to be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a training, checked; `genat.fit` says what each means."""

    iterations: int
    step_size: float | tuple[float, float]
    shrink: float | tuple[float, float]
    ball: Ball
    box: Box | None
    rule: Rule
    random_start: bool
    batch_size: int
    descent_steps: int
    descent_ball: Ball
    r1: float
    ema: float | None
    clip_norm: float | None
    anneal: float
    seed: int | tuple[int, ...]
    checkpoint_every: int
    classify: Classification | None = None
    replay: Replay | None = None
    checkpoint_keep: int | None = 2
    batch_at_once: int | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "checkpoint_every", "checkpoint_keep", "batch_at_once"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"expected {name} to be at least 1, got {getattr(self, name)}")
        for name in ("descent_steps", "r1"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} to be at least 0 and finite, got {getattr(self, name)}")
        self._check_sizes()
        if self.random_start and self.ball.radius is None:
            raise ValueError("expected a ball with a radius for a random start, got radius=None")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"expected ema to be None or in (0, 1), got {self.ema}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"expected clip_norm to be None or positive, got {self.clip_norm}")
        check_anneal(self.anneal)
        if self.replay is not None:
            self._check_replay(self.replay)

    def _check_replay(self, replay: Replay) -> None:
        if self.ball.radius is not None:
            raise ValueError(f"expected replay without a ball, got radius={self.ball.radius:g}")
        if replay.rows < self.batch_size:
            raise ValueError(f"expected replay of at least batch_size={self.batch_size} rows, got {replay.rows}")
        if self.classify is not None and self.classify.toward == "class":
            raise ValueError("expected replay with classify toward 'any', got 'class': a climb's class would change")

    def _check_sizes(self) -> None:
        for name in ("step_size", "shrink"):
            value = getattr(self, name)
            low, high = ends(value)
            wanted = "(low, high) with 0 < low <= high" if isinstance(value, tuple) else "positive"
            if not 0 < low <= high < math.inf:
                raise ValueError(f"expected {name} to be {wanted} and finite, got {value}")
        if ends(self.shrink)[1] > 1:
            raise ValueError(f"expected shrink to be at most 1, got {self.shrink}")


def annealed(iteration: int, *, iterations: int, anneal: float) -> float:
    """Return the factor of a learning rate that falls by half a cosine to a hundredth at the end.

    Args:
        iteration: from 0.
        iterations: in all.
        anneal: share of the iterations over which it falls, in [0, 1].

    Raises:
        ValueError: where anneal is not.

    Example:
        >>> [round(annealed(i, iterations=10, anneal=0.5), 3) for i in (0, 5, 6, 9)]
        [1.0, 1.0, 0.905, 0.105]
    """
    check_anneal(anneal)
    begin = (1 - anneal) * iterations
    if iteration <= begin or anneal == 0:
        return 1.0
    way = (iteration - begin) / (iterations - begin)
    return _RATE_FLOOR + (1 - _RATE_FLOOR) * 0.5 * (1 + math.cos(math.pi * way))


def warmed(ema: float, *, iteration: int) -> float:
    """Return the decay of a running mean after so many iterations, which begins small: min(ema, (1 + i) / (10 + i)).

    Example:
        >>> warmed(0.999, iteration=8), warmed(0.999, iteration=100_000)
        (0.5, 0.999)
    """
    return min(ema, (1 + iteration) / (10 + iteration))


def check_anneal(anneal: float) -> None:
    """Refuse a share of the iterations outside [0, 1]."""
    if not 0 <= anneal <= 1:
        raise ValueError(f"expected anneal in [0, 1], got {anneal}")


def ends(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return the smallest and the largest value that a setting allows.

    Example:
        >>> ends(0.1), ends((0.02, 0.1))
        ((0.1, 0.1), (0.02, 0.1))
    """
    return value if isinstance(value, tuple) else (value, value)
