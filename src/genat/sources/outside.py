"""Outside data that is drawn from a formula: where contrast samples start when there is no other data."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from genat.sources.images import Images
from genat.sources.source import check_draw, check_image_shape

NoiseKind = Literal["uniform", "gaussian", "standard", "binary"]


@dataclass(frozen=True)
class Noise:
    r"""Noise, independent from value to value.

    Args:
        shape: of one sample, `(C, H, W)` or any other.
        kind: "uniform" in [0, 1]; "gaussian", :math:`N(1/2, 1/4^2)` clipped to [0, 1]; "standard", :math:`N(0, 1)`
            clipped to [0, 1], of which half the values are 0 and a sixth 1; "binary", 0 or 1 evenly.

    Raises:
        ValueError: where the shape is empty or the kind another.

    Example:
        >>> Noise((1, 1, 3)).draw(2, generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[0.4963, 0.7682, 0.0885],
                [0.1320, 0.3074, 0.6341]])
    """

    shape: tuple[int, ...]
    kind: NoiseKind = "uniform"

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"expected a shape of positive sizes, got {self.shape}")
        if self.kind not in ("uniform", "gaussian", "standard", "binary"):
            raise ValueError(f"expected kind uniform, gaussian, standard or binary, got {self.kind!r}")

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.kind} noise"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n samples of noise, `(n, *shape)`."""
        check_draw(n, generator)
        size = (n, *self.shape)
        match self.kind:
            case "uniform":
                return torch.rand(size, generator=generator)
            case "gaussian":
                return (0.5 + 0.25 * torch.randn(size, generator=generator)).clamp(0, 1)
            case "standard":
                return torch.randn(size, generator=generator).clamp(0, 1)
            case "binary":
                return torch.randint(2, size, generator=generator).float()


@dataclass(frozen=True)
class Box:
    """Points uniform in a box.

    Args:
        dimension: D, of the points.
        low: the lower end of every coordinate.
        high: the upper end of every coordinate.

    Raises:
        ValueError: where the dimension is below 1, or the ends are not finite and in order.

    Example:
        >>> Box(2, low=-1.0, high=1.0).draw(2, generator=torch.Generator().manual_seed(0))
        tensor([[-0.0075,  0.5364],
                [-0.8230, -0.7359]])
    """

    dimension: int
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ValueError(f"expected dimension to be at least 1, got {self.dimension}")
        if not (self.low < self.high and math.isfinite(self.high - self.low)):
            raise ValueError(f"expected finite low < high, got {self.low} and {self.high}")

    @property
    def shape(self) -> tuple[int]:
        """Shape of one point, `(D,)`."""
        return (self.dimension,)

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"uniform in [{self.low:g}, {self.high:g}]^{self.dimension}"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n points, `(n, D)`."""
        check_draw(n, generator)
        return self.low + (self.high - self.low) * torch.rand(n, self.dimension, generator=generator)


@dataclass(frozen=True)
class DeadLeaves:
    r"""Dead leaves: discs of random size and colour that hide one another, with the edge statistics of photographs.

    Radii have the density :math:`p(r) \propto r^{-3}` between two ends, which makes the picture look alike at all
    scales; colours are uniform in the cube; centres are uniform in the plane. Leaves are laid from the top down until
    every pixel centre is covered, which samples the endless pile exactly.

    Args:
        shape: `(C, H, W)` with C = 1 (grey) or 3 (RGB).
        radius: the smallest and the largest radius in pixels; None is a sixteenth and a half of the shorter side, and
            at least 1 and 2.

    Raises:
        ValueError: where the shape is another, or the radii are not positive and in order.

    References:
        Occlusion Models for Natural Images: A Statistical Study of a Scale-Invariant Dead Leaves Model (Lee, Mumford
        and Huang, 2001) https://doi.org/10.1023/A:1011109015675

    Example:
        >>> leaves = DeadLeaves((1, 2, 3), radius=(0.5, 2.0))
        >>> leaves.draw(1, generator=torch.Generator().manual_seed(0))
        tensor([[[[0.4486, 0.4486, 0.3936],
                  [0.1743, 0.9736, 0.3936]]]])
    """

    shape: tuple[int, ...]
    radius: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_image_shape(self.shape)
        low, high = self._radii
        if not (0 < low < high and math.isfinite(high)):
            raise ValueError(f"expected a smallest radius above 0 and a larger largest one, got {self.radius}")

    @property
    def name(self) -> str:
        """What reports call it."""
        return "dead leaves"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n pictures, `(n, C, H, W)`."""
        check_draw(n, generator)
        pictures = torch.empty(n, *self.shape)
        for part in torch.split(pictures, max(1, 2**18 // math.prod(self.shape[1:]))):  # bounds the memory
            part.copy_(self._pile(len(part), generator))
        return pictures

    @property
    def _radii(self) -> tuple[float, float]:
        side = min(self.shape[1:])
        return (max(1.0, side / 16), max(2.0, side / 2)) if self.radius is None else self.radius

    def _pile(self, n: int, generator: torch.Generator) -> Tensor:
        """Return n pictures; leaves only ever meet the pixels that are still bare."""
        channels, height, width = self.shape
        area = height * width
        down = (torch.arange(height) + 0.5).repeat_interleave(width)
        right = (torch.arange(width) + 0.5).repeat(height)
        canvas = torch.empty(n * area, channels)
        bare = torch.arange(n * area)
        while len(bare):
            radius, top, left, colour = self._leaves(n, generator)
            picture, pixel = bare.div(area, rounding_mode="floor"), bare % area
            distance = (down[pixel, None] - top[picture]).square() + (right[pixel, None] - left[picture]).square()
            covered, first = (distance <= radius.square()[picture]).max(dim=1)
            canvas[bare[covered]] = colour[picture[covered], first[covered]]
            bare = bare[~covered]
        return canvas.view(n, height, width, channels).permute(0, 3, 1, 2)

    def _leaves(self, n: int, generator: torch.Generator, count: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Return `count` leaves a picture: radius, row and column of the centre, `(n, count)`, and `(n, count, C)`.

        Only leaves whose bounding square meets the picture matter. Their radii have the density
        :math:`r^{-3} (H + 2r)(W + 2r)`, a mixture of three power laws that are inverted one by one.
        """
        channels, height, width = self.shape
        low, high = self._radii
        inverse_squares, inverses = low**-2 - high**-2, 1 / low - 1 / high
        masses = (height * width * inverse_squares / 2, 2 * (height + width) * inverses, 4 * math.log(high / low))
        ends = torch.tensor(masses, dtype=torch.float64).cumsum(0)
        law, u, down, right = torch.rand(4, n, count, generator=generator, dtype=torch.float64)
        laws = torch.stack(
            (
                (low**-2 - u * inverse_squares).rsqrt(),
                (1 / low - u * inverses).reciprocal(),
                low * (high / low) ** u,
            )
        )
        radius = laws.gather(0, torch.searchsorted(ends, law * ends[-1], right=True)[None])[0]
        top, left = down * (height + 2 * radius) - radius, right * (width + 2 * radius) - radius
        return radius.float(), top.float(), left.float(), torch.rand(n, count, channels, generator=generator)


@dataclass(frozen=True)
class Constant:
    """Images of one colour, uniform in the cube: no edges at all.

    Args:
        shape: `(C, H, W)` with C = 1 (grey) or 3 (RGB).

    Raises:
        ValueError: where the shape is another.

    Example:
        >>> Constant((1, 1, 3)).draw(2, generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[0.4963, 0.4963, 0.4963],
                [0.7682, 0.7682, 0.7682]])
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_image_shape(self.shape)

    @property
    def name(self) -> str:
        """What reports call it."""
        return "constant images"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n images, `(n, C, H, W)`."""
        check_draw(n, generator)
        return torch.rand(n, self.shape[0], 1, 1, generator=generator).repeat(1, 1, *self.shape[1:])


@dataclass(frozen=True)
class Gradients:
    r"""Images that pass evenly from one colour to another in some direction: smooth, and without texture.

    .. math:: x(p) = a + t(p)\,(b - a), \qquad t(p) = \frac{\langle p, u\rangle - \min_q \langle q, u\rangle}
        {\max_q \langle q, u\rangle - \min_q \langle q, u\rangle}

    with two colours a, b uniform in the cube and a direction u uniform on the circle; p and q run over the pixels.

    Args:
        shape: `(C, H, W)` with C = 1 (grey) or 3 (RGB) and more than one pixel.

    Raises:
        ValueError: where the shape is another.

    Example:
        >>> Gradients((1, 1, 3)).draw(2, generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[0.7682, 0.6322, 0.4963],
                [0.0885, 0.1103, 0.1320]])
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_image_shape(self.shape)
        if self.shape[1] * self.shape[2] < 2:
            raise ValueError(f"expected images of more than one pixel, got {self.shape}")

    @property
    def name(self) -> str:
        """What reports call it."""
        return "gradients"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n images, `(n, C, H, W)`."""
        check_draw(n, generator)
        channels, height, width = self.shape
        ends = torch.rand(n, 2, channels, 1, generator=generator)
        angle = 2 * math.pi * torch.rand(n, 1, generator=generator, dtype=torch.float64)
        down = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
        right = torch.arange(width, dtype=torch.float64).repeat(height)
        along = angle.cos() * right + angle.sin() * down
        low, high = along.amin(1, keepdim=True), along.amax(1, keepdim=True)
        share = ((along - low) / (high - low)).float()[:, None]
        return torch.lerp(ends[:, 0], ends[:, 1], share).view(n, channels, height, width)


class ClassGaussians:
    r"""One Gaussian a class, fitted to labelled images: :math:`clip(N(\mu_k, \Sigma_k + 10^{-4} I), 0, 1)`.

    Fitted to the target where it is given target data: starts drawn from it already carry the target's means and
    covariances, and a figure made with them has to say so; the name says it too. Every class is drawn equally often;
    without labels all images make one class.

    Args:
        images: at least two images a class.

    Raises:
        ValueError: where a class that occurs has a single image.

    References:
        Image Synthesis with a Single (Robust) Classifier (Santurkar et al., 2019) https://arxiv.org/abs/1906.09453

    Example:
        >>> images = Images.from_float(torch.tensor([0.4, 0.6]).view(2, 1, 1, 1).expand(2, 1, 2, 2))
        >>> ClassGaussians(images).draw(2, generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[0.4605, 0.4529, 0.4511, 0.4695],
                [0.6762, 0.6895, 0.6830, 0.6872]])
    """

    def __init__(self, images: Images) -> None:
        self.shape: tuple[int, ...] = images.shape
        self.name = f"class Gaussians fitted to {images.name}"
        values = images.tensor().flatten(1).cpu()
        labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels.cpu()
        self._gaussians = [_fit(values[labels == label], images.name) for label in labels.bincount().nonzero()]

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n images, `(n, C, H, W)`."""
        check_draw(n, generator)
        label = torch.randint(len(self._gaussians), (n,), generator=generator)
        images = torch.empty(n, math.prod(self.shape))
        for k, (mean, factor) in enumerate(self._gaussians):
            chosen = label == k
            count = int(chosen.sum())
            along = torch.randn(count, len(factor), generator=generator) @ factor
            images[chosen] = mean + along + 0.01 * torch.randn(count, len(mean), generator=generator)
        return images.clamp_(0, 1).view(n, *self.shape)


def _fit(values: Tensor, name: str) -> tuple[Tensor, Tensor]:
    r"""Return the mean, and R with :math:`R^T R` the covariance: the triangle of a QR, never a D x D matrix for few."""
    if len(values) < 2:
        raise ValueError(f"expected at least 2 images in every class of {name!r}, got a class with 1")
    mean = values.mean(0)
    return mean, torch.linalg.qr((values - mean) / math.sqrt(len(values) - 1), mode="r").R
