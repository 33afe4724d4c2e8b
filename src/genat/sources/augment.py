"""Batched augmentations, on the images' device, with parameters drawn sample by sample from a CPU generator."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Augmentation(Protocol):
    """A random map from images to images of the same shape; `Augment` is one."""

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return `(N, C, H, W)` images in [0, 1], a function of the images and the CPU generator alone."""
        ...


@dataclass(frozen=True)
class Augment:
    """Shift, then crop and enlarge, then flip; each only where it is asked for, and drawn anew for every sample.

    `Augment(shift=4, flip=True)` is the usual one for 32 x 32 photographs, `Augment(crop_scale=(0.9, 1.0),
    crop_ratio=(0.95, 1.05), crop_probability=0.5, flip=True)` one for aligned faces. Without arguments it is the
    identity.

    Args:
        shift: largest shift in pixels, see `shift`; 0 is none.
        fill: what `shift` uncovers, in [0, 1].
        crop_scale: share of the area that a crop keeps, see `random_resized_crop`; None is no crop.
        crop_ratio: width over height of a crop, relative to the image's own.
        crop_probability: how likely a sample is cropped, in (0, 1].
        flip: whether to mirror left and right, with probability 1/2.

    Raises:
        ValueError: where a value is out of range, or `fill`, `crop_ratio` or `crop_probability` is given for an
            augmentation that is off.

    Example:
        >>> augment = Augment(shift=1)
        >>> augment(torch.ones(1, 1, 2, 3), generator=torch.Generator().manual_seed(0))
        tensor([[[[0., 1., 1.],
                  [0., 0., 0.]]]])
    """

    shift: int = 0
    fill: float = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    crop_probability: float = 1.0
    flip: bool = False

    def __post_init__(self) -> None:
        _check_shift(self.shift, self.fill)
        if self.shift == 0 and self.fill != 0:
            raise ValueError(f"expected fill only with a shift, got fill={self.fill} and shift=0")
        if self.crop_scale is not None:
            _check_crop(self.crop_scale, self.crop_ratio, self.crop_probability)
        elif (self.crop_ratio, self.crop_probability) != ((1.0, 1.0), 1.0):
            raise ValueError("expected crop_ratio and crop_probability only with crop_scale, got crop_scale=None")

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return augmented images, `(N, C, H, W)`."""
        if self.shift:
            images = shift(images, self.shift, generator=generator, fill=self.fill)
        if self.crop_scale is not None:
            images = random_resized_crop(
                images,
                scale=self.crop_scale,
                ratio=self.crop_ratio,
                probability=self.crop_probability,
                generator=generator,
            )
        return flip(images, generator=generator) if self.flip else images


def shift(images: Tensor, pixels: int, *, generator: torch.Generator, fill: float = 0.0) -> Tensor:
    """Return images moved by whole pixels: padded on every side and cropped back at a random place.

    Args:
        images: `(N, C, H, W)`.
        pixels: the padding; both offsets are uniform in -pixels .. pixels.
        generator: a CPU generator.
        fill: the padding's value, in [0, 1].

    Returns:
        `(N, C, H, W)`.

    Raises:
        ValueError: where pixels is negative, fill leaves [0, 1] or the images' shape is another.

    Example:
        >>> image = torch.tensor([[[[0.25, 0.5], [0.75, 1.0]]]])
        >>> shift(image, 1, generator=torch.Generator().manual_seed(3))
        tensor([[[[0.5000, 0.0000],
                  [1.0000, 0.0000]]]])
    """
    _check_shift(pixels, fill)
    _check_images(images)
    n, channels, height, width = images.shape
    offsets = torch.randint(2 * pixels + 1, (2, n, 1), generator=generator).to(images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    sample = torch.arange(n, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    padded = F.pad(images, (pixels,) * 4, value=fill)
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return images of which each is mirrored left to right with probability 1/2.

    Args:
        images: `(N, C, H, W)`.
        generator: a CPU generator.

    Returns:
        `(N, C, H, W)`.

    Raises:
        ValueError: where the images' shape is another.

    Example:
        >>> flip(torch.tensor([[[[0.0, 1.0]]], [[[0.0, 1.0]]]]), generator=torch.Generator().manual_seed(0)).flatten(1)
        tensor([[1., 0.],
                [0., 1.]])
    """
    _check_images(images)
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)


def random_resized_crop(
    images: Tensor,
    *,
    scale: tuple[float, float],
    generator: torch.Generator,
    ratio: tuple[float, float] = (1.0, 1.0),
    probability: float = 1.0,
) -> Tensor:
    r"""Return images of which a random crop is enlarged to the full size, bilinearly.

    A crop keeps the share :math:`s` of the area and has the aspect :math:`r`: it is :math:`\sqrt{s r}` of the width
    and :math:`\sqrt{s / r}` of the height, cut to the image where that exceeds 1.

    Args:
        images: `(N, C, H, W)`, in [0, 1].
        scale: range of :math:`s`, in (0, 1]; uniform.
        generator: a CPU generator.
        ratio: range of :math:`r`, positive and relative to the image's own aspect; log-uniform.
        probability: how likely a sample is cropped, in (0, 1]; the others stay as they are, to the bit.

    Returns:
        `(N, C, H, W)`, in [0, 1].

    Raises:
        ValueError: where a range is empty or out of bounds, or the images' shape is another.

    References:
        Going Deeper with Convolutions (Szegedy et al., 2015) https://arxiv.org/abs/1409.4842

    Example:
        >>> image = torch.linspace(0, 1, 4).view(1, 1, 1, 4)
        >>> random_resized_crop(image, scale=(0.25, 0.25), generator=torch.Generator().manual_seed(0)).flatten()
        tensor([0.0000, 0.1423, 0.3090, 0.4757])
    """
    _check_crop(scale, ratio, probability)
    _check_images(images)
    n, _, height, width = images.shape
    area, aspect, across, down, coin = torch.rand(5, n, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** aspect
    crop_width, crop_height = (area * aspect).sqrt().clamp_max(1), (area / aspect).sqrt().clamp_max(1)
    columns = _crop_coordinates(width, crop_width, across)[:, None, :].expand(n, height, width)
    rows = _crop_coordinates(height, crop_height, down)[:, :, None].expand(n, height, width)
    grid = torch.stack((columns, rows), dim=-1).to(images)
    crops = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp(0, 1)
    return torch.where((coin < probability).to(images.device).view(-1, 1, 1, 1), crops, images)


def _crop_coordinates(pixels: int, share: Tensor, position: Tensor) -> Tensor:
    """Return where `pixels` pixel centres of a crop lie, `(N, pixels)`, with the image spanning [-1, 1]."""
    centres = (2 * torch.arange(pixels) + 1) / pixels - 1
    middle = (2 * position - 1) * (1 - share)
    return middle[:, None] + share[:, None] * centres


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"expected float images (N, C, H, W), got {images.dtype} of shape {tuple(images.shape)}")


def _check_shift(pixels: int, fill: float) -> None:
    if pixels < 0:
        raise ValueError(f"expected shift to be at least 0 pixels, got {pixels}")
    if not 0 <= fill <= 1:
        raise ValueError(f"expected fill in [0, 1], got {fill}")


def _check_crop(scale: tuple[float, float], ratio: tuple[float, float], probability: float) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"expected the crop's scale to be a range in (0, 1], got {scale}")
    if not (0 < ratio[0] <= ratio[1] and math.isfinite(ratio[1])):
        raise ValueError(f"expected the crop's ratio to be a range of positive numbers, got {ratio}")
    if not 0 < probability <= 1:
        raise ValueError(f"expected the crop's probability in (0, 1], got {probability}")
