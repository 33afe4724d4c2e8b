"""Masks from image files of every mode, and from corners."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor

from genat.generation import box_mask, load_mask

SHAPE = (3, 6, 9)
WHITE = torch.zeros(1, 6, 9, dtype=torch.bool)
WHITE[:, 1:4, 2:7] = True


def _grey() -> Image.Image:
    return Image.fromarray((WHITE[0].numpy() * 255).astype(np.uint8))


def _strokes() -> Image.Image:
    """White strokes on nothing, as a drawing program saves them; what is transparent is white too."""
    image = Image.new("RGBA", (9, 6), (255, 255, 255, 0))
    image.putalpha(_grey())
    return image


def _transparent_palette() -> Image.Image:
    """Two whites, the first of them transparent."""
    image = Image.fromarray(WHITE[0].numpy().astype(np.uint8)).convert("P")
    image.putpalette([255] * 768)
    image.info["transparency"] = 0
    return image


MODES: dict[str, Callable[[], Image.Image]] = {
    "1": lambda: _grey().convert("1"),
    "L": _grey,
    "LA": lambda: _grey().convert("LA"),
    "P": lambda: _grey().convert("P"),
    "P with transparency": _transparent_palette,
    "RGB": lambda: _grey().convert("RGB"),
    "RGBA": lambda: _grey().convert("RGBA"),
    "strokes on nothing": _strokes,
    "strokes on nothing, grey": lambda: _strokes().convert("LA"),
    "I;16": lambda: Image.fromarray(WHITE[0].numpy().astype(np.uint16) * 65535),
}


@pytest.mark.parametrize("mode", MODES)
def test_white_may_move_whatever_the_mode(mode: str, tmp_path: Path) -> None:
    MODES[mode]().save(tmp_path / "mask.png")
    assert torch.equal(load_mask(tmp_path / "mask.png", shape=SHAPE), WHITE)


def test_cmyk_and_formats_without_transparency(tmp_path: Path) -> None:
    _grey().convert("RGB").convert("CMYK").save(tmp_path / "mask.tif")
    _grey().save(tmp_path / "mask.jpg", quality=100)
    _grey().save(tmp_path / "mask.bmp")
    for name in ("mask.tif", "mask.jpg", "mask.bmp"):
        assert torch.equal(load_mask(tmp_path / name, shape=SHAPE), WHITE)


def test_grey_counts_from_the_middle(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "mask.png")
    assert load_mask(tmp_path / "mask.png", shape=(1, 1, 4)).tolist() == [[[False, False, True, True]]]


def test_colours_count_by_their_luma(tmp_path: Path) -> None:
    colours = np.array([[[255, 255, 0], [0, 255, 0], [255, 0, 0], [0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    assert load_mask(tmp_path / "mask.png", shape=(3, 1, 4)).tolist() == [[[True, True, False, False]]]


@pytest.mark.parametrize("mode", ["L", "strokes"])
def test_a_mask_is_turned_upright_with_its_transparency(mode: str, tmp_path: Path) -> None:
    image = _grey() if mode == "L" else _strokes()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it upright
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "mask.png", exif=exif)
    assert torch.equal(load_mask(tmp_path / "mask.png", shape=SHAPE), WHITE)


def test_premultiplied_transparency_of_a_tiff(tmp_path: Path) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[338] = 1  # associated alpha
    _strokes().save(tmp_path / "mask.tif", tiffinfo=info)
    assert torch.equal(load_mask(tmp_path / "mask.tif", shape=SHAPE), WHITE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Image.new("L", (6, 9), 255), "expected a mask of 6 x 9 in '.*mask.png', got 9 x 6"),
        (Image.new("L", (9, 6), 0), "expected some white in '.*mask.png', where pixels may move, got none"),
        (Image.new("RGBA", (9, 6), (255, 255, 255, 0)), "expected some white in '.*mask.png'"),
        (b"<html>", "expected an image in '.*mask.png', got no PNG"),
        (None, "expected an image in '.*mask.png', got No such file or directory"),
    ],
    ids=["another size", "black", "transparent", "no image", "no file"],
)
def test_masks_are_refused_by_name(content: Image.Image | bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content.save(path)
    with pytest.raises(ValueError, match=message) as caught:
        load_mask(path, shape=SHAPE)
    assert "\n" not in str(caught.value)


def test_a_truncated_mask_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"expected an image in '.*mask\.png'"):
        load_mask(path, shape=SHAPE)


def _slow_box(left: int, top: int, right: int, bottom: int) -> Tensor:
    rows, columns = torch.arange(6)[:, None], torch.arange(9)[None]
    return ((rows >= top) & (rows < bottom) & (columns >= left) & (columns < right))[None]


@pytest.mark.parametrize("corners", [(0, 0, 9, 6), (2, 1, 7, 4), (8, 5, 9, 6), (0, 0, 1, 1)], ids=str)
def test_a_box_is_its_columns_and_rows(corners: tuple[int, int, int, int]) -> None:
    assert torch.equal(box_mask(corners, shape=SHAPE), _slow_box(*corners))


@pytest.mark.parametrize(
    "corners", [(0, 0, 10, 6), (0, 0, 9, 7), (-1, 0, 3, 3), (0, -1, 3, 3), (3, 0, 3, 3), (0, 4, 3, 3)], ids=str
)
def test_a_box_that_is_empty_or_leaves_the_image_is_refused(corners: tuple[int, int, int, int]) -> None:
    got = ",".join(map(str, corners))
    with pytest.raises(ValueError, match=f"expected a box x0,y0,x1,y1 inside 9 x 6 pixels, got {got}"):
        box_mask(corners, shape=SHAPE)
