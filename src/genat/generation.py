"""Climbing the logit to make images: from seeds, or from any image at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genat.ascent import UNIT_BOX, Box, Climb, Detector, Rule, climb
from genat.balls import Ball, L2Ball
from genat.sources import Source


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What `sample` made.

    Attributes:
        starts: `(N, *)` outside data the ascents began from.
        images: `(N, *)` where they ended.
        trajectory: `(T, N, *)` the way, where asked for, else None.
        passes: forward and backward passes spent on each sample.
    """

    starts: Tensor
    images: Tensor
    trajectory: Tensor | None
    passes: int


def sample(
    detector: Detector,
    outside: Source,
    *,
    seeds: Sequence[int],
    steps: int,
    step_size: float,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    rule: Rule = "steepest",
    trajectory: bool = False,
    chunk: int = 16,
    device: torch.device | str = "cpu",
    callback: Callable[[int, int], None] | None = None,
) -> Samples:
    """Generate one sample a seed: draw its start from the outside data and climb.

    Sample i depends on `seeds[i]` alone, to the last bit on one machine: each seed has a generator of its own, and the
    climb runs in chunks of one size, the last one filled up, so that no kernel sees another shape when more or fewer
    are asked for.

    Args:
        detector: `(N, *) -> (N,)`.
        outside: where the starts come from.
        seeds: one a sample; equal seeds give equal samples.
        steps, step_size, ball, box, rule: of the ascent, as in `genat.ascend`.
        trajectory: keep every iterate.
        chunk: how many climb at once, at least 1; the larger, the faster. Results are equal to the bit for one size,
            and differ by rounding between sizes.
        device: where the detector is.
        callback: called with (samples made, samples asked for) after each chunk.

    Returns:
        Starts and images in the order of the seeds.

    Raises:
        ValueError: where seeds are empty or negative, or as `genat.ascend`.

    Example:
        >>> from genat.sources import Box
        >>> toward_one = lambda x: -(x - 1.0).square().sum(1)
        >>> made = sample(toward_one, Box(2), seeds=range(3), steps=20, step_size=0.1)
        >>> made.images.round(decimals=1)
        tensor([[1., 1.], [1., 1.], [1., 1.]])
        >>> alone = sample(toward_one, Box(2), seeds=[2], steps=20, step_size=0.1)
        >>> bool((alone.images == made.images[2]).all())
        True
    """
    if len(seeds) == 0:
        raise ValueError("expected at least one seed, got none")
    if min(seeds) < 0:
        raise ValueError(f"expected seeds of at least 0, got {min(seeds)}")
    starts = torch.cat([outside.draw(1, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(device)
    made = transform(
        detector,
        starts,
        steps=steps,
        step_size=step_size,
        ball=ball,
        box=box,
        rule=rule,
        trajectory=trajectory,
        chunk=chunk,
        callback=callback,
    )
    return Samples(starts, made.points, made.trajectory, int(made.passes[0]))


def transform(
    detector: Detector,
    images: Tensor,
    *,
    steps: int,
    step_size: float,
    ball: Ball = L2Ball(),
    box: Box | None = UNIT_BOX,
    rule: Rule = "steepest",
    trajectory: bool = False,
    chunk: int = 16,
    callback: Callable[[int, int], None] | None = None,
) -> Climb:
    """Turn any images into the target distribution by climbing from them.

    There is no generator that was fixed in training: whatever is put in is changed as little as the steps allow. The
    climb runs in padded chunks of one size, so that an image's result does not depend on its company.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`, N >= 1, inside the box.
        steps, step_size, ball, box, rule: of the ascent, as in `genat.ascend`; a ball with a radius keeps the result
            near the input.
        trajectory: keep every iterate.
        chunk: how many climb at once, at least 1; the larger, the faster. Results are equal to the bit for one size,
            and differ by rounding between sizes.
        callback: called with (images done, images in all) after each chunk.

    Returns:
        The record of the climb, `(N, *)` at `points`.

    Raises:
        ValueError: where there are no images, or as `genat.ascend`.

    Example:
        >>> made = transform(lambda x: x.sum(1), torch.zeros(1, 2), steps=1, step_size=0.5)
        >>> made.points, made.passes
        (tensor([[0.3536, 0.3536]]), tensor([1]))
    """
    if len(images) == 0:
        raise ValueError("expected at least one image, got none")
    if chunk < 1:
        raise ValueError(f"expected chunk to be at least 1, got {chunk}")
    parts: list[Climb] = []
    for first in range(0, len(images), chunk):
        batch = images[first : first + chunk]
        filled = torch.cat([batch, batch[-1:].expand(chunk - len(batch), *batch.shape[1:])])
        part = climb(
            detector,
            filled,
            steps=steps,
            step_size=step_size,
            ball=ball,
            box=box,
            rule=rule,
            trajectory=trajectory,
        )
        parts.append(_first(part, len(batch)))
        if callback is not None:
            callback(first + len(batch), len(images))
    return _joined(parts)


def _first(part: Climb, n: int) -> Climb:
    trajectory = None if part.trajectory is None else part.trajectory[:, :n]
    return Climb(part.points[:n], part.passes[:n], part.path[:n], part.reach[:n], None, trajectory)


def _joined(parts: Sequence[Climb]) -> Climb:
    trajectories = [part.trajectory for part in parts if part.trajectory is not None]
    return Climb(
        torch.cat([part.points for part in parts]),
        torch.cat([part.passes for part in parts]),
        torch.cat([part.path for part in parts]),
        torch.cat([part.reach for part in parts]),
        None,
        torch.cat(trajectories, dim=1) if trajectories else None,
    )
