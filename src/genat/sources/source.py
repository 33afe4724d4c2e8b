"""What a source is, and the checks that every source makes."""

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Source(Protocol):
    """Anything that draws samples: target data, or the outside data that ascent starts from.

    Draws are independent of one another and a function of the generator alone, so that
    `source.draw(1, generator=torch.Generator().manual_seed(i))` is sample number i, whatever else is drawn.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: `(C, H, W)` for images, `(D,)` for points."""
        ...

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n samples, `(n, *shape)`: a fresh float32 tensor, images in [0, 1].

        Args:
            n: how many, 0 or more.
            generator: a CPU generator.
        """
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """A tensor as a source: rows drawn uniformly with replacement.

    Args:
        values: `(N, D)` points or `(N, C, H, W)` images, floating point; images in [0, 1].
        name: what reports call it.

    Raises:
        TypeError: where the values are not floating point.
        ValueError: where the shape is another, a value is not finite, or an image leaves [0, 1].

    Example:
        >>> source = Samples(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        >>> source.draw(3, generator=torch.Generator().manual_seed(1))
        tensor([[2., 3.],
                [2., 3.],
                [0., 1.]])
    """

    values: Tensor = field(repr=False)
    name: str = "samples"

    def __post_init__(self) -> None:
        if not self.values.is_floating_point():
            raise TypeError(f"expected floating-point samples, got {self.values.dtype}")
        if self.values.ndim not in (2, 4) or self.values.numel() == 0:
            raise ValueError(f"expected samples (N, D) or (N, C, H, W) with N >= 1, got {tuple(self.values.shape)}")
        if self.values.ndim == 4:
            check_unit_range(self.values)
        elif not torch.isfinite(self.values).all():
            raise ValueError("expected finite samples, got some that are not")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.values.shape[1:])

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n rows, `(n, *shape)`, on the values' device."""
        check_draw(n, generator)
        rows = torch.randint(len(self.values), (n,), generator=generator)
        return self.values[rows.to(self.values.device)].float()


def as_source(data: Source | Tensor) -> Source:
    """Return the data as a source: a tensor becomes `Samples`, a source stays itself.

    Args:
        data: a source; or `(N, D)` points or `(N, C, H, W)` images in [0, 1], floating point.

    Raises:
        TypeError: where the data is neither, or a tensor of integers.
        ValueError: where `Samples` refuses the tensor.

    Example:
        >>> as_source(torch.rand(10, 2)).shape
        (2,)
    """
    if isinstance(data, Tensor):
        return Samples(data)
    if isinstance(data, Source):
        return data
    raise TypeError(f"expected a tensor or a source with shape and draw(), got {type(data).__name__}")


def describe(source: Source) -> str:
    """Return what reports call a source: its `name` where it has one, else its class.

    Example:
        >>> describe(Samples(torch.rand(10, 2), name="moons"))
        'moons'
    """
    return str(getattr(source, "name", type(source).__name__))


def check_draw(n: int, generator: torch.Generator) -> None:
    """Refuse a negative count, and a generator that is not the CPU's.

    Example:
        >>> check_draw(-1, torch.Generator())
        Traceback (most recent call last):
        ValueError: expected n to be at least 0, got -1
    """
    if n < 0:
        raise ValueError(f"expected n to be at least 0, got {n}")
    if generator.device.type != "cpu":
        raise ValueError(f"expected a CPU generator, got one on {generator.device}")


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is not `(C, H, W)` with 1 or 3 channels.

    Example:
        >>> check_image_shape((28, 28))
        Traceback (most recent call last):
        ValueError: expected shape (C, H, W) with C = 1 or 3, got (28, 28)
    """
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise ValueError(f"expected shape (C, H, W) with C = 1 or 3, got {tuple(shape)}")


def check_unit_range(images: Tensor) -> None:
    """Refuse images with a value outside [0, 1], which includes NaN.

    Example:
        >>> check_unit_range(torch.tensor([0.0, 255.0]))
        Traceback (most recent call last):
        ValueError: expected images in [0, 1], got values from 0 to 255
    """
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        range_ = "NaN" if math.isnan(low) else f"values from {low:.6g} to {high:.6g}"
        raise ValueError(f"expected images in [0, 1], got {range_}")
