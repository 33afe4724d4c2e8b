"""Ascent of a logit: to its end, or with the record of the way."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from genat.arguments import check_ascent
from genat.ascent.loop import UNIT_BOX, Box, Detector, Loop, Moments, Rule, clip, hold, spread
from genat.balls import Ball, L2Ball


@dataclass(frozen=True, slots=True, eq=False)
class Climb:
    """What an ascent leaves behind.

    Attributes:
        points: `(N, *)` where each sample ended.
        passes: `(N,)` int64, forward and backward passes spent on each sample; with keep="best" the last look at the
            logit, a forward pass alone, counts as one.
        path: `(N,)` length of the way walked, in the ball's norm.
        reach: `(N,)` how far its steps could have led in the ball's norm: their sizes summed, in L2 for steps of sign
            and of Adam times the root of the number of entries that may move. The path over it is at most 1 (with Adam
            nearly), and near 0 where an ascent is stuck.
        logits: `(N,)` at `points` with keep="best", else None: the last step is taken and not looked at again.
        trajectory: `(T, N, *)` the starts and the points after every step, where asked for, else None.
        moments: Adam's in the end, where the climb went on from some, else None.
    """

    points: Tensor
    passes: Tensor
    path: Tensor
    reach: Tensor
    logits: Tensor | None
    trajectory: Tensor | None
    moments: Moments | None = None


def ascend(
    detector: Detector,
    starts: Tensor,
    *,
    steps: int,
    step_size: float | Tensor,
    shrink: float | Tensor = 1.0,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    mask: Tensor | None = None,
    rule: Rule = "steepest",
    descend: bool = False,
    random_start: bool = False,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    keep: Literal["last", "best"] = "last",
    stop_at: float | None = None,
) -> Tensor:
    r"""Climb the detector's logit from the starts and return where that leads.

    .. math:: x_{k+1} = \Pi_{box}\,\Pi_{ball}\,\bigl(x_k + s\,u(\nabla_x f(x_k))\bigr), \qquad k = 0, \dots, K-1

    with :math:`u` the rule's direction. The ball is centred on the starts. Projecting onto the ball and then onto the
    box lands in both, because the centre lies in the box and clipping only brings a point nearer to it.

    Guaranteed on return: the points are in ball and box (to rounding), detached, on the starts' device and of their
    dtype; the detector's gradients, flags and buffers and the starts are untouched; the last step counts. During
    the climb a module is in eval mode and its parameters are frozen.

    Args:
        detector: `(N, *) -> (N,)`; sample i's logit must not depend on sample j.
        starts: `(N, *)` floating point, inside the box.
        steps: :math:`K \ge 0`; 0 returns the starts (or random starts).
        step_size: :math:`s > 0` in the input's units, for all samples or `(N,)` one for each. For the ball's own
            norm it is the distance walked a step; for "adam" it is the learning rate.
        shrink: the last step's size over the first's, in (0, 1], for all samples or `(N,)`; the sizes fall
            geometrically, :math:`s_k = s\, shrink^{k / (K - 1)}`, so that a climb travels first and settles then.
        ball: where ascent may go; `L2Ball()` without a radius is unconstrained.
        box: lowest and highest value of every entry; (0, 1) for pixels, None for points without bounds.
        mask: bool, of the starts' shape or broadcast to it as `(N, 1, H, W)` is: which entries may move. The others
            keep the start's value to the bit, and the direction is the steepest among those that leave them; None lets
            all move.
        rule: "steepest" is the ball's own direction (normalised for L2, sign for Linf); "normalized" and "sign" name
            one of the two; "adam" is an Adam step on the points, its moments new at every call.
        descend: go down instead, as in-distribution descent does.
        random_start: begin at points drawn uniformly from the ball instead of its centre, where the mask allows.
        generator: a CPU generator for the random start; several share the samples among them, block by block; None
            is for ascents without a random start.
        keep: "last" iterate, or the "best" seen, which costs one more forward pass.
        stop_at: a sample whose logit has reached this level moves no further and costs no more; None climbs on. Not for
            networks together: the samples left would fall to other members.

    Returns:
        `(N, *)`.

    Raises:
        ValueError: for arguments out of range, starts outside the box, or a detector whose output is not `(N,)`.
        NonFiniteError: a FloatingPointError, where the climb reached points that are not finite; says which.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri,
        Rohde, 2020) https://arxiv.org/abs/1905.11475
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568

    Example:
        On a linear logit the optimum over a ball is known: radius times the dual norm of the weights.

        >>> from genat.balls import LinfBall
        >>> weights = torch.tensor([3.0, 4.0])
        >>> linear = lambda x: x @ weights
        >>> ascend(linear, torch.zeros(1, 2), ball=L2Ball(2.0), steps=5, step_size=1.0, box=None)
        tensor([[1.2000, 1.6000]])
        >>> ascend(linear, torch.zeros(1, 2), ball=LinfBall(2.0), steps=5, step_size=1.0, box=None)
        tensor([[2., 2.]])
    """
    return climb(
        detector,
        starts,
        steps=steps,
        step_size=step_size,
        shrink=shrink,
        ball=ball,
        box=box,
        mask=mask,
        rule=rule,
        descend=descend,
        random_start=random_start,
        generator=generator,
        keep=keep,
        stop_at=stop_at,
    ).points


def climb(
    detector: Detector,
    starts: Tensor,
    *,
    steps: int,
    step_size: float | Tensor,
    shrink: float | Tensor = 1.0,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    mask: Tensor | None = None,
    rule: Rule = "steepest",
    descend: bool = False,
    random_start: bool = False,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    keep: Literal["last", "best"] = "last",
    stop_at: float | None = None,
    begins: Tensor | None = None,
    moments: Moments | None = None,
    compact: bool = True,
    trajectory: bool = False,
) -> Climb:
    """Do as `ascend` does and return the record of the climb beside its end.

    The arguments are those of `ascend` and four more. `begins`, of the starts' shape and in the ball around them, is
    where the samples set out from in the place of random starts. `moments` are Adam's of a climb that this one goes on
    with; without `stop_at`. `trajectory` keeps every iterate, so that memory grows with the steps. `compact=False` goes
    on evaluating samples that have stopped, for as long as one moves, though they are moved and counted no more: every
    batch has one shape, so that no rounding depends on who else has stopped, and networks together may stop at a level.

    Raises:
        ValueError, NonFiniteError: as `ascend`.

    Example:
        >>> linear = lambda x: x.sum(1)
        >>> end = climb(linear, torch.zeros(2, 1), steps=4, step_size=torch.tensor([0.1, 0.5]), stop_at=0.9, box=None)
        >>> end.points.flatten(), end.passes
        (tensor([0.4000, 1.0000]), tensor([4, 3]))
    """
    sizes = check_ascent(
        starts=starts,
        steps=steps,
        step_size=step_size,
        shrink=shrink,
        box=box,
        rule=rule,
        keep=keep,
        stop_at=stop_at,
        random_start=random_start,
        generator=generator,
    )
    _check_way(detector, rule=rule, stop_at=stop_at, compact=compact, moments=moments)
    held = None if mask is None else ~spread(mask, starts)
    with frozen(detector), torch.inference_mode(False), torch.enable_grad():
        centers = points = starts.detach().clone()
        if random_start and generator is not None:
            generators = [generator] if isinstance(generator, torch.Generator) else generator
            blocks = centers.tensor_split(len(generators))
            scattered = [ball.random_start(block, generator=g) for block, g in zip(blocks, generators, strict=True)]
            begins = torch.cat(scattered)
        if begins is not None:
            points = hold(clip(begins.to(centers), box), centers, held)
        sign = -1.0 if descend else 1.0
        state = Loop(detector, centers, points, ball, box, held, rule, steps, *sizes, sign, compact, moments)
        kept = [points.clone()] if trajectory else None
        for _ in range(steps):
            if not state.step(track_best=keep == "best", stop_at=stop_at):
                break
            if kept is not None:
                kept.append(state.points.clone())
        finite = torch.isfinite(state.points)
        if not finite.all():
            raise NonFiniteError(~finite.flatten(1).all(dim=1))
        logits = state.look_back() if keep == "best" else None
    way = None if kept is None else torch.stack(kept)
    return Climb(state.points, state.passes, state.path, state.reach, logits, way, state.under_way)


def _check_way(
    detector: Detector, *, rule: Rule, stop_at: float | None, compact: bool, moments: Moments | None
) -> None:
    if moments is not None and (rule != "adam" or stop_at is not None):
        raise ValueError(f"expected moments with rule 'adam' and without stop_at, got {rule!r} and stop_at={stop_at}")
    if stop_at is not None and compact and getattr(detector, "members", 1) > 1:
        raise ValueError("expected one detector with stop_at, got several together: climb with each member")


class NonFiniteError(FloatingPointError):
    """A climb reached points that are not finite.

    Attributes:
        samples: `(N,)` bool, which.
    """

    def __init__(self, samples: Tensor) -> None:
        super().__init__("expected finite points, got some that are not: the detector's gradient is not")
        self.samples = samples


@contextmanager
def frozen(detector: Detector) -> Iterator[None]:
    """Put a module into eval mode with frozen parameters, and put every flag back on the way out.

    A function that is no module passes through untouched.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 1), nn.Dropout())
        >>> with frozen(net):
        ...     print(net.training, net[0].weight.requires_grad)
        False False
        >>> net.training, net[0].weight.requires_grad
        (True, True)
    """
    if not isinstance(detector, nn.Module):
        yield
        return
    training = [module for module in detector.modules() if module.training]
    thawed = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    try:
        if training:
            detector.eval()
        for parameter in thawed:
            parameter.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in thawed:
            parameter.requires_grad_(True)
