"""Euclidean distances between many points: by blocks, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

_ELEMENTS = 2**23  # of a block: 64 MiB


def squared_blocks(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the squared distances of points to others, a block of points at a time.

    They come from a matrix product, so that two points nearer than about 1e-8 of their norms cannot be told apart.

    Args:
        points: `(n, d)` float64.
        others: `(m, d)` float64, on the same device.

    Yields:
        Which points, and their squared distances `(block, m)`, none below 0.
    """
    norms = others.square().sum(dim=1)
    step = max(1, _ELEMENTS // len(others))
    for start in range(0, len(points), step):
        block = points[start : start + step]
        squares = torch.addmm(norms, block, others.T, alpha=-2).add_(block.square().sum(dim=1, keepdim=True))
        yield slice(start, start + len(block)), squares.clamp_min_(0)


def own_blocks(points: Tensor, *, to_self: float) -> Iterator[tuple[slice, Tensor]]:
    """Yield as `squared_blocks` of points to themselves, each point's distance to itself replaced by `to_self`."""
    for rows, squares in squared_blocks(points, points):
        squares.diagonal(offset=rows.start).fill_(to_self)
        yield rows, squares


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the nearest of some others is from each point, and which that is.

    The search is blockwise and brute force, n m d multiplications; the distance to what it finds is computed anew from
    the difference, so that it is 0 exactly for a copy.

    Args:
        points: `(n, *)`.
        others: `(m, *)` of the points' shape, on any device.

    Returns:
        Distances `(n,)` in float64 and indices into the others `(n,)` int64, on the points' device.

    Raises:
        ValueError: where there are none, or shapes differ.

    Example:
        >>> distances, indices = nearest(torch.tensor([[0.0], [5.0]]), torch.tensor([[4.0], [0.0], [-1.0]]))
        >>> distances, indices
        (tensor([0., 1.], dtype=torch.float64), tensor([1, 0]))
    """
    if points.shape[1:] != others.shape[1:] or points.numel() == 0 or others.numel() == 0:
        raise ValueError(
            f"expected points and others of one shape, got {tuple(points.shape)} and {tuple(others.shape)}"
        )
    a, b = _rows(points), _rows(others).to(points.device)
    indices = torch.cat([squares.argmin(dim=1) for _, squares in squared_blocks(a, b)])
    chosen = zip(torch.split(a, _chunk(a)), torch.split(indices, _chunk(a)), strict=True)
    return torch.cat([(part - b[index]).norm(dim=1) for part, index in chosen]), indices


def mean_distance(points: Tensor) -> float:
    """Return the mean distance over all pairs of two different points, `(n, *)`, n >= 2.

    Example:
        >>> mean_distance(torch.tensor([[0.0], [1.0], [3.0]]))
        2.0
    """
    rows = _rows(points)
    total = torch.stack([squares.sqrt_().sum() for _, squares in own_blocks(rows, to_self=0.0)]).sum()
    return total.item() / (len(rows) * (len(rows) - 1))


def diversity(samples: Tensor, real: Tensor) -> float:
    """Return how far apart samples lie, their mean pairwise distance over that of real ones.

    1 is as diverse as the real ones, 0 a single image; above 1 they are further apart than real ones are, which noise
    is too. It says nothing about where they lie.

    Args:
        samples: `(n, *)` images or features, n >= 2.
        real: `(m, *)`, m >= 2, not all the same.

    Raises:
        ValueError: where there are too few, shapes differ, or all the real ones are the same.

    Example:
        >>> diversity(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [3.0]]))
        0.5
    """
    if samples.shape[1:] != real.shape[1:] or min(len(samples), len(real)) < 2:
        got = f"{tuple(samples.shape)} and {tuple(real.shape)}"
        raise ValueError(f"expected at least 2 samples and real images of one shape, got {got}")
    if (real == real[0]).all():
        raise ValueError("expected real images that differ, got one alone repeated")
    return mean_distance(samples) / mean_distance(real)


def _rows(points: Tensor) -> Tensor:
    return points.detach().flatten(1).double()


def _chunk(rows: Tensor) -> int:
    return max(1, _ELEMENTS // rows.shape[1])
