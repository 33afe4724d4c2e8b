"""Images that are given, changed: all of them, some of their pixels, or no farther than their noise."""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from genat.ascent import Climb, Detector, spread
from genat.balls import Ball, L2Ball
from genat.generation.chunks import Climbing, climb_in_chunks
from genat.generation.sampling import Samples, draw_starts, samples_of
from genat.sources import Source


def transform(detector: Detector, images: Tensor, *, ball: Ball = L2Ball(), **climbing: Unpack[Climbing]) -> Climb:
    """Turn any images into the target distribution by climbing from them.

    There is no generator that was fixed in training: whatever is put in is changed as little as the steps allow. The
    climb runs in padded chunks of one size, so that an image's result does not depend on its company.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`, N >= 1, inside the box.
        ball: where each may go; with a radius the result stays near the input.
        climbing: see `Climbing`; `steps` and `step_size` are needed.

    Returns:
        The record of the climb, `(N, *)` at `points`.

    Raises:
        ValueError: where there are no images, or as `climb_in_chunks`.

    Example:
        >>> made = transform(lambda x: x.sum(1), torch.zeros(1, 2), steps=1, step_size=0.5)
        >>> made.points, made.passes
        (tensor([[0.3536, 0.3536]]), tensor([1]))
    """
    return climb_in_chunks(detector, images, ball=ball, **climbing)


def edit(
    detector: Detector, images: Tensor, *, mask: Tensor, ball: Ball = L2Ball(), **climbing: Unpack[Climbing]
) -> Climb:
    """Climb with the pixels under a mask alone; the others keep their values to the bit.

    The detector sees the whole image, so that what changes fits what does not. A step has its full length among the
    pixels that may move: a small mask changes much in few pixels.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`, N >= 1, inside the box.
        mask: bool, of the images' shape or broadcast to it, as `(H, W)` and `(N, 1, H, W)` are: which may move.
        ball: where each may go; mask and ball both hold.
        climbing: see `Climbing`; `steps` and `step_size` are needed.

    Returns:
        The record of the climb, `(N, *)` at `points`.

    Raises:
        ValueError: where there are no images, the mask does not fit, or as `climb_in_chunks`.

    Example:
        >>> second = torch.tensor([False, True])
        >>> edit(lambda x: x.sum(1), torch.zeros(1, 2), mask=second, steps=1, step_size=0.5).points
        tensor([[0.0000, 0.5000]])
    """
    return climb_in_chunks(detector, images, ball=ball, mask=mask, **climbing)


def inpaint(
    detector: Detector,
    images: Tensor,
    outside: Source,
    *,
    mask: Tensor,
    seeds: Sequence[int],
    ball: Ball = L2Ball(),
    **climbing: Unpack[Climbing],
) -> Samples:
    """Complete what a mask hides: put a start of its own there for each seed and climb with those pixels alone.

    The pixels under the mask are replaced before anything looks at them: no result depends on what they were, and they
    may even be NaN. What is not under the mask keeps its values to the bit. Several seeds complete one hole in several
    ways.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(1, *)` one for all seeds, or `(N, *)` one a seed; inside the box where the mask does not hide them.
        outside: where the starts come from that fill the hole.
        mask: bool, of the images' shape or broadcast to it, as `(H, W)` and `(N, 1, H, W)` are: what is hidden.
        seeds: one a completion.
        ball: where each may go, centred on the filled image; mask and ball both hold.
        climbing: see `Climbing`; `steps` and `step_size` are needed.

    Returns:
        The filled images as starts and the completions as images, in the order of the seeds.

    Raises:
        ValueError: where images and seeds differ in number, images and outside data in shape, the mask does not fit, or
            as `genat.sample`.

    Example:
        >>> from genat.sources import Box
        >>> hidden = torch.tensor([False, True])
        >>> image = torch.tensor([[0.25, float("nan")]])
        >>> to_one = lambda x: -(x - 1.0).square().sum(1)
        >>> inpaint(to_one, image, Box(2), mask=hidden, seeds=[0, 1], steps=20, step_size=0.05).images.round(decimals=1)
        tensor([[0.2000, 1.0000], [0.2000, 1.0000]])
    """
    if len(images) not in (1, len(seeds)):
        raise ValueError(f"expected one image, or one for each of {len(seeds)} seeds, got {len(images)}")
    if outside.shape != tuple(images.shape[1:]):
        raise ValueError(f"expected images of the outside data's shape {outside.shape}, got {tuple(images.shape[1:])}")
    drawn = draw_starts(outside, seeds=seeds, device=images.device).to(images.dtype)
    hidden = spread(mask, drawn)
    starts = torch.where(hidden, drawn, images)
    return samples_of(starts, climb_in_chunks(detector, starts, ball=ball, mask=hidden, **climbing))


def denoise(
    detector: Detector,
    images: Tensor,
    *,
    sigma: float | None = None,
    radius: float | None = None,
    **climbing: Unpack[Climbing],
) -> Climb:
    r"""Climb inside the L2 ball around each noisy image that its noise fills.

    Noise of standard deviation :math:`\sigma` in each of d pixels has a length near :math:`\sigma\sqrt{d}`, the more
    surely so the larger d: the clean image lies near the sphere of that radius, and a result farther away would undo
    more than the noise.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`, N >= 1, inside the box.
        sigma: the noise's standard deviation, in the input's units; the radius is :math:`\sigma\sqrt{d}`.
        radius: the ball's radius itself, L2 over the whole image; one of the two is needed.
        climbing: see `Climbing`; `steps` and `step_size` are needed. `stop_at`, say a run's threshold, keeps the climb
            from going on to the ball's edge where less is enough.

    Returns:
        The record of the climb, `(N, *)` at `points`.

    Raises:
        ValueError: for both or neither of sigma and radius, a negative or infinite one, or as `climb_in_chunks`.

    Example:
        >>> noisy = torch.full((1, 4), 0.5)
        >>> denoise(lambda x: x.sum(1), noisy, sigma=0.1, steps=9, step_size=0.05).points
        tensor([[0.6000, 0.6000, 0.6000, 0.6000]])
    """
    if (sigma is None) == (radius is None):
        raise ValueError(f"expected sigma or radius, got {'neither' if sigma is None else 'both'}")
    if sigma is not None:
        if not (sigma >= 0 and math.isfinite(sigma)):
            raise ValueError(f"expected sigma to be a finite number of at least 0, got {sigma}")
        radius = sigma * math.sqrt(math.prod(images.shape[1:]))
    return climb_in_chunks(detector, images, ball=L2Ball(radius), **climbing)
