"""Exact area means, and crops of the two photographs."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genat.sources import Photographs
from genat.sources.photographs import area_means, integral


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def edges(start: float, stop: float, cells: int) -> Tensor:
    return torch.linspace(start, stop, cells + 1, dtype=torch.float64)[None]


@settings(max_examples=40, deadline=None)
@given(
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    scale=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    offset=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_cells_of_whole_pixels_are_average_pooling(
    cells: tuple[int, int], scale: tuple[int, int], offset: tuple[int, int]
) -> None:
    images = torch.rand(2, 3, 32, 32, generator=seeded(), dtype=torch.float64)
    (top, left), height, width = offset, cells[0] * scale[0], cells[1] * scale[1]
    cut = images[1:, :, top : top + height, left : left + width]
    means = area_means(
        integral(images), torch.tensor([1]), edges(top, top + height, cells[0]), edges(left, left + width, cells[1])
    )
    torch.testing.assert_close(means, F.adaptive_avg_pool2d(cut, cells), atol=1e-12, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.tuples(st.floats(0, 1), st.floats(0.05, 1)),
    columns=st.tuples(st.floats(0, 1), st.floats(0.05, 1)),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_cells_anywhere_are_the_integral_of_little_squares(
    rows: tuple[float, float], columns: tuple[float, float], cells: tuple[int, int]
) -> None:
    image = torch.rand(1, 1, 7, 5, generator=seeded(), dtype=torch.float64)
    grid = [
        edges(start * (1 - extent) * side, (start * (1 - extent) + extent) * side, count)
        for (start, extent), side, count in zip((rows, columns), (7, 5), cells, strict=True)
    ]

    def shares(boundaries: Tensor, side: int) -> Tensor:
        """How much of each cell each pixel takes, `(cells, side)`."""
        pixels = torch.arange(side, dtype=torch.float64)
        low = torch.maximum(boundaries[0, :-1, None], pixels)
        high = torch.minimum(boundaries[0, 1:, None], pixels + 1)
        return (high - low).clamp_min(0) / boundaries[0].diff()[:, None]

    expected = shares(grid[0], 7) @ image[0, 0] @ shares(grid[1], 5).T
    means = area_means(integral(image), torch.tensor([0]), grid[0], grid[1])
    torch.testing.assert_close(means[0, 0], expected, atol=1e-11, rtol=0)


def test_each_grid_lies_on_its_own_image() -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    means = area_means(
        integral(images), torch.tensor([2, 0, 1]), edges(0, 4, 1).expand(3, -1), edges(1, 3, 1).expand(3, -1)
    )
    assert means.flatten().tolist() == [2.0, 0.0, 1.0]


def test_the_full_size_is_the_photographs_themselves() -> None:
    # The only crop of 427 x 640 pixels is the photograph, mirrored or not.
    from sklearn.datasets import load_sample_images

    originals = torch.stack([torch.tensor(image) for image in load_sample_images().images]).permute(0, 3, 1, 2) / 255
    candidates = torch.cat((originals, originals.flip(-1)))
    for crop in Photographs((3, 427, 640)).draw(4, generator=seeded()):
        assert (candidates - crop).abs().flatten(1).amax(1).min() < 1e-6


def test_grey_is_the_luma_of_the_same_crop() -> None:
    colour = Photographs((3, 9, 7)).draw(20, generator=seeded())
    grey = Photographs((1, 9, 7)).draw(20, generator=seeded())
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close(grey, (colour * weights).sum(1, keepdim=True), atol=1e-6, rtol=0)


def test_half_of_the_crops_are_stretched_and_half_inverted() -> None:
    plain = Photographs((1, 8, 8)).draw(400, generator=seeded())
    low, high = plain.amin((1, 2, 3), keepdim=True), plain.amax((1, 2, 3), keepdim=True)
    stretched = Photographs((1, 8, 8), stretch=True).draw(400, generator=seeded())
    is_stretched = (stretched - (plain - low) / (high - low)).abs().flatten(1).amax(1) < 1e-6
    is_plain = (stretched == plain).flatten(1).all(1)
    assert (is_stretched ^ is_plain).all()
    assert abs(int(is_stretched.sum()) - 200) < 5 * 10  # binomial(400, 1/2)
    inverted = Photographs((1, 8, 8), invert=True).draw(400, generator=seeded())
    is_inverted = (inverted == 1 - plain).flatten(1).all(1)
    assert (is_inverted ^ (inverted == plain).flatten(1).all(1)).all()
    assert abs(int(is_inverted.sum()) - 200) < 5 * 10


def test_scales_vary_from_fine_to_coarse() -> None:
    # A crop at one pixel a pixel is smooth, one of the whole photograph is not.
    crops = Photographs((1, 32, 32)).draw(400, generator=seeded())
    roughness = crops.diff(dim=-1).abs().mean((1, 2, 3))
    assert roughness.quantile(0.95) > 10 * roughness.quantile(0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Photographs((8, 8)), r"expected shape \(C, H, W\) with C = 1 or 3, got \(8, 8\)"),
        (lambda: Photographs((3, 428, 8)), r"expected at most 427 x 640 pixels, got shape \(3, 428, 8\)"),
        (lambda: Photographs((3, 8, 641)), "expected at most 427 x 640 pixels"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
