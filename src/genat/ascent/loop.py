"""The loop itself: one step after another, for all samples at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from genat.balls import Ball, L2Ball, LinfBall, distance, per_sample

Detector: TypeAlias = Callable[[Tensor], Tensor]
"""Any module or function `(N, *) -> (N,)`: a logit, high in distribution."""

Rule: TypeAlias = Literal["steepest", "normalized", "sign", "adam"]
Box: TypeAlias = tuple[float, float]

UNIT_BOX: Box = (0.0, 1.0)
_ADAM_BETAS, _ADAM_EPSILON = (0.9, 0.999), 1e-8  # the defaults of Kingma and Ba (2015), which the GAT papers kept


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Adam's moments of climbs under way: all zero where none has begun.

    Attributes:
        first: `(N, *)` running mean of the gradients.
        second: `(N, *)` of their squares.
        steps: `(N,)` int64, that each climb has gone.
    """

    first: Tensor
    second: Tensor
    steps: Tensor


@dataclass
class Loop:
    """The state of a climb; `step` is its only loop body.

    It goes on from Adam's moments that it `began` with, None for a climb that is new.
    The samples that still move, None for all: `active` has their rows where the others are left out, else `moving`.
    `count`, the steps taken, may be a tensor, and the number of samples symbolic: so one step can be traced as a graph.
    """

    detector: Detector
    centers: Tensor
    points: Tensor
    ball: Ball
    box: Box | None
    held: Tensor | None
    rule: Rule
    steps: int
    sizes: float | Tensor
    shrink: float | Tensor
    sign: float
    compact: bool
    began: Moments | None = None
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]] = field(init=False)
    unit: float | Tensor = field(init=False)
    path: Tensor = field(init=False)
    spent: int | Tensor = 0  # a number for as long as all samples have spent the same
    free: float | Tensor = 0.0  # likewise
    active: Tensor | None = None
    moving: Tensor | None = None
    count: int | Tensor = 0
    best: tuple[Tensor, Tensor] | None = None
    moments: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        self.evaluate = _passes_of(self.detector, self.points.device)
        self.path = self.points.new_zeros(self.points.shape[:1])
        self.unit = self._longest()
        if self.began is not None:
            self.moments = self.began.first, self.began.second

    @property
    def passes(self) -> Tensor:
        """Passes spent on each sample, `(N,)` int64."""
        return self.points.new_zeros(self.points.shape[:1], dtype=torch.int64) + self.spent

    @property
    def reach(self) -> Tensor:
        """How far the steps that were taken could have led, `(N,)`."""
        return torch.zeros_like(self.path) + self.free

    @property
    def under_way(self) -> Moments | None:
        """Adam's moments as they are now, of a climb that went on from some."""
        if self.began is None or self.moments is None:
            return None
        return Moments(*self.moments, self.began.steps + self.count)

    def step(self, *, track_best: bool, stop_at: float | None) -> bool:
        """Take one step; return False where no sample moves any more."""
        here = _rows(self.points, self.active)
        logits, gradient = self.evaluate(here)
        self._count_passes()
        if track_best:
            self._remember(here, logits)
        if stop_at is not None:
            below = ~(self.sign * logits >= self.sign * stop_at)  # a NaN moves on, to be found at the end
            if self.compact:
                self.active = below.nonzero()[:, 0] if self.active is None else self.active[below]
                here, gradient = here[below], gradient[below]
            else:
                below = self.moving = below if self.moving is None else self.moving & below
            if not below.any():
                return False
        self._move(here, self.sign * gradient)
        return True

    def look_back(self) -> Tensor:
        """Evaluate the last iterate too, settle on the best and return its logits."""
        with torch.no_grad():
            logits = _checked(self.detector(self.points), self.points)
        self.active = self.moving = None
        self._count_passes()
        self._remember(self.points, logits)
        assert self.best is not None
        self.points, logits = self.best
        return logits

    def _move(self, here: Tensor, uphill: Tensor) -> None:
        rows, size = self.active, self._size()
        self.count += 1
        centers, held = _rows(self.centers, rows), None if self.held is None else _rows(self.held, rows)
        direction = self._direction(uphill if held is None else uphill.masked_fill(held, 0))
        moved = self.ball.project(here + size * direction, centers)
        moved = hold(clip(moved, self.box), centers, held)
        free = size.flatten() if isinstance(size, Tensor) else size
        free = free * (self.unit if isinstance(self.unit, float) else _rows(self.unit, rows))
        if self.moving is not None:
            moved, free = torch.where(per_sample(self.moving, here), moved, here), free * self.moving
        self.points = _put(self.points, rows, moved)
        self.path = _put(self.path, rows, _rows(self.path, rows) + distance(moved, here, self.ball))
        self.free = self.free + free if rows is None else _put(self.reach, rows, self.reach[rows] + free)

    def _longest(self) -> float | Tensor:
        """Return how long a step of size 1 may be in the ball's norm: of sign or of Adam it moves every entry by 1."""
        if self.rule not in ("sign", "adam") or not isinstance(self.ball, L2Ball):
            return 1.0
        if self.held is None:
            return math.sqrt(math.prod(self.points.shape[1:]))
        free: Tensor = (~self.held).flatten(1).sum(dim=1).to(self.points.dtype)
        return free.sqrt()

    def _size(self) -> float | Tensor:
        """Return the size of the step that comes, for the samples that take it."""
        size = self.sizes
        if isinstance(self.shrink, Tensor) or self.shrink != 1:
            size = self.sizes * self.shrink ** (self.count / max(self.steps - 1, 1))
        return size if isinstance(size, float) else _rows(size, self.active)

    def _direction(self, uphill: Tensor) -> Tensor:
        if self.rule == "adam":
            return self._adam(uphill)
        balls = {"steepest": self.ball, "normalized": L2Ball(), "sign": LinfBall()}
        return balls[self.rule].direction(uphill)

    def _adam(self, uphill: Tensor) -> Tensor:
        if self.moments is None:
            self.moments = torch.zeros_like(self.points), torch.zeros_like(self.points)
        moments = self.moments
        first, second = (_rows(moment, self.active) for moment in moments)
        first = _ADAM_BETAS[0] * first + (1 - _ADAM_BETAS[0]) * uphill
        second = _ADAM_BETAS[1] * second + (1 - _ADAM_BETAS[1]) * uphill.square()
        self.moments = _put(moments[0], self.active, first), _put(moments[1], self.active, second)
        kept = [1 - beta**self.count for beta in _ADAM_BETAS]  # of the moments' weight
        if self.began is not None:
            age = self.began.steps.double() + self.count
            kept = [per_sample((1 - beta**age).to(uphill), uphill) for beta in _ADAM_BETAS]
        return first / kept[0] / ((second / kept[1]).sqrt() + _ADAM_EPSILON)

    def _count_passes(self) -> None:
        if self.active is not None:
            self.spent = _put(self.passes, self.active, self.passes[self.active] + 1)
        else:
            self.spent = self.spent + (1 if self.moving is None else self.moving.long())

    def _remember(self, here: Tensor, logits: Tensor) -> None:
        if self.best is None:
            self.best = here.clone(), logits.clone()
            return
        points, record = (_rows(whole, self.active) for whole in self.best)
        better = self.sign * logits > self.sign * record
        points, record = torch.where(per_sample(better, here), here, points), torch.where(better, logits, record)
        self.best = _put(self.best[0], self.active, points), _put(self.best[1], self.active, record)


def _by_autograd(detector: Detector, here: Tensor) -> tuple[Tensor, Tensor]:
    points = here.detach().requires_grad_()
    logits = _checked(detector(points), points)
    (gradient,) = torch.autograd.grad(logits.sum(), points)
    return logits.detach(), gradient


def _passes_of(detector: Detector, device: torch.device) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a function from points to logits and gradients: what the network has written out, else autograd's."""
    written_out = getattr(detector, "written_out", None)
    found: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    if written_out is not None and not torch.is_autocast_enabled(device.type):
        found = written_out()
    return found or partial(_by_autograd, detector)


def _checked(logits: Tensor, points: Tensor) -> Tensor:
    if logits.shape != points.shape[:1]:
        raise ValueError(f"expected the detector to return shape {(len(points),)}, got {tuple(logits.shape)}")
    return logits


def spread(mask: Tensor, starts: Tensor) -> Tensor:
    """Return a mask in the starts' shape and on their device, `(N, *)` bool.

    Raises:
        ValueError: where it is not bool, or does not broadcast to that shape.

    Example:
        >>> spread(torch.tensor([True, False]), torch.zeros(2, 2))
        tensor([[ True, False],
                [ True, False]])
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"expected mask to be bool, got {mask.dtype}")
    try:
        return mask.to(starts.device).expand(starts.shape)
    except RuntimeError:
        raise ValueError(f"expected mask to broadcast to {tuple(starts.shape)}, got {tuple(mask.shape)}") from None


def hold(points: Tensor, centers: Tensor, held: Tensor | None) -> Tensor:
    """Return the points with the centres' own values where they are held.

    Example:
        >>> hold(torch.ones(2), torch.zeros(2), torch.tensor([True, False]))
        tensor([0., 1.])
    """
    return points if held is None else torch.where(held, centers, points)


def _rows(whole: Tensor, rows: Tensor | None) -> Tensor:
    return whole if rows is None else whole[rows]


def _put(whole: Tensor, rows: Tensor | None, part: Tensor) -> Tensor:
    return part if rows is None else whole.index_copy(0, rows, part)


def clip(points: Tensor, box: Box | None) -> Tensor:
    """Return the points brought into the box, if there is one.

    Example:
        >>> clip(torch.tensor([2.0]), (0.0, 1.0))
        tensor([1.])
    """
    return points if box is None else points.clamp(*box)
