"""Sources made of sources: mixtures, and target images spoilt in one respect."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from genat.sources.source import Source, check_draw, check_image_shape, describe


@dataclass(frozen=True)
class Mixture:
    """Several sources as one: each sample comes from a component drawn by weight.

    Args:
        sources: components of one shape, on one device.
        weights: positive, in any unit; None is evenly.

    Raises:
        ValueError: where there is no component, shapes differ, or weights are not one positive number a component.

    Example:
        >>> from genat.sources import Box
        >>> mixture = Mixture((Box(1, low=0.0, high=1.0), Box(1, low=10.0, high=11.0)), weights=(3, 1))
        >>> mixture.draw(6, generator=torch.Generator().manual_seed(0)).flatten()
        tensor([10.5185,  0.0223,  0.1689, 10.6977,  0.2939, 10.8000])
    """

    sources: Sequence[Source]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("expected at least one source, got none")
        shapes = {tuple(source.shape) for source in self.sources}
        if len(shapes) > 1:
            raise ValueError(f"expected sources of one shape, got {', '.join(map(str, sorted(shapes)))}")
        if self.weights is not None and len(self.weights) != len(self.sources):
            raise ValueError(f"expected {len(self.sources)} weights, one a source, got {len(self.weights)}")
        if not all(weight > 0 and math.isfinite(weight) for weight in self.weights or ()):
            raise ValueError(f"expected positive finite weights, got {tuple(self.weights or ())}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.sources[0].shape

    @property
    def name(self) -> str:
        """What reports call it."""
        return "mixture of " + ", ".join(describe(source) for source in self.sources)

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n samples, `(n, *shape)`.

        Raises:
            ValueError: where the components draw on different devices.
        """
        check_draw(n, generator)
        ends = torch.tensor(self.weights or [1] * len(self.sources), dtype=torch.float64).cumsum(0)
        drawn = torch.searchsorted(ends, torch.rand(n, generator=generator, dtype=torch.float64) * ends[-1], right=True)
        counts = drawn.bincount(minlength=len(ends)).tolist()
        parts = [source.draw(count, generator=generator) for source, count in zip(self.sources, counts, strict=True)]
        devices = {str(part.device) for part in parts}
        if len(devices) > 1:
            raise ValueError(f"expected sources on one device, got {', '.join(sorted(devices))}")
        place = drawn.argsort(stable=True).argsort()
        return torch.cat(parts)[place.to(parts[0].device)]


@dataclass(frozen=True)
class Inverted:
    """Images turned into their negatives, 1 - x.

    Args:
        source: of images.

    Raises:
        ValueError: where the source's samples are no images.

    Example:
        >>> from genat.sources import Samples
        >>> source = Inverted(Samples(torch.full((1, 1, 1, 2), 0.25)))
        >>> source.draw(1, generator=torch.Generator())
        tensor([[[[0.7500, 0.7500]]]])
    """

    source: Source

    def __post_init__(self) -> None:
        check_image_shape(self.source.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, `(C, H, W)`."""
        return self.source.shape

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{describe(self.source)} inverted"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n negatives, `(n, C, H, W)`."""
        return 1 - self.source.draw(n, generator=generator)


@dataclass(frozen=True)
class Rotated:
    """Images turned by a quarter, a half or three quarters, each as likely: right but for which way is up.

    Args:
        source: of square images.

    Raises:
        ValueError: where the source's samples are no images, or not square.

    Example:
        >>> from genat.sources import Samples
        >>> source = Rotated(Samples(torch.tensor([[[[0.0, 0.2], [0.4, 0.6]]]])))
        >>> source.draw(2, generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[0.4000, 0.0000, 0.6000, 0.2000],
                [0.2000, 0.6000, 0.0000, 0.4000]])
    """

    source: Source

    def __post_init__(self) -> None:
        check_image_shape(self.source.shape)
        if self.source.shape[1] != self.source.shape[2]:
            raise ValueError(f"expected square images, got {self.source.shape[1]} x {self.source.shape[2]}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, `(C, H, W)`."""
        return self.source.shape

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{describe(self.source)} rotated"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n turned images, `(n, C, H, W)`."""
        images = self.source.draw(n, generator=generator)
        quarters = torch.randint(1, 4, (n,), generator=generator).to(images.device)
        turned = torch.stack([images.rot90(k, dims=(2, 3)) for k in (1, 2, 3)])
        return turned[quarters - 1, torch.arange(n, device=images.device)]


@dataclass(frozen=True)
class ShuffledPatches:
    """Images cut into square patches that are put back in another order: right in the small, wrong in the large.

    Every image has an order of its own, uniform over all but the original one. An image with equal patches may still
    come out as it was.

    Args:
        source: of images.
        patch: the patches' side in pixels, a divisor of both sides that leaves more than one patch.

    Raises:
        ValueError: where the source's samples are no images, or the patch does not divide them so.

    Example:
        >>> from genat.sources import Samples
        >>> source = ShuffledPatches(Samples(torch.tensor([[[[0.0, 0.5, 1.0]]]])), patch=1)
        >>> source.draw(2, generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[0.5000, 0.0000, 1.0000],
                [1.0000, 0.0000, 0.5000]])
    """

    source: Source
    patch: int

    def __post_init__(self) -> None:
        check_image_shape(self.source.shape)
        _, height, width = self.source.shape
        if self.patch < 1 or height % self.patch or width % self.patch or height * width == self.patch**2:
            raise ValueError(f"expected patch to cut {height} x {width} into several squares, got {self.patch}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, `(C, H, W)`."""
        return self.source.shape

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{describe(self.source)}, patches of {self.patch} shuffled"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n images with their patches out of order, `(n, C, H, W)`."""
        images = self.source.draw(n, generator=generator)
        patches = F.unfold(images, self.patch, stride=self.patch)
        order = _disorder(n, patches.shape[2], generator).to(images.device)
        shuffled = patches.gather(2, order[:, None, :].expand_as(patches))
        return F.fold(shuffled, self.shape[1:], self.patch, stride=self.patch)


@dataclass(frozen=True)
class Blurred:
    r"""Images blurred by a Gaussian, reflected at the border: right in the large, wrong in the small.

    Args:
        source: of images.
        deviation: the Gaussian's standard deviation in pixels; the kernel reaches to three of them, rounded up, which
            must stay below the image's sides.

    Raises:
        ValueError: where the source's samples are no images, or the deviation is not positive or too large for them.

    Example:
        >>> from genat.sources import Samples
        >>> image = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).expand(1, 1, 7, 7)
        >>> Blurred(Samples(image), deviation=1.0).draw(1, generator=torch.Generator())[0, 0, 0]
        tensor([0.0089, 0.0540, 0.2420, 0.3991, 0.2420, 0.0540, 0.0089])
    """

    source: Source
    deviation: float

    def __post_init__(self) -> None:
        check_image_shape(self.source.shape)
        side = min(self.source.shape[1:])
        if not (self.deviation > 0 and self._reach < side):
            raise ValueError(
                f"expected 3 deviations above 0 and at most {side - 1} pixels, got deviation={self.deviation}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, `(C, H, W)`."""
        return self.source.shape

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{describe(self.source)} blurred by {self.deviation:g} pixels"

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n blurred images, `(n, C, H, W)`."""
        images = self.source.draw(n, generator=generator)
        kernel = (-0.5 * (torch.arange(-self._reach, self._reach + 1) / self.deviation).square()).exp()
        kernel = (kernel / kernel.sum()).to(images)
        planes = F.pad(images.flatten(0, 1)[:, None], (self._reach,) * 4, mode="reflect")
        blurred = F.conv2d(F.conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
        return blurred.view_as(images).clamp(0, 1)

    @property
    def _reach(self) -> int:
        return math.ceil(3 * self.deviation)


def _disorder(n: int, items: int, generator: torch.Generator) -> Tensor:
    """Return n permutations, `(n, items)`, uniform over all but the identity."""
    order = torch.rand(n, items, generator=generator, dtype=torch.float64).argsort(dim=1)
    while len(kept := (order == torch.arange(items)).all(1).nonzero().flatten()):
        order[kept] = torch.rand(len(kept), items, generator=generator, dtype=torch.float64).argsort(dim=1)
    return order
