"""How close generated points come to a known distribution, and how well a logit shows its support: metrics for toys.

Everything is computed in float64 from points in float32 or float64, on their device, and returned as Python numbers.
"""

import math

import torch
from torch import Tensor


def mode_report(samples: Tensor, centers: Tensor, radius: float) -> tuple[int, float]:
    """Return how many modes the samples find, and the share of samples of high quality.

    A sample is of high quality where it lies within three standard deviations of its nearest mode; a mode is found
    where it is the nearest to at least one such sample. This is the definition of VEEGAN, which PacGAN follows. The
    number of modes found grows with the number of samples: both papers draw 2500, and so should a table of ours.

    Args:
        samples: `(N, d)`, N >= 1.
        centers: `(M, d)`, the modes.
        radius: three standard deviations of a mode, above 0.

    Returns:
        The modes found, in 0 .. M, and the share, in [0, 1].

    Raises:
        TypeError: where points are not floating point.
        ValueError: where points are not of these shapes or not finite, or the radius is not positive.

    References:
        VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning (Srivastava et al., 2017)
        https://arxiv.org/abs/1705.07761
        PacGAN: The power of two samples in generative adversarial networks (Lin et al., 2018)
        https://arxiv.org/abs/1712.04086

    Example:
        >>> centers = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> samples = torch.tensor([[0.01, 0.0], [0.0, 0.02], [0.0, -0.01], [0.9, 0.0]])
        >>> mode_report(samples, centers, 0.03)
        (1, 0.75)
    """
    _check("samples", samples)
    _check("centers", centers, dimension=samples.shape[1])
    if not radius > 0:
        raise ValueError(f"expected radius to be above 0, got {radius}")
    gap, mode = _distances(samples.double(), centers.double()).min(dim=1)
    good = gap <= radius
    found: Tensor = torch.unique(mode[good])
    return len(found), good.double().mean().item()


def cell_share(samples: Tensor, support: Tensor) -> float:
    """Return the share of a support's cells that hold at least one sample: what modes found are to a law with modes.

    The cells are those of `lattice` whose centers lie in the support. Cells as wide as the support's narrowest part
    are best: 64 a side for the toys, where each of a few hundred cells expects about ten of 2500 samples.

    Args:
        samples: `(N, d)`, N >= 1; those outside the unit box hit nothing.
        support: `(R ** d,)` bool, a cell each in the order of `lattice(R, d)`, at least one of them true.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: where the samples are not floating point or the support is not bool.
        ValueError: where the samples are not of this shape or not finite, or the support is empty or no lattice.

    Example:
        >>> support = torch.tensor([True, True, False, True])  # lower left and right, upper right
        >>> cell_share(torch.tensor([[0.1, 0.2], [0.7, 0.9], [0.1, 0.9]]), support)
        0.6666666666666666
    """
    _check("samples", samples)
    _check_support(support, cells=len(support))
    dimension = samples.shape[1]
    resolution = round(len(support) ** (1 / dimension))
    if resolution**dimension != len(support):
        raise ValueError(f"expected a support of R ** {dimension} cells, got {len(support)}")
    column = (samples.double() * resolution).floor()
    column = column[((column >= 0) & (column < resolution)).all(dim=1)].long()
    strides = resolution ** torch.arange(dimension, device=column.device)
    hit = torch.zeros_like(support)
    hit[(column * strides).sum(dim=1)] = True
    return ((hit & support).sum() / support.sum().double()).item()


def energy_distance(a: Tensor, b: Tensor) -> float:
    r"""Return the energy distance of two samples, :math:`2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|`.

    The means run over all pairs, a point with itself too: the V-statistic. It is 0 for equal samples and never
    negative; for two samples of one law it is about :math:`(1/n + 1/m)\, E\|X - X'\|`. On the line it is the square of
    `scipy.stats.energy_distance`.

    Args:
        a: `(n, d)`.
        b: `(m, d)`.

    Returns:
        A number of 0 or more, in the unit of the points.

    Raises:
        TypeError: where points are not floating point.
        ValueError: where points are not of these shapes or not finite.

    References:
        Energy statistics: A class of statistics based on distances (Székely and Rizzo, 2013)
        https://doi.org/10.1016/j.jspi.2013.03.018

    Example:
        >>> energy_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        10.0
    """
    _check("a", a)
    _check("b", b, dimension=a.shape[1])
    a, b = a.double(), b.double().to(a.device)
    return max(0.0, (2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)).item())


def sliced_wasserstein(a: Tensor, b: Tensor, *, generator: torch.Generator, projections: int = 256) -> float:
    r"""Return the sliced Wasserstein-1 distance of two samples, the mean of :math:`W_1` over random directions.

    .. math::
        \frac1P \sum_{p=1}^P \int_0^1 |F_{a \cdot \theta_p}^{-1}(t) - F_{b \cdot \theta_p}^{-1}(t)| \, dt

    with :math:`\theta_p` uniform on the sphere. The integral is exact, for samples of different sizes too.

    Args:
        a: `(n, d)`.
        b: `(m, d)`.
        generator: a CPU generator; the directions are a function of it alone.
        projections: P, at least 1. On the line one is enough.

    Returns:
        A number of 0 or more, in the unit of the points.

    Raises:
        TypeError: where points are not floating point.
        ValueError: where points are not of these shapes or not finite, or projections is below 1.

    References:
        Sliced and Radon Wasserstein Barycenters of Measures (Bonneel, Rabin, Peyré and Pfister, 2015)
        https://doi.org/10.1007/s10851-014-0506-3

    Example:
        >>> a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [5.0]])
        >>> sliced_wasserstein(a, b, generator=torch.Generator().manual_seed(0), projections=1)
        1.5
    """
    _check("a", a)
    _check("b", b, dimension=a.shape[1])
    if projections < 1:
        raise ValueError(f"expected projections to be at least 1, got {projections}")
    directions = torch.randn(a.shape[1], projections, generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(a.device)
    ordered_a = (a.double() @ directions).sort(dim=0).values
    ordered_b = (b.double().to(a.device) @ directions).sort(dim=0).values
    n, m = len(a), len(b)
    # Both quantile functions are constant between multiples of 1 / n and 1 / m: counted in units of 1 / (n m).
    ends: Tensor = torch.unique(torch.cat((m * torch.arange(1, n + 1), n * torch.arange(1, m + 1)))).to(a.device)
    weights = ends.diff(prepend=ends.new_zeros(1)).double() / (n * m)
    gaps = (ordered_a[(ends - 1) // m] - ordered_b[(ends - 1) // n]).abs()
    return float((weights @ gaps).mean())


def lattice(resolution: int, dim: int = 2) -> Tensor:
    """Return the centers of the unit box's cells, the first coordinate running fastest.

    On the square, `values.view(resolution, resolution)` is a picture with the rows upwards: for
    `imshow(..., origin="lower")`.

    Args:
        resolution: R, cells a side, at least 1.
        dim: d, at least 1.

    Returns:
        `(R ** d, d)` float32.

    Raises:
        ValueError: where resolution or dim is below 1.

    Example:
        >>> lattice(2)
        tensor([[0.2500, 0.2500],
                [0.7500, 0.2500],
                [0.2500, 0.7500],
                [0.7500, 0.7500]])
    """
    if resolution < 1 or dim < 1:
        raise ValueError(f"expected resolution and dim to be at least 1, got {resolution} and {dim}")
    line = (torch.arange(resolution, dtype=torch.float64) + 0.5) / resolution
    axes = torch.meshgrid(*[line] * dim, indexing="ij")
    return torch.stack(axes[::-1], dim=-1).reshape(-1, dim).float()


def window(positives: Tensor, points: Tensor, *, margin: float = 0.05) -> Tensor:
    """Return whether points lie in the positives' bounding box, enlarged on every side: where an IoU is measured.

    Args:
        positives: `(n, d)`.
        points: `(N, d)`, such as a lattice.
        margin: how far the box is enlarged, 0 or more.

    Returns:
        `(N,)` bool, on the points' device.

    Raises:
        TypeError: where points are not floating point.
        ValueError: where points are not of these shapes or not finite, or the margin is negative.

    Example:
        >>> window(torch.tensor([[0.3], [0.5]]), torch.tensor([[0.2], [0.26], [0.4], [0.56]]))
        tensor([False,  True,  True, False])
    """
    _check("positives", positives)
    _check("points", points, dimension=positives.shape[1])
    if not 0 <= margin < math.inf:
        raise ValueError(f"expected margin to be a number of 0 or more, got {margin}")
    positives = positives.double().to(points.device)
    low, high = positives.amin(dim=0) - margin, positives.amax(dim=0) + margin
    return ((points >= low) & (points <= high)).all(dim=1)


def iou(mask: Tensor, support: Tensor) -> float:
    r"""Return the intersection over the union of two sets of cells, :math:`|A \cap B| / |A \cup B|`.

    Args:
        mask: `(N,)` bool.
        support: `(N,)` bool, at least one cell true.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: where either is not bool.
        ValueError: where the shapes are others or the support is empty.

    Example:
        >>> iou(torch.tensor([True, True, False]), torch.tensor([False, True, True]))
        0.3333333333333333
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"expected mask to be bool, got {mask.dtype}")
    if mask.ndim != 1:
        raise ValueError(f"expected mask of shape (N,), got {tuple(mask.shape)}")
    _check_support(support, cells=len(mask))
    return ((mask & support).sum().double() / (mask | support).sum()).item()


def box_iou(positives: Tensor, points: Tensor, support: Tensor) -> float:
    """Return the IoU of the positives' solid bounding box: what a detector has to beat.

    Args:
        positives: `(n, d)`.
        points: `(N, d)`, such as a lattice or the part of one in a window.
        support: `(N,)` bool, whether each of the points lies in the support.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: where points are not floating point or the support is not bool.
        ValueError: where shapes do not fit, points are not finite or the support is empty.

    Example:
        >>> points = lattice(4, 1)
        >>> box_iou(torch.tensor([[0.0], [1.0]]), points, points[:, 0] < 0.5)
        0.5
    """
    return iou(window(positives, points, margin=0), support)


def best_iou(logits: Tensor, support: Tensor) -> tuple[float, float]:
    r"""Return the largest IoU of :math:`\{f \ge t\}` and the support over all thresholds t, and that threshold.

    Every set that a threshold can cut out is tried, by one sort; equal logits go in or out together.

    Args:
        logits: `(N,)`, finite.
        support: `(N,)` bool, at least one cell true.

    Returns:
        The IoU, in (0, 1], and the highest logit t that attains it.

    Raises:
        TypeError: where the logits are not floating point or the support is not bool.
        ValueError: where shapes are others, logits are not finite or the support is empty.

    Example:
        >>> best_iou(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([True, True, False, False]))
        (0.6666666666666666, 2.0)
    """
    if not logits.is_floating_point():
        raise TypeError(f"expected floating-point logits, got {logits.dtype}")
    if logits.ndim != 1:
        raise ValueError(f"expected logits of shape (N,), got {tuple(logits.shape)}")
    if not torch.isfinite(logits).all():
        raise ValueError("expected logits to be finite, got values that are not")
    _check_support(support, cells=len(logits))
    ordered, index = logits.detach().sort(descending=True)
    last = torch.ones_like(support)  # of each run of equal logits
    last[:-1] = ordered[1:] != ordered[:-1]
    chosen = last.nonzero().flatten()
    both = support[index].cumsum(dim=0)[chosen]
    ratio = both.double() / (support.sum() + chosen + 1 - both)
    best = int(ratio.argmax())
    return ratio[best].item(), ordered[chosen[best]].item()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances `(n, m)`; by differences, since a matrix product loses the small ones."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean distance over all pairs, by parts of bounded memory."""
    parts = torch.split(a, max(1, 2**22 // len(b)))
    return torch.stack([_distances(part, b).sum() for part in parts]).sum() / (len(a) * len(b))


def _check(name: str, points: Tensor, *, dimension: int | None = None) -> None:
    if not points.is_floating_point():
        raise TypeError(f"expected {name} to be floating point, got {points.dtype}")
    if points.ndim != 2 or points.numel() == 0 or dimension not in (None, points.shape[1]):
        wanted = "d" if dimension is None else dimension
        raise ValueError(f"expected {name} of shape (N, {wanted}) with N >= 1, got {tuple(points.shape)}")
    if not torch.isfinite(points).all():
        raise ValueError(f"expected {name} to be finite, got values that are not")


def _check_support(support: Tensor, *, cells: int) -> None:
    if support.dtype != torch.bool:
        raise TypeError(f"expected support to be bool, got {support.dtype}")
    if tuple(support.shape) != (cells,):
        raise ValueError(f"expected support of shape ({cells},), got {tuple(support.shape)}")
    if not support.any():
        raise ValueError("expected a support of at least one cell, got none")
