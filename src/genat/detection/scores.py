"""A detector's logits, batch by batch."""

import torch
from torch import Tensor

from genat.ascent import Detector, frozen
from genat.detection.calibration import Calibration


def logits(detector: Detector, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Return the detector's logits, batch by batch, in eval mode and without gradients.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`.
        batch_size: how many at a time, at least 1.

    Returns:
        `(N,)` float64, so that what follows ranks and sums without rounding.

    Raises:
        ValueError: where images are not floating point, batch_size is below 1, or the detector's output is not `(N,)`.

    Example:
        >>> logits(lambda x: x.sum(1), torch.eye(3), batch_size=2)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    if not images.is_floating_point() or images.ndim < 2:
        raise ValueError(f"expected images (N, *), floating point, got {tuple(images.shape)} {images.dtype}")
    if batch_size < 1:
        raise ValueError(f"expected batch_size to be at least 1, got {batch_size}")
    with frozen(detector), torch.no_grad():
        values = torch.cat([detector(batch).double() for batch in torch.split(images, batch_size)])
    if values.shape != images.shape[:1]:
        raise ValueError(f"expected the detector to return shape {(len(images),)}, got {tuple(values.shape)}")
    return values


def ood_score(detector: Detector, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Return the out-of-distribution score, the negated logit: high out of distribution.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`.
        batch_size: how many at a time, at least 1.

    Returns:
        `(N,)` float64.

    Raises:
        ValueError: as `logits`.

    Example:
        >>> ood_score(lambda x: x.sum(1), torch.eye(2))
        tensor([-1., -1.], dtype=torch.float64)
    """
    return -logits(detector, images, batch_size=batch_size)


def calibrate(detector: Detector, held_out: Tensor, *, tpr: float = 0.95, batch_size: int = 256) -> Calibration:
    """Return the calibration of a detector on target data that training never saw.

    Args:
        detector: `(N, *) -> (N,)`.
        held_out: `(n, *)` validation images of the target; never test data.
        tpr: the share of target data to accept.
        batch_size: how many at a time.

    Raises:
        ValueError: as `Calibration` and `logits`.

    Example:
        >>> calibrate(lambda x: x.sum(1), torch.arange(20.0).view(-1, 1)).threshold
        1.0
    """
    return Calibration(logits(detector, held_out, batch_size=batch_size), tpr=tpr)
