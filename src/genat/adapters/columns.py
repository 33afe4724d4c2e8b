"""Columns of a table on one scale, as the first layer of a detector."""

import numpy as np
import torch
from torch import Tensor, nn

_LINEAR = 3.0  # robust deviations up to which the scale is linear
_ROUNDING = 1e-13  # a spread below this share of the median is rounding


class Columns(nn.Module):
    r"""Put each column on a scale that neither units nor a few extreme values decide, and hold it in a box.

    .. math:: y_j = \mathrm{clip}\bigl(g\bigl((x_j - m_j) / s_j\bigr), -b, b\bigr), \qquad
        g(z) = \mathrm{sign}(z)\,\bigl(\min(|z|, 3) + \log(1 + \max(|z| - 3, 0))\bigr)

    with the median :math:`m_j` and the interquartile range over 1.349, which is the standard deviation of a Gaussian
    column. Where the quartiles are one value, :math:`s_j` is the median of the deviations that are not zero, and of a
    constant column 1. b is the largest :math:`|g|` of the rows and a margin, so that
    whatever lies far outside arrives at the box's edge, where a detector has seen outside data.

    The statistics are float64 buffers: they are saved and moved with the detector.

    Args:
        rows: `(N, D)` floating point and finite, on the CPU, in the units of the columns.
        margin: of the box, in robust deviations.

    Raises:
        ValueError: where the rows are not `(N, D)` with N and D at least 1, or the margin is not positive.

    Example:
        >>> rows = torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
        >>> columns = Columns(rows)
        >>> columns(torch.tensor([[2.0, 7.0], [1e30, 8.0]])), columns.bound
        (tensor([[0.0000, 0.0000], [1.8490, 1.0000]], dtype=torch.float64), 1.849)
    """

    median: Tensor
    spread: Tensor
    edge: Tensor

    def __init__(self, rows: Tensor, *, margin: float = 0.5) -> None:
        super().__init__()
        if rows.ndim != 2 or rows.numel() == 0:
            raise ValueError(f"expected rows (N, D) with N, D >= 1, got {tuple(rows.shape)}")
        if not margin > 0:
            raise ValueError(f"expected margin to be positive, got {margin}")
        values = rows.double()
        # NumPy's, for PyTorch's refuses more than 16 million values
        low, median, high = torch.from_numpy(np.quantile(values.numpy(), [0.25, 0.5, 0.75], axis=0))
        sizes = (values - median).abs()
        noticed = torch.where(sizes > _ROUNDING * median.abs(), sizes, torch.nan).nanmedian(dim=0).values
        quartiles = (high - low) / 1.349
        spread = torch.where(quartiles > _ROUNDING * median.abs(), quartiles, noticed)
        self.register_buffer("median", median)
        self.register_buffer("spread", torch.where(spread.isnan(), 1.0, spread))
        self.register_buffer("edge", self._scaled(values).abs().max() + margin)

    @property
    def bound(self) -> float:
        """b: no scaled value lies outside [-b, b]."""
        return float(self.edge)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled columns `(N, D)`, float64.

        Raises:
            ValueError: where there are other columns than at the beginning.
        """
        if x.ndim != 2 or x.shape[1] != len(self.median):
            raise ValueError(f"expected rows (N, {len(self.median)}), got {tuple(x.shape)}")
        return self._scaled(x.double()).clamp(-self.edge, self.edge)

    def _scaled(self, x: Tensor) -> Tensor:
        z = (x - self.median) / self.spread
        size = z.abs()
        return z.sign() * (size.clamp(max=_LINEAR) + torch.log1p((size - _LINEAR).clamp(min=0)))

    def extra_repr(self) -> str:
        """Show the number of columns and the box."""
        return f"{len(self.median)}, bound={self.bound:.4g}"
