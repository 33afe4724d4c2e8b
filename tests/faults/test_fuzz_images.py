"""Any bytes are an image or are refused in one line that names them."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from genat.sources import load_image
from genat.sources.decoding import read

Fuzz = Callable[..., int]

NOISE = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _seeds() -> list[bytes]:
    """Return a file of every format, in the modes that it has."""
    colour, grey = Image.fromarray(NOISE[..., :3]), Image.fromarray(NOISE[..., 0])
    clear, deep = Image.fromarray(NOISE), Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = [_encoded(image, "PNG") for image in (colour, grey, clear, deep, grey.convert("1"), colour.quantize(16))]
    seeds += [_encoded(image, "TIFF") for image in (colour, grey, clear, deep, grey.convert("1"), grey.convert("F"))]
    seeds += [_encoded(colour, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    seeds += [_encoded(image, "JPEG", exif=exif) for image in (colour, grey, colour.convert("CMYK"))]
    seeds += [_encoded(colour, "JPEG", progressive=True), _encoded(colour, "PNG", exif=exif, interlace=1)]
    seeds += [_encoded(image, "WEBP", lossless=lossless) for image in (colour, clear) for lossless in (False, True)]
    seeds += [_encoded(image, "BMP") for image in (colour, grey, clear, grey.convert("1"))]
    frames = [colour.quantize(8), grey.convert("P")]
    seeds += [_encoded(frames[0], kind, save_all=True, append_images=frames[1:]) for kind in ("GIF", "PNG", "WEBP")]
    return seeds


SEEDS = _seeds()
ODD = [struct.pack(form, number) for form in ("<I", ">I", "<H", ">H") for number in (0, 1, 0x7FFF, 0x8000, 0xFFFF)]
ODD += [b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"II*\0", b"MM\0*", b"IHDR", b"acTL", b"EXIF", b"\xff\xd8\xff"]
patches = st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from(ODD))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a sound file with bytes overwritten, put in, taken out or exchanged for another file's, or cut short."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 5))):
        at, patch = draw(st.integers(0, len(data))), draw(patches)
        match draw(st.sampled_from(["over", "over", "in", "out", "splice"])):
            case "over":
                data = data[:at] + patch + data[at + len(patch) :]
            case "in":
                data = data[:at] + patch + data[at:]
            case "out":
                data = data[:at] + data[at + draw(st.integers(1, 40)) :]
            case _:
                other = draw(st.sampled_from(SEEDS))
                data = data[:at] + other[draw(st.integers(0, len(other))) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 5)) == 0 else data


contents = st.one_of(damaged(), damaged(), damaged(), st.binary(max_size=200))
sizes = st.one_of(st.none(), st.tuples(st.integers(1, 20), st.integers(1, 20)))


def check(path: Path, content: bytes, size: tuple[int, int] | None) -> None:
    try:
        picture: Any = read(content, name="any.png", size=size)
    except ValueError as error:
        picture = str(error)
    if isinstance(picture, str):
        assert "'any.png'" in picture
        assert len(picture.splitlines()) == 1
        return
    assert picture.pixels.dtype == torch.uint8
    assert picture.pixels.shape[0] in (1, 3)
    assert size is None or tuple(picture.pixels.shape[1:]) == size
    path.write_bytes(content)
    image, _ = load_image(path, shape=(1, 4, 6))
    assert image.shape == (1, 1, 4, 6)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize("soak", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["short", "soak"])
def test_any_bytes_are_an_image_or_are_refused_by_name(
    fuzz: Fuzz, tmp_path: Path, capfd: pytest.CaptureFixture[str], soak: bool
) -> None:
    place = tmp_path / "any.png"
    assert fuzz(lambda example: check(place, *example), st.tuples(contents, sizes), soak=soak) > 0
    told = capfd.readouterr().out  # libtiff writes to the error stream on its own
    if soak:
        with capfd.disabled():
            print(told)  # noqa: T201 - for the record
