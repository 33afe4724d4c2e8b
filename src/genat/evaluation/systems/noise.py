"""What a detector climbs to from noise: a check by eye, and of whether rubbish reaches the logits of data."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from genat.ascent import UNIT_BOX, Detector, ascend
from genat.balls import L2Ball
from genat.detection import logits


@dataclass(frozen=True, slots=True, eq=False)
class FromNoise:
    """Noise on its way up.

    Attributes:
        at: the steps looked at.
        images: `(len(at), n, *)` in the box.
        logits: `(len(at), n)` float64.
    """

    at: tuple[int, ...]
    images: Tensor
    logits: Tensor


def from_noise(
    detector: Detector,
    shape: Sequence[int],
    *,
    n: int = 64,
    at: Sequence[int] = (0, 50, 100, 150, 200),
    step_size: float = 0.5,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> FromNoise:
    r"""Climb from Gaussian noise without a ball, in normalised steps, and look at what is there after so many.

    .. math:: x_0 = \mathrm{clip}(z, 0, 1), \qquad z \sim N(0, 1)

    A detector whose logit rises to that of data while the image stays noise accepts rubbish.

    Args:
        detector: `(N, *) -> (N,)`.
        shape: of an image.
        n: how many, at least 1.
        at: the steps to look at, ascending, 0 for the noise itself; the last is where the climb ends.
        step_size: in L2.
        seed: of the noise, at least 0.
        batch_size: how many images at a time, at least 1.
        device: where the detector is.

    Raises:
        ValueError: for arguments out of range.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri,
        Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> way = from_noise(lambda x: x.sum(1), (4,), n=1, at=[0, 1, 9], step_size=0.5)
        >>> way.logits.round(decimals=3).flatten()
        tensor([1.5680, 2.3180, 4.0000], dtype=torch.float64)
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise ValueError(f"expected {name} to be at least {least}, got {value}")
    if not at or at[0] < 0 or any(later <= earlier for earlier, later in pairwise(at)):
        raise ValueError(f"expected at to be steps from 0 on, ascending, got {list(at)}")
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn((n, *shape), generator=generator).clamp(*UNIT_BOX).to(device)
    images, values, done = [], [], 0
    for step in at:
        # a normalised step remembers nothing, so that legs make one climb
        legs = [
            ascend(detector, part, steps=step - done, step_size=step_size, ball=L2Ball())
            for part in torch.split(points, batch_size)
        ]
        points, done = torch.cat(legs), step
        images.append(points)
        values.append(logits(detector, points, batch_size=batch_size))
    return FromNoise(tuple(at), torch.stack(images), torch.stack(values))
