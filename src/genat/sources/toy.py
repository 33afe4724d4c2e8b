"""Toy distributions in one and two dimensions: training points, outside points, fresh draws and the exact support.

The first five are those of the GAT experiments, to the bit; the other four are usual in the literature of generative
models and get outside points in the same manner. Every set is a `Source` of fresh draws from its law.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genat.sources import shapes
from genat.sources.source import check_draw

Points = NDArray[np.float64]
Law = Callable[[int, torch.Generator], Tensor]
Support = Callable[[Tensor], Tensor]

_SEED = 123  # the authors': the positives and the outside points are each drawn with it anew
_SPIRAL_MARGIN = 0.003  # widens the spirals' arms, in units of the box


@dataclass(frozen=True, slots=True, eq=False)
class Toy:
    r"""A distribution of points in the unit box whose law is known, with points to train on.

    The law and its support are given in their own coordinates :math:`x`; a point is :math:`offset + scale\, x`.

    Attributes:
        name: what reports call it.
        target: `(n, d)` float32, the training positives.
        outside: `(m, d)` float32, where contrast samples start.
        scale: units of the box in one of the law's.
        offset: where the law's origin lies, in every coordinate.
        law: n float64 samples `(n, d)` from n and a CPU generator, in the law's coordinates.
        support: whether `(N, d)` float64 points in the law's coordinates lie in the support, `(N,)`.
        centers: `(M, d)` float32, the modes; None for a law without.
        deviations: `(M,)` float32, the modes' standard deviations; None for a law without modes.
        radius: a sample within it of its nearest mode is of high quality; None for a law without modes.

    Example:
        >>> toy = ring()
        >>> toy
        Toy(name='ring', radius=0.0112...)
        >>> points = toy.draw(1000, generator=torch.Generator().manual_seed(0))
        >>> toy.inside(points).double().mean()
        tensor(0.9870, dtype=torch.float64)
    """

    name: str
    target: Tensor = field(repr=False)
    outside: Tensor = field(repr=False)
    scale: float = field(repr=False)
    offset: float = field(repr=False)
    law: Law = field(repr=False)
    support: Support = field(repr=False)
    centers: Tensor | None = field(default=None, repr=False)
    deviations: Tensor | None = field(default=None, repr=False)
    radius: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one point, `(d,)`."""
        return tuple(self.target.shape[1:])

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n fresh points of the law, `(n, d)` float32, held out from `target`.

        Args:
            n: how many, 0 or more.
            generator: a CPU generator.

        Raises:
            ValueError: where n is negative or the generator is not the CPU's.
        """
        check_draw(n, generator)
        return (self.offset + self.scale * self.law(n, generator)).float()

    def inside(self, points: Tensor) -> Tensor:
        """Return whether points lie in the support, `(N,)` bool, on the points' device.

        Noise has no end: the support is where it stays within three deviations. See the data sets for their own.

        Args:
            points: `(N, d)` floating point, in the coordinates of `target`.

        Raises:
            TypeError: where the points are not floating point.
            ValueError: where they are not of dimension d.
        """
        self._check(points)
        return self.support((points.double() - self.offset) / self.scale)

    def density(self, points: Tensor) -> Tensor:
        r"""Return the density of a mixture of Gaussians, :math:`\frac1M \sum_k N(x; \mu_k, \sigma_k^2 I)`.

        Args:
            points: `(N, d)` floating point, in the coordinates of `target`.

        Returns:
            `(N,)` float64, on the points' device.

        Raises:
            TypeError: where the points are not floating point.
            ValueError: where they are not of dimension d, or the law is no mixture of Gaussians.

        Example:
            >>> blobs().density(torch.tensor([[0.4], [0.5], [0.6]]))
            tensor([1.9947e+01, 3.8473e-21, 3.9894e+01], dtype=torch.float64)
        """
        self._check(points)
        if self.centers is None or self.deviations is None:
            raise ValueError(f"expected a mixture of Gaussians, got {self.name}")
        total = torch.zeros(len(points), dtype=torch.float64, device=points.device)
        for center, deviation in zip(self.centers, self.deviations.tolist(), strict=True):
            squares = (points.double() - center.to(points.device)).square().sum(1)
            total += (-0.5 * squares / deviation**2).exp() / (2 * math.pi * deviation**2) ** (len(center) / 2)
        return total / len(self.centers)

    def _check(self, points: Tensor) -> None:
        if not points.is_floating_point():
            raise TypeError(f"expected floating-point points, got {points.dtype}")
        if points.ndim != 2 or tuple(points.shape[1:]) != self.shape:
            raise ValueError(f"expected points of shape (N, {self.shape[0]}), got {tuple(points.shape)}")


def blobs() -> Toy:
    r"""Return two blobs on the line, :math:`\tfrac12 N(.4, .01^2) + \tfrac12 N(.6, .005^2)`: 500 points.

    The 500 outside points are the first of 5000 uniform in [0, 1] that are below .3 or above .7. The support is the two
    intervals of three deviations around the modes; `radius` is three deviations of the wider one.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri
        and Rohde, 2020) https://arxiv.org/abs/1905.11475, with https://github.com/xuwangyin/GAT-synthetic

    Example:
        >>> blobs().target.mean(), blobs().outside.shape
        (tensor(0.4998), torch.Size([500, 1]))
    """
    centers, deviations = np.array([[0.4], [0.6]]), np.array([0.01, 0.005])
    line = np.random.RandomState(_SEED).rand(5000)
    outside = line[(line < 0.3) | (line > 0.7)][:500, None]
    law, support = _mixture(centers, deviations)
    return Toy(
        name="blobs",
        target=torch.from_numpy(_blobs(500, centers, deviations)).float(),
        outside=torch.from_numpy(outside).float(),
        scale=1.0,
        offset=0.0,
        law=law,
        support=support,
        centers=torch.from_numpy(centers).float(),
        deviations=torch.from_numpy(deviations).float(),
        radius=shapes.SIGMAS * 0.01,
    )


def ring() -> Toy:
    """Return eight Gaussians of deviation .02 on the unit circle, scaled to .4 of the box: 1000 points.

    The support is the discs of three deviations around the modes, and `radius` is theirs.

    References:
        GAT (Yin, Kolouri and Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> ring().centers[:3]
        tensor([[0.6865, 0.4982],
                [0.3099, 0.4982],
                [0.4982, 0.6865]])
    """
    half = 1 / np.sqrt(2)
    corners = [(half, half), (-half, half), (half, -half), (-half, -half)]
    centers = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), *corners])
    return _squeezed_mixture("ring", centers, 0.02, share=0.4)


def grid() -> Toy:
    """Return 25 Gaussians of deviation .001 on a 5 x 5 grid in the unit square, scaled to .35 of it: 1000 points.

    The support is the discs of three deviations, about .001, around the modes; `radius` is .01, ten times as wide.

    References:
        GAT (Yin, Kolouri and Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> grid().centers[:2]
        tensor([[0.3263, 0.3263],
                [0.4132, 0.3263]])
    """
    return _squeezed_mixture("grid", _square(np.linspace(0, 1, 5)), 0.001, share=0.35, radius=0.01)


def spirals() -> Toy:
    r"""Return two spiral arms, scaled to .4 of the box: 500 points each.

    An arm is :math:`\tfrac13 (-n \cos n + \tfrac12 u, n \sin n + \tfrac12 v)` with :math:`n = 3\pi\sqrt{w}` and u, v, w
    uniform and independent, drawn in the order w, u, v; the other is its mirror image in the origin. The support is
    what a square sweeps along the curve, widened by .003 of the box; it is exact to 1e-5.

    References:
        GAT (Yin, Kolouri and Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> spirals().inside(torch.tensor([[0.5, 0.5], [0.5, 0.56]]))
        tensor([ True, False])
    """
    state = np.random.RandomState(_SEED)
    n = np.sqrt(state.rand(500)) * 540 * (2 * np.pi) / 360
    right = -np.cos(n) * n + state.rand(500) * 0.5
    up = np.sin(n) * n + state.rand(500) * 0.5
    arm = np.stack([right, up], axis=1)
    points = np.concatenate([arm, -arm]) / 3
    _, scale, _ = _squeeze(points, 0.4)
    support = partial(shapes.in_spirals, margin=_SPIRAL_MARGIN / scale)
    return _squeezed("spirals", points, shapes.draw_spirals, support, share=0.4)


def checkerboard() -> Toy:
    r"""Return the eight dark squares of a 4 x 4 board, scaled to .3 of the box: 10000 points.

    :math:`x_1 = 4u - 2` and :math:`x_2 = v - 2b + (\lfloor x_1 \rfloor \bmod 2)` with u, v uniform and b a coin, drawn
    in the order u, v, b; both are doubled. The support is the squares.

    References:
        GAT (Yin, Kolouri and Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> toy = checkerboard()
        >>> toy.target.shape, toy.outside.shape, toy.inside(toy.target).all()
        (torch.Size([10000, 2]), torch.Size([1000, 2]), tensor(True))
    """
    state = np.random.RandomState(_SEED)
    first = state.rand(10000) * 4 - 2
    second = state.rand(10000) - state.randint(0, 2, (10000,)) * 2.0
    points = np.stack([first, second + np.floor(first) % 2], axis=1) * 2
    return _squeezed("checkerboard", points, shapes.draw_checkerboard, shapes.in_checkerboard, share=0.3)


def moons() -> Toy:
    """Return scikit-learn's two interleaving half circles with noise of deviation .05, in .4 of the box: 1000 points.

    The support is what lies within three deviations of the half circles.

    References:
        Scikit-learn: Machine Learning in Python (Pedregosa et al., 2011) https://jmlr.org/papers/v12/pedregosa11a.html

    Example:
        >>> moons().inside(moons().target).double().mean()
        tensor(0.9980, dtype=torch.float64)
    """
    from sklearn.datasets import make_moons

    points, _ = make_moons(n_samples=1000, noise=shapes.MOONS_NOISE, random_state=_SEED)
    return _squeezed("moons", points, shapes.draw_moons, shapes.in_moons, share=0.4)


def circles() -> Toy:
    """Return scikit-learn's two circles, one half as wide, with noise of deviation .05, in .4 of the box: 1000 points.

    The factor is FFJORD's 1/2, which keeps the circles apart. The support is what lies within three deviations of them.

    References:
        Scikit-learn: Machine Learning in Python (Pedregosa et al., 2011) https://jmlr.org/papers/v12/pedregosa11a.html
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2019)
        https://arxiv.org/abs/1810.01367

    Example:
        >>> circles().inside(circles().target).double().mean()
        tensor(1., dtype=torch.float64)
    """
    from sklearn.datasets import make_circles

    points, _ = make_circles(
        n_samples=1000, noise=shapes.CIRCLES_NOISE, factor=shapes.CIRCLES_FACTOR, random_state=_SEED
    )
    return _squeezed("circles", points, shapes.draw_circles, shapes.in_circles, share=0.4)


def pinwheel() -> Toy:
    r"""Return a wheel of five bent arms, scaled to .4 of the box: 200 points each.

    A Gaussian :math:`(a, b)` around (1, 0), of deviations .3 and .1, is turned clockwise by
    :math:`\tfrac{2\pi k}{5} + \tfrac14 e^a`, as in FFJORD. The support is the ellipses of three deviations, turned.

    References:
        Composing Graphical Models with Neural Networks for Structured Representations and Fast Inference (Johnson et
        al., 2016) https://arxiv.org/abs/1603.06277
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2019)
        https://arxiv.org/abs/1810.01367

    Example:
        >>> pinwheel().inside(pinwheel().target).double().mean()
        tensor(0.9950, dtype=torch.float64)
    """
    features = np.random.RandomState(_SEED).randn(1000, 2) * np.array(shapes.PINWHEEL_DEVIATIONS)
    arms = torch.arange(shapes.PINWHEEL_ARMS).repeat_interleave(1000 // shapes.PINWHEEL_ARMS)
    points = shapes.turn(torch.from_numpy(features), arms).numpy()
    return _squeezed("pinwheel", points, shapes.draw_pinwheel, shapes.in_pinwheel, share=0.4)


def gaussians25() -> Toy:
    """Return 25 Gaussians of deviation .05 on the grid {-4, -2, 0, 2, 4}^2, scaled to .4 of the box: 1000 points.

    The support is the discs of three deviations around the modes, and `radius` is theirs.

    References:
        VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning (Srivastava et al., 2017)
        https://arxiv.org/abs/1705.07761
        PacGAN: The power of two samples in generative adversarial networks (Lin et al., 2018)
        https://arxiv.org/abs/1712.04086

    Example:
        >>> gaussians25().radius
        0.0072...
    """
    return _squeezed_mixture("gaussians25", _square(np.linspace(-4, 4, 5)), 0.05, share=0.4)


TOYS: dict[str, Callable[[], Toy]] = {
    "blobs": blobs,
    "ring": ring,
    "grid": grid,
    "spirals": spirals,
    "checkerboard": checkerboard,
    "moons": moons,
    "circles": circles,
    "pinwheel": pinwheel,
    "gaussians25": gaussians25,
}


def _squeeze(points: Points, share: float) -> tuple[Points, float, float]:
    """Return points scaled to the middle `share` of the box by one factor for all coordinates, and scale and offset."""
    low = points.min()
    width = (points - low).max()
    scale = float(share / width)
    return ((points - low) / width - 0.5) * share + 0.5, scale, float(0.5 - 0.5 * share - low * scale)


def _squeezed(name: str, points: Points, law: Law, support: Support, *, share: float) -> Toy:
    positives, scale, offset = _squeeze(points, share)
    target, outside = torch.from_numpy(positives).float(), torch.from_numpy(_around(positives)).float()
    return Toy(name, target, outside, scale, offset, law, support)


def _around(positives: Points, n: int = 1000) -> Points:
    """Return the first n of 10 n points uniform in the unit square that avoid the positives' bounding box and .05."""
    points: Points = np.random.RandomState(_SEED).rand(10 * n, 2)
    low, high = positives.min(axis=0) - 0.05, positives.max(axis=0) + 0.05
    away: Points = points[~((points > low) & (points < high)).all(axis=1)]
    return away[:n]


def _squeezed_mixture(
    name: str, centers: Points, deviation: float, *, share: float, radius: float | None = None
) -> Toy:
    deviations = np.full(len(centers), deviation)
    toy = _squeezed(name, _blobs(1000, centers, deviations), *_mixture(centers, deviations), share=share)
    return replace(
        toy,
        centers=torch.from_numpy(toy.offset + toy.scale * centers).float(),
        deviations=torch.from_numpy(toy.scale * deviations).float(),
        radius=shapes.SIGMAS * toy.scale * deviation if radius is None else radius,
    )


def _mixture(centers: Points, deviations: Points) -> tuple[Law, Support]:
    modes, spreads = torch.from_numpy(centers), torch.from_numpy(deviations)
    return (
        partial(shapes.draw_mixture, centers=modes, deviations=spreads),
        partial(shapes.in_discs, centers=modes, radii=shapes.SIGMAS * spreads),
    )


def _blobs(n: int, centers: Points, deviations: Points) -> Points:
    from sklearn.datasets import make_blobs

    points: Points = make_blobs(n_samples=n, centers=centers, cluster_std=deviations, random_state=_SEED)[0]
    return points


def _square(line: Points) -> Points:
    right, up = np.meshgrid(line, line)
    return np.stack([right.ravel(), up.ravel()], axis=1)
