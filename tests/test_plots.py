"""Pictures: sizes, pixels as they are, and charts of hard data."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from genat import plots

STEP = {"iteration": 1, "loss": 0.7, "auroc": 0.5, "inside": 0.0, "outside": 0.0, "steps": 3}


def _pixels(png: bytes) -> Tensor:
    """Return `(H, W)` or `(H, W, 3)` bytes."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return torch.from_numpy(np.asarray(image).copy())


def _bytes(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)) / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_single_keeps_every_pixel(channels: int) -> None:
    image = _bytes(channels, 5, 7)
    pixels = _pixels(plots.single(image))
    assert pixels.shape == ((5, 7) if channels == 1 else (5, 7, 3))
    expected = (image * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(pixels.reshape(expected.shape), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_places_and_enlarges_without_smoothing(channels: int) -> None:
    images = _bytes(5, channels, 8, 6)
    pixels = _pixels(plots.grid(images, columns=3, side=16))
    assert pixels.shape == (2 * (16 + 2) + 2, 3 * (12 + 2) + 2, 3)
    for i, image in enumerate(images):
        top, left = i // 3 * 18 + 2, i % 3 * 14 + 2
        tile = pixels[top : top + 16, left : left + 12]
        small = (image * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)
        for row in range(2):
            for column in range(2):
                assert torch.equal(tile[row::2, column::2], small)
        pixels[top : top + 16, left : left + 12] = 255
    assert (pixels == 255).all()  # all else is white


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (64, 8, 8), (65, 8, 9)])
def test_a_grid_is_square_where_nothing_is_said(n: int, rows: int, columns: int) -> None:
    assert _pixels(plots.grid(_bytes(n, 1, 8, 8))).shape == (rows * 66 + 2, columns * 66 + 2, 3)


def test_large_images_are_not_made_smaller() -> None:
    assert _pixels(plots.grid(_bytes(1, 3, 100, 90))).shape == (104, 94, 3)


def test_values_outside_the_range_are_clamped() -> None:
    assert _pixels(plots.single(torch.tensor([[[-1.0, 0.0, 1.0, 2.0]]]))).tolist() == [[0, 0, 255, 255]]


def test_pictures_take_tensors_with_gradients() -> None:
    assert plots.grid(torch.zeros(1, 1, 2, 2, requires_grad=True)) == plots.grid(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (8, 8), (2, 8, 8), (2, 2, 8, 8), (2, 4, 8, 8)])
def test_grid_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\) with N >= 1 and C = 1 or 3, got"):
        plots.grid(torch.zeros(shape))


def test_trajectories_run_from_start_to_end() -> None:
    way = torch.linspace(0, 1, 33).view(33, 1, 1, 1, 1).expand(33, 12, 1, 8, 8)
    pixels = _pixels(plots.trajectories(way, side=8))
    assert pixels.shape == (8 * 10 + 2, 9 * 10 + 2, 3)  # at most eight samples at nine moments
    shown = pixels[4, 4::10, 0]
    assert shown.tolist() == [round(255 * i / 8) for i in range(9)]


def test_a_short_trajectory_is_shown_whole() -> None:
    assert _pixels(plots.trajectories(_bytes(2, 3, 1, 8, 8), side=8)).shape == (3 * 10 + 2, 2 * 10 + 2, 3)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 9])
def test_every_pair_is_shown_one_above_the_other(n: int) -> None:
    before = torch.arange(1, n + 1).view(n, 1, 1, 1).expand(n, 1, 4, 4) / 255
    pixels = _pixels(plots.pairs(before, 1 - before, columns=4, side=4))
    rows, columns = -(-n // 4), min(4, n)
    assert pixels.shape == (rows * 2 * 6 + 2, columns * 6 + 2, 3)
    for i in range(n):
        top, left = i // columns * 12 + 3, i % columns * 6 + 3
        assert pixels[[top, top + 6], left, 0].tolist() == [i + 1, 255 - i - 1]


def test_pairs_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="expected images"):
        plots.pairs(torch.zeros(0, 1, 4, 4), torch.zeros(0, 1, 4, 4))


@pytest.mark.parametrize("value", [0.0, 1e6, -1e9])
def test_a_histogram_of_identical_values(value: float) -> None:
    same = torch.full((9,), value)
    assert _pixels(plots.histogram(same, {"noise": same, "more": same}, threshold=value)).ndim == 3


def test_a_histogram_of_one_value_each_and_of_many_families() -> None:
    families = {f"family {i}": torch.tensor([float(i)]) for i in range(9)}
    above, below = (_pixels(plots.histogram(torch.tensor([value]), families)) for value in (100.0, -100.0))
    assert above.shape == below.shape
    assert (above != below).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_roc_of_perfect_and_of_inverted_separation(sign: int) -> None:
    png = plots.roc(torch.full((5,), sign * 3.0), {"noise": torch.zeros(4), "ties": torch.full((4,), sign * 3.0)})
    assert _pixels(png).ndim == 3


def test_roc_of_one_image_each() -> None:
    assert _pixels(plots.roc(torch.zeros(1), {"noise": torch.zeros(1)}, title="one")).ndim == 3


@pytest.mark.parametrize("n", [1, 2, 5, 399, 1000])
def test_curves_of_any_length(n: int) -> None:
    assert _pixels(plots.curves([STEP | {"iteration": i} for i in range(1, n + 1)])).ndim == 3


def test_many_scores_over_the_radius_look_different() -> None:
    scores = {f"score {i}": [1.0, 1 - i / 20] for i in range(16)}
    png = plots.radii([0.0, 1.0], scores, first="score 3", x="L2 radius")
    assert png.startswith(b"\x89PNG")
    assert plots.radii([0.0, 1.0], scores, first="score 4", x="L2 radius") != png


def test_no_curves_without_records() -> None:
    with pytest.raises(ValueError, match="expected at least one record, got none"):
        plots.curves([])


def test_one_picture_is_one_string_of_bytes() -> None:
    inside, outside = torch.arange(9.0), {"noise": -torch.arange(9.0)}
    assert plots.histogram(inside, outside) == plots.histogram(inside, outside)
    assert plots.roc(inside, outside) == plots.roc(inside, outside)


def test_charts_leave_matplotlibs_global_state_alone() -> None:
    code = """
import sys, torch
import matplotlib
from genat import plots

def state():  # to look the backend up would choose one
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}

before = state()
x = torch.arange(9.0)
plots.histogram(x, {"a": -x}); plots.roc(x, {"a": -x})
plots.curves([dict(iteration=1, loss=1.0, auroc=0.5, inside=0.0, outside=0.0, steps=1)])
assert "matplotlib.pyplot" not in sys.modules
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
