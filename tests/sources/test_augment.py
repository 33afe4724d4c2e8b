"""Augmentations against what they are by definition."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from genat.sources import Augment
from genat.sources.augment import flip, random_resized_crop, shift


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 50, channels: int = 2, height: int = 4, width: int = 5) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=seeded(9))


def test_a_shift_is_one_of_the_crops_of_the_padded_image_each_equally_often() -> None:
    image = pictures(1)
    padded = F.pad(image, (1, 1, 1, 1), value=0.25)
    crops = torch.stack([padded[0, :, i : i + 4, j : j + 5] for i in range(3) for j in range(3)])
    shifted = shift(image.expand(4500, -1, -1, -1), 1, generator=seeded(), fill=0.25)
    found = (shifted[:, None] == crops[None]).flatten(2).all(2)
    assert (found.sum(1) == 1).all()
    # Each count is binomial(4500, 1/9) with deviation 21.1; five of them.
    assert (found.sum(0) - 500).abs().max() < 106


def test_a_shift_by_nothing_is_the_identity() -> None:
    assert torch.equal(shift(pictures(), 0, generator=seeded()), pictures())


def test_half_of_the_images_are_mirrored() -> None:
    images = pictures(4000)
    flipped = flip(images, generator=seeded())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert abs(int(mirrored.sum()) - 2000) < 5 * 31.6  # binomial(4000, 1/2)


def test_a_crop_of_everything_is_the_identity() -> None:
    cropped = random_resized_crop(pictures(), scale=(1.0, 1.0), generator=seeded())
    torch.testing.assert_close(cropped, pictures(), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (40, 80)])
def test_a_crop_of_a_ramp_has_the_drawn_area_and_aspect(height: int, width: int) -> None:
    # The slope of a cropped ramp is the share of the side that is kept; bilinear interpolation of a ramp is exact.
    down = torch.linspace(0, 1, height)[:, None].expand(height, width)
    right = torch.linspace(0, 1, width).expand(height, width)
    ramps = torch.stack((down, right)).expand(500, 2, height, width)
    crops = random_resized_crop(ramps, scale=(0.25, 0.5), ratio=(0.5, 2.0), generator=seeded())
    middle = crops[:, :, height // 4 : -height // 4, width // 4 : -width // 4].double()
    rows = (middle[:, 0, -1, 0] - middle[:, 0, 0, 0]) / (middle.shape[2] - 1) * (height - 1)
    columns = (middle[:, 1, 0, -1] - middle[:, 1, 0, 0]) / (middle.shape[3] - 1) * (width - 1)
    area, aspect = rows * columns, columns / rows
    tolerance = 1e-3
    assert (area > 0.25 - tolerance).all()
    assert (area < 0.5 + tolerance).all()
    assert (aspect > 0.5 - tolerance).all()
    assert (aspect < 2.0 + tolerance).all()
    # Uniform in [1/4, 1/2]: deviation 1/(4 sqrt 12); log-uniform aspect: log has deviation 2 log 2 / sqrt 12.
    assert abs(area.mean().item() - 0.375) < 5 * 0.0722 / 500**0.5
    assert abs(aspect.log().mean().item()) < 5 * 0.4002 / 500**0.5


def test_crops_reach_every_border_and_leave_the_rest_untouched() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1000, 1, 32, 32)
    crops = random_resized_crop(ramp, scale=(0.25, 0.25), probability=0.3, generator=seeded())
    untouched = (crops == ramp).flatten(1).all(1)
    assert abs(int(untouched.sum()) - 700) < 5 * 14.5  # binomial(1000, 0.7)
    centres = crops[~untouched].mean((1, 2, 3))
    # The centre is uniform between a quarter and three quarters.
    assert centres.min() < 0.27
    assert centres.max() > 0.73
    assert abs(centres.mean().item() - 0.5) < 5 * 0.5 / 12**0.5 / 300**0.5


def test_a_crop_wider_than_the_image_is_cut() -> None:
    ramp = torch.linspace(0, 1, 8).expand(20, 1, 8, 8)
    crops = random_resized_crop(ramp, scale=(1.0, 1.0), ratio=(4.0, 4.0), generator=seeded())
    torch.testing.assert_close(crops, ramp, atol=1e-6, rtol=0)


def test_without_arguments_it_is_the_identity() -> None:
    images = pictures()
    assert Augment()(images, generator=seeded()) is images


def test_augment_is_its_parts_in_order() -> None:
    augment = Augment(shift=1, fill=0.5, crop_scale=(0.5, 1.0), crop_ratio=(0.9, 1.1), crop_probability=0.5, flip=True)
    generator = seeded()
    parts = shift(pictures(), 1, generator=generator, fill=0.5)
    parts = random_resized_crop(parts, scale=(0.5, 1.0), ratio=(0.9, 1.1), probability=0.5, generator=generator)
    parts = flip(parts, generator=generator)
    assert torch.equal(augment(pictures(), generator=seeded()), parts)


def test_double_images_stay_double() -> None:
    augment = Augment(shift=1, crop_scale=(0.5, 1.0), flip=True)
    assert augment(pictures().double(), generator=seeded()).dtype == torch.float64


BYTES = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augment(shift=-1), "expected shift to be at least 0 pixels, got -1"),
        (lambda: Augment(shift=1, fill=1.5), r"expected fill in \[0, 1\], got 1.5"),
        (lambda: Augment(fill=0.5), "expected fill only with a shift, got fill=0.5 and shift=0"),
        (lambda: Augment(crop_ratio=(0.9, 1.1)), "only with crop_scale, got crop_scale=None"),
        (lambda: Augment(crop_probability=0.5), "only with crop_scale, got crop_scale=None"),
        (lambda: Augment(crop_scale=(0.0, 1.0)), r"expected the crop's scale to be a range in \(0, 1\]"),
        (lambda: Augment(crop_scale=(0.9, 0.8)), r"expected the crop's scale .* got \(0.9, 0.8\)"),
        (lambda: Augment(crop_scale=(0.5, 1.0), crop_ratio=(0.0, 1.0)), "expected the crop's ratio"),
        (lambda: Augment(crop_scale=(0.5, 1.0), crop_ratio=(1.0, float("inf"))), "expected the crop's ratio"),
        (lambda: Augment(crop_scale=(0.5, 1.0), crop_probability=0.0), r"expected the crop's probability in \(0, 1\]"),
        (lambda: shift(BYTES, 1, generator=seeded()), r"expected float images \(N, C, H, W\), got torch.uint8"),
        (lambda: flip(torch.zeros(2, 2), generator=seeded()), r"expected float images .* of shape \(2, 2\)"),
        (lambda: random_resized_crop(BYTES, scale=(0.5, 1.0), generator=seeded()), "expected float images"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
