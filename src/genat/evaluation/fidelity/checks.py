"""What every measure asks of its input before it computes, and what it returns."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number and how far it would move.

    Attributes:
        value: what was measured.
        error: its standard error over new draws of the images; what it leaves out is said by what returns it.
    """

    value: float
    error: float


def check_features(*, least: int = 2, **features: Tensor) -> None:
    """Refuse features that are not `(n, d)` with n >= `least`, finite and of one width.

    Args:
        least: rows wanted.
        features: by the name that the message shall have.

    Raises:
        ValueError: as above.

    Example:
        >>> check_features(a=torch.zeros(2, 3), b=torch.zeros(1, 3))
        Traceback (most recent call last):
        ValueError: expected b of shape (n, d) with n >= 2, got (1, 3)
    """
    for name, value in features.items():
        if value.ndim != 2 or len(value) < least or value.numel() == 0:
            raise ValueError(f"expected {name} of shape (n, d) with n >= {least}, got {tuple(value.shape)}")
        if not torch.isfinite(value).all():
            raise ValueError(f"expected {name} to be finite, got values that are not")
    widths = [value.shape[1] for value in features.values()]
    if len(set(widths)) > 1:
        raise ValueError(f"expected features of one width, got {' and '.join(map(str, widths))}")


def check_images(**images: Tensor) -> None:
    """Refuse images that are not `(N, C, H, W)` floating point in [0, 1] and of one shape.

    Args:
        images: by the name that the message shall have.

    Raises:
        ValueError: as above.

    Example:
        >>> check_images(samples=torch.full((1, 1, 2, 2), 255.0))
        Traceback (most recent call last):
        ValueError: expected samples in [0, 1], got values from 255 to 255
    """
    first: tuple[str, Tensor] | None = None
    for name, value in images.items():
        if value.ndim != 4 or value.numel() == 0 or not value.is_floating_point():
            got = f"{tuple(value.shape)} {value.dtype}"
            raise ValueError(f"expected {name} of shape (N, C, H, W), N >= 1, floating point, got {got}")
        low, high = torch.stack(value.aminmax()).tolist()
        if not (low >= 0 and high <= 1):  # false of nan, too
            raise ValueError(f"expected {name} in [0, 1], got values from {low:.6g} to {high:.6g}")
        first = first or (name, value)
        if value.shape[1:] != first[1].shape[1:]:
            wanted = f"{first[0]}, {tuple(first[1].shape[1:])}"
            raise ValueError(f"expected {name} of the shape of {wanted}, got {tuple(value.shape[1:])}")
