"""How every verb of generation climbs: in padded chunks of one size, so that no result depends on its company."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Required, TypedDict

import torch
from torch import Tensor

from genat.arguments import check_ascent
from genat.ascent import UNIT_BOX, Box, Climb, Detector, Rule, climb, frozen, spread
from genat.balls import Ball, L2Ball, LinfBall

CHUNK = 16
"""How many samples climb at once where nothing else is said."""


class Climbing(TypedDict, total=False):
    r"""The keywords that every verb of generation takes; `steps` and `step_size` are needed.

    Attributes:
        steps: how many, at least 0; 0 leaves what the climb begins from.
        step_size: length of a step, in the input's units and the ball's norm.
        shrink: the last step's size over the first's, in (0, 1]; 1, the default, keeps the size.
        stop_at: a sample whose logit has reached this level moves no further; None, the default, takes every step.
        strength: :math:`\sigma` in (0, 1], by default 1, which is all of the recipe: every length, the steps' and the
            ball's radius, is :math:`\sigma` times as long. So no result is farther from where it began than
            :math:`\sigma` times what the recipe allows, towards 0 it is what the climb began from, and on a linear
            logit without a box it is exactly the share :math:`\sigma` of the way to the full result.
        box: lowest and highest value of every entry, by default (0, 1); None for points without bounds.
        rule: of the direction, as in `genat.ascend`; by default "steepest".
        trajectory: keep every iterate: `(steps + 1, N, *)`, where one that has stopped repeats its last.
        chunk: how many climb at once, at least 1, by default 16; the larger, the faster for many; for one image, 1 is
            the fastest. Results are equal to the bit for one size, and differ by rounding between sizes.
        callback: called with (results made, results asked for) after each chunk.
    """

    steps: Required[int]
    step_size: Required[float]
    shrink: float
    stop_at: float | None
    strength: float
    box: Box | None
    rule: Rule
    trajectory: bool
    chunk: int
    callback: Callable[[int, int], None] | None


def climb_in_chunks(
    detector: Detector,
    starts: Tensor,
    *,
    steps: int,
    step_size: float,
    shrink: float = 1.0,
    stop_at: float | None = None,
    strength: float = 1.0,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    mask: Tensor | None = None,
    rule: Rule = "steepest",
    trajectory: bool = False,
    chunk: int = CHUNK,
    callback: Callable[[int, int], None] | None = None,
) -> Climb:
    """Climb from the starts, so that each result is a function of its own start and mask, whatever its company.

    The last chunk is filled up with its last sample, and samples that have stopped are evaluated on with the others, so
    that no kernel sees another shape when more or fewer are asked for.

    Args:
        detector: `(N, *) -> (N,)`.
        starts: `(N, *)`, N >= 1, inside the box.
        ball: where the climb may go, centred on the starts.
        mask: which entries may move, as in `genat.ascend`; None lets all.
        steps, step_size, shrink, stop_at, strength, box, rule, trajectory, chunk, callback: as in `Climbing`.

    Returns:
        The record of the climb, `(N, *)` at `points`.

    Raises:
        ValueError: for no starts, several networks together, or an argument out of range.
        NonFiniteError: as `genat.ascend`.

    Example:
        >>> half = climb_in_chunks(lambda x: x.sum(1), torch.zeros(1, 2), steps=2, step_size=0.5, strength=0.5)
        >>> half.points, half.passes
        (tensor([[0.3536, 0.3536]]), tensor([2]))
    """
    if len(starts) == 0:
        raise ValueError("expected at least one image, got none")
    if chunk < 1:
        raise ValueError(f"expected chunk to be at least 1, got {chunk}")
    if not 0 < strength <= 1:
        raise ValueError(f"expected strength to be in (0, 1], got {strength}")
    if getattr(detector, "members", 1) > 1:
        raise ValueError("expected one detector, got several together: climb with one_of(detector, index)")
    check_ascent(
        starts=starts,
        steps=steps,
        step_size=step_size,
        shrink=shrink,
        box=box,
        rule=rule,
        keep="last",
        stop_at=stop_at,
        random_start=False,
        generator=None,
    )
    free = None if mask is None else spread(mask, starts)
    parts: list[Climb] = []
    for first in range(0, len(starts), chunk):
        n = min(chunk, len(starts) - first)
        part = climb(
            detector,
            _filled(starts[first : first + n], chunk),
            steps=steps,
            step_size=step_size * strength,
            shrink=shrink,
            ball=_scaled(ball, strength),
            box=box,
            mask=None if free is None else _filled(free[first : first + n], chunk),
            rule=rule,
            stop_at=stop_at,
            compact=False,
            trajectory=trajectory,
        )
        parts.append(_first(part, n, moments=steps + 1))
        if callback is not None:
            callback(first + n, len(starts))
    return _joined(parts)


@torch.no_grad()
def logits_in_chunks(detector: Detector, points: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """Return the logits of points `(N, *)`, N >= 1, so that each is a function of its own point, whatever its company.

    Example:
        >>> logits_in_chunks(lambda x: x.sum(1), torch.eye(3), chunk=2)
        tensor([1., 1., 1.])
    """
    with frozen(detector):
        parts = [detector(_filled(part, chunk))[: len(part)] for part in torch.split(points, chunk)]
    return torch.cat(parts)


def _scaled(ball: Ball, strength: float) -> Ball:
    if ball.radius is None or strength == 1:
        return ball
    if not isinstance(ball, L2Ball | LinfBall):
        raise TypeError(f"expected ball to be an L2Ball or a LinfBall to scale, got {type(ball).__name__}")
    return replace(ball, radius=ball.radius * strength)


def _filled(batch: Tensor, chunk: int) -> Tensor:
    return torch.cat([batch, batch[-1:].expand(chunk - len(batch), *batch.shape[1:])])


def _first(part: Climb, n: int, *, moments: int) -> Climb:
    """Return the first n of a chunk; a way that ended early, since all had stopped, is drawn out to its full length."""
    way = part.trajectory
    if way is not None:
        way = torch.cat([way[:, :n], way[-1:, :n].expand(moments - len(way), -1, *way.shape[2:])])
    return Climb(part.points[:n], part.passes[:n], part.path[:n], part.reach[:n], None, way)


def _joined(parts: Sequence[Climb]) -> Climb:
    ways = [part.trajectory for part in parts if part.trajectory is not None]
    return Climb(
        torch.cat([part.points for part in parts]),
        torch.cat([part.passes for part in parts]),
        torch.cat([part.path for part in parts]),
        torch.cat([part.reach for part in parts]),
        None,
        torch.cat(ways, dim=1) if ways else None,
    )
