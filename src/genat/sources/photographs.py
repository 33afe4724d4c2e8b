"""Crops of two photographs at all scales: a small stand-in for a broad set of images."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from genat.sources.decoding import luma
from genat.sources.source import check_draw, check_image_shape

HEIGHT, WIDTH = 427, 640


@dataclass(frozen=True)
class Photographs:
    """Random crops of the two photographs that scikit-learn brings, a temple and a flower, shrunk to shape.

    A crop's scale is log-uniform, from one photograph's pixel a pixel to the largest crop of the shape's aspect; its
    place is uniform; it is mirrored with probability 1/2; a pixel is the exact mean over its area. Two photographs
    are no substitute for a broad set of images: what they lack, the detector never learns to refuse.

    Args:
        shape: `(C, H, W)` with C = 1 (grey, by the luma of ITU-R BT.601) or 3 (RGB), at most 427 x 640.
        stretch: with probability 1/2, whether a crop's values are stretched to span [0, 1].
        invert: with probability 1/2, whether a crop is turned into its negative.

    Raises:
        ValueError: where the shape is another or larger than the photographs.

    Example:
        >>> Photographs((1, 2, 3)).draw(1, generator=torch.Generator().manual_seed(0))
        tensor([[[[0.8013, 0.7994, 0.7987],
                  [0.7993, 0.8000, 0.7982]]]])
    """

    shape: tuple[int, ...]
    stretch: bool = False
    invert: bool = False

    def __post_init__(self) -> None:
        check_image_shape(self.shape)
        if self.shape[1] > HEIGHT or self.shape[2] > WIDTH:
            raise ValueError(f"expected at most {HEIGHT} x {WIDTH} pixels, got shape {self.shape}")

    @property
    def name(self) -> str:
        """What reports call it."""
        return "crops of two photographs"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n crops, `(n, C, H, W)`."""
        check_draw(n, generator)
        channels, height, width = self.shape
        photograph = torch.randint(2, (n,), generator=generator)
        scale, down, right = torch.rand(3, n, generator=generator, dtype=torch.float64)
        mirrored, stretched, inverted = (torch.rand(3, n, generator=generator) < 0.5).view(3, n, 1, 1, 1)
        scale = min(HEIGHT / height, WIDTH / width) ** scale
        top, left = down * (HEIGHT - scale * height), right * (WIDTH - scale * width)
        rows = top[:, None] + scale[:, None] * torch.arange(height + 1)
        columns = left[:, None] + scale[:, None] * torch.arange(width + 1)
        images = area_means(_integrals(grey=channels == 1), photograph, rows, columns).float().clamp(0, 1)
        images = torch.where(mirrored, images.flip(-1), images)
        if self.stretch:
            low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
            images = torch.where(stretched & (high > low), (images - low) / (high - low), images)
        return torch.where(inverted, 1 - images, images) if self.invert else images


def integral(images: Tensor) -> Tensor:
    """Return summed-area tables, `(N, H + 1, W + 1, C)` float64, of `(N, C, H, W)` images.

    References:
        Summed-Area Tables for Texture Mapping (Crow, 1984) https://doi.org/10.1145/964965.808600

    Example:
        >>> integral(torch.ones(1, 1, 2, 2)).squeeze()
        tensor([[0., 0., 0.],
                [0., 1., 2.],
                [0., 2., 4.]], dtype=torch.float64)
    """
    return F.pad(images.double(), (1, 0, 1, 0)).cumsum(2).cumsum(3).permute(0, 2, 3, 1).contiguous()


def area_means(tables: Tensor, index: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the mean of images over every cell of one grid a sample, exact for pixels that are little squares.

    The table of an image of constant pixels is bilinear between its entries, so it can be read between them.

    Args:
        tables: `(M, H + 1, W + 1, C)` from `integral`.
        index: `(N,)` which image each grid lies on.
        rows: `(N, h + 1)` float64 edges of the grid's rows in pixels, rising, from 0 to H.
        columns: `(N, w + 1)` float64 edges of its columns, rising, from 0 to W.

    Returns:
        `(N, C, h, w)` float64.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
        >>> edges = torch.tensor([[0.0, 1.5]], dtype=torch.float64)
        >>> area_means(integral(image), torch.tensor([0]), edges, edges)
        tensor([[[[1.]]]], dtype=torch.float64)
    """
    row, between_rows = _cells(rows, tables.shape[1])
    column, between_columns = _cells(columns, tables.shape[2])
    which, row, column = index[:, None, None], row[:, :, None], column[:, None, :]
    across = between_columns[:, None, :, None]
    upper = tables[which, row, column].lerp(tables[which, row, column + 1], across)
    lower = tables[which, row + 1, column].lerp(tables[which, row + 1, column + 1], across)
    sums = upper.lerp(lower, between_rows[:, :, None, None])
    cells = sums.diff(dim=1).diff(dim=2) / (rows.diff()[:, :, None, None] * columns.diff()[:, None, :, None])
    return cells.permute(0, 3, 1, 2)


def _cells(edges: Tensor, entries: int) -> tuple[Tensor, Tensor]:
    """Return between which entries an edge lies, the lower one's index, and how far between."""
    lower = edges.floor().clamp(0, entries - 2)
    return lower.long(), edges - lower


@cache
def _integrals(*, grey: bool) -> Tensor:
    from sklearn.datasets import load_sample_images

    photographs = np.stack(load_sample_images().images)
    images = torch.from_numpy(photographs).permute(0, 3, 1, 2).double() / 255
    return integral(torch.stack([luma(image) for image in images]) if grey else images)
