"""Outside data made from the target's own rows, for points of many dimensions, where a box is nearly empty."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genat.sources.source import Samples, check_draw


@dataclass(frozen=True, eq=False)
class Near:
    r"""Rows and noise: target points moved by Gaussian noise whose size differs from draw to draw.

    .. math:: x = x_i + s\,z, \qquad z \sim N(0, I), \quad \log s \sim U(\log low, \log high)

    Small noise shows where the target ends, large noise reaches the whole box. In D dimensions a draw lies
    about :math:`s\sqrt D` from its row.

    Args:
        values: `(N, D)` target points, floating point and finite.
        low, high: smallest and largest s > 0, in the points' units.
        bound: every coordinate is clipped to [-bound, bound]; None leaves it.
        name: what reports call it.

    Raises:
        TypeError: where the values are not floating point.
        ValueError: where the values are not `(N, D)`, low and high not in order, or the bound not positive.

    References:
        A Connection Between Score Matching and Denoising Autoencoders (Vincent, 2011)
        https://doi.org/10.1162/NECO_a_00142
        Generative Modeling by Estimating Gradients of the Data Distribution (Song and Ermon, 2019)
        https://arxiv.org/abs/1907.05600

    Example:
        >>> Near(torch.zeros(1, 2), low=0.1, high=1.0).draw(2, generator=torch.Generator().manual_seed(0))
        tensor([[-0.2671,  0.0697],
                [-0.1470, -0.1895]])
    """

    values: Tensor = field(repr=False)
    low: float = 0.1
    high: float = 3.0
    bound: float | None = None
    name: str = "near the target"

    def __post_init__(self) -> None:
        _check_points(self.values)
        if not 0 < self.low <= self.high < math.inf:
            raise ValueError(f"expected 0 < low <= high, got {self.low} and {self.high}")
        if self.bound is not None and not 0 < self.bound < math.inf:
            raise ValueError(f"expected bound to be None or positive, got {self.bound}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one point, `(D,)`."""
        return tuple(self.values.shape[1:])

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n points, `(n, D)`."""
        check_draw(n, generator)
        rows = self.values[torch.randint(len(self.values), (n,), generator=generator)].float()
        size = self.low * (self.high / self.low) ** torch.rand(n, 1, generator=generator)
        points = rows + size * torch.randn(rows.shape, generator=generator)
        return points if self.bound is None else points.clamp(-self.bound, self.bound)


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Each coordinate from a row of its own: the product of the target's marginals, which knows no dependence.

    Args:
        values: `(N, D)` target points, floating point and finite.
        name: what reports call it.

    Raises:
        TypeError: where the values are not floating point.
        ValueError: where the values are not `(N, D)`.

    Example:
        >>> diagonal = torch.arange(3.0).repeat(2, 1).T
        >>> Shuffled(diagonal).draw(2, generator=torch.Generator().manual_seed(0))
        tensor([[2., 0.],
                [2., 0.]])
    """

    values: Tensor = field(repr=False)
    name: str = "shuffled columns"

    def __post_init__(self) -> None:
        _check_points(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one point, `(D,)`."""
        return tuple(self.values.shape[1:])

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n points, `(n, D)`."""
        check_draw(n, generator)
        rows = torch.randint(len(self.values), (n, *self.shape), generator=generator)
        return self.values.gather(0, rows).float()


def _check_points(values: Tensor) -> None:
    if values.ndim != 2:
        raise ValueError(f"expected points (N, D), got {tuple(values.shape)}")
    Samples(values)
