"""One image file to bytes of grey or RGB: the single way in for folders, tables and uploads."""

import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

Mode = Literal["auto", "L", "RGB"]
"""How many channels: 1 (`L`), 3 (`RGB`), or 1 where every image is grey and 3 elsewhere (`auto`)."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # only these: Pillow would run Ghostscript on an EPS
MAX_PIXELS = 2**26  # 8192 x 8192, below the limit at which Pillow itself begins to warn

_STORED = {
    "1": "1-bit",
    **dict.fromkeys(("L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"), "grey"),
    **dict.fromkeys(("P", "PA"), "palette"),
    **dict.fromkeys(("RGB", "RGBA", "RGBa", "RGBX"), "RGB"),
    **{mode: mode for mode in ("CMYK", "YCbCr", "HSV")},
}

# What Pillow's decoders are known to raise on broken bytes.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Picture(NamedTuple):
    """One decoded image.

    Attributes:
        pixels: `(C, H, W)` uint8; C is 1 where the three channels would be equal.
        stored: what the file held: "grey", "1-bit", "palette", "RGB", "CMYK", "YCbCr" or "HSV".
        changes: what else was done to it, as in "turned upright".
    """

    pixels: Tensor
    stored: str
    changes: tuple[str, ...]


def decode(image: Image.Image, *, size: tuple[int, int] | None = None) -> Picture:
    """Return an opened Pillow image as 8-bit grey or RGB, upright, without transparency.

    The first frame is taken; 16 bits are scaled to 8; what is transparent is laid on white. Where a size is given, the
    shorter side is resized to it (bicubic, antialiased) and the middle cut out.

    Args:
        image: of any of Pillow's modes but LAB.
        size: `(H, W)`; None keeps the image's own.

    Raises:
        ValueError: where the mode is unknown, or values of a 32-bit grey image are not in the range of 16 bits
            (integers) or [0, 1] (floats).

    Example:
        >>> decode(Image.new("RGBA", (3, 2), (255, 0, 0, 0)))
        Picture(pixels=tensor([[[255, 255, 255],
                 [255, 255, 255]]], dtype=torch.uint8), stored='RGB', changes=('flattened onto white',))
    """
    if image.mode not in _STORED:
        raise ValueError(f"expected a grey, palette, RGB or CMYK image, got mode {image.mode}")
    stored, changes = _STORED[image.mode], []
    if getattr(image, "is_animated", False):
        changes.append("cut to the first frame")
    # Pillow drops the low bytes of 16-bit colour by itself; only the decoder's raw mode tells.
    if image.mode[0] in "IF" or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        changes.append("scaled to 8 bits")
    if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        changes.append("turned upright")
    image = _scale_to_bytes(image) if image.mode[0] in "IF" else image
    if image.mode[-1] in "Aa" or "transparency" in image.info:
        image, transparent = _flatten(image)
        changes += ["flattened onto white"] if transparent else []
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if size is not None and image.size != size[::-1]:
        image = ImageOps.fit(image, size[::-1], method=Image.Resampling.BICUBIC)
        changes.append(f"resized to {size[0]} x {size[1]}")
    array = np.asarray(image)
    if array.ndim == 3 and (array == array[..., :1]).all():
        array = array[..., 0]
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return Picture(torch.from_numpy(np.array(planes, order="C")), stored, tuple(changes))


def read(
    content: Path | bytes, *, name: str, size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Return a file or its bytes decoded; the content decides what format it is, not the name.

    Args:
        content: a path, or a whole file's bytes.
        name: what an error calls it.
        size: as for `decode`.
        max_pixels: the most that are decoded, at most `MAX_PIXELS`.

    Raises:
        ValueError: where it is no image of `FORMATS`, is broken or has more than `max_pixels`: one line with the name.

    Example:
        >>> read(b"<html>", name="cat.png")
        Traceback (most recent call last):
        ValueError: expected an image in 'cat.png', got no PNG, JPEG, WEBP, BMP, GIF, TIFF
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters is whether pixels come out
            with Image.open(BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS) as image:
                _check_claims(image, min(max_pixels, MAX_PIXELS))
                return decode(image, size=size)
    except UnidentifiedImageError:
        raise ValueError(f"expected an image in {name!r}, got no {', '.join(FORMATS)}") from None
    except _BROKEN as error:
        raise ValueError(f"expected an image in {name!r}, got {reason(error)}") from error


def stack(pictures: Sequence[Picture], *, mode: Mode = "auto") -> tuple[Tensor, tuple[str, ...]]:
    """Return pictures of one size as one tensor, and notes of what was converted.

    Args:
        pictures: at least one.
        mode: "L", "RGB", or "auto": L where every picture is grey, that is has three equal channels.

    Returns:
        `(N, C, H, W)` uint8, and sentences such as "37 of 200 images converted from palette to RGB".

    Raises:
        ValueError: where the sizes differ.

    Example:
        >>> grey = decode(Image.new("L", (2, 2), 7))
        >>> red = decode(Image.new("P", (2, 2), 0))
        >>> stack([grey, red], mode="RGB")[1]
        ('1 of 2 images converted from grey to RGB', '1 of 2 images converted from palette to RGB')
    """
    sizes = Counter(tuple(picture.pixels.shape[1:]) for picture in pictures)
    if len(sizes) > 1:
        (height, width), count = sizes.most_common(1)[0]
        often = f"{height} x {width} in {count} of {len(pictures)}"
        raise ValueError(f"expected images of one size, got {len(sizes)} sizes, most often {often}: pass size=")
    if mode == "auto":
        mode = "L" if all(len(picture.pixels) == 1 for picture in pictures) else "RGB"
    counts = Counter(change for picture in pictures for change in changes_to(picture, mode=mode))
    notes = tuple(f"{count} of {len(pictures)} images {change}" for change, count in sorted(counts.items()))
    return torch.stack([to_mode(picture.pixels, mode) for picture in pictures]), notes


def changes_to(picture: Picture, *, mode: Literal["L", "RGB"]) -> tuple[str, ...]:
    """Return all that is done to a picture that ends as grey (`L`) or RGB, the change of mode first.

    Example:
        >>> changes_to(decode(Image.new("CMYK", (2, 2))), mode="L")
        ('converted from CMYK to grey',)
    """
    final = "grey" if mode == "L" else "RGB"
    converted = () if picture.stored == final else (f"converted from {picture.stored} to {final}",)
    return (*converted, *picture.changes)


def to_mode(pixels: Tensor, mode: Literal["L", "RGB"]) -> Tensor:
    """Return `(1 or 3, H, W)` bytes with the mode's channels; colour becomes grey by the luma of ITU-R BT.601.

    Example:
        >>> to_mode(torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1), "L")
        tensor([[[76]]], dtype=torch.uint8)
    """
    match mode:
        case "RGB":
            return pixels.expand(3, -1, -1)
        case "L":
            return pixels if len(pixels) == 1 else luma(pixels.double()).round().to(torch.uint8)
        case _:
            assert_never(mode)


def luma(colours: Tensor) -> Tensor:
    """Return the grey of `(3, H, W)` floats, `(1, H, W)`: 0.299 R + 0.587 G + 0.114 B, the luma of ITU-R BT.601.

    Example:
        >>> luma(torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1))
        tensor([[[0.5925]]])
    """
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=colours.dtype).view(3, 1, 1)
    return (colours * weights).sum(0, keepdim=True)


def reason(error: BaseException) -> str:
    """Return why, on one line: the message, or the error's kind where there is none.

    Example:
        >>> reason(ValueError("two lines"))
        'two lines'
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _check_claims(image: Image.Image, max_pixels: int) -> None:
    """Refuse, before any pixel is decoded, a size too large, and one that a TIFF's strips do not fill.

    Pillow notices every other kind of missing data by itself, but leaves black what no strip covers.
    """
    area = image.width * image.height
    if area > max_pixels:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {max_pixels}")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        strips = (extent or (0, 0, *image.size) for _, extent, *_ in image.tile)
        if sum((right - left) * (bottom - top) for left, top, right, bottom in strips) < area:
            raise ValueError(f"strips of fewer than {image.width} x {image.height} pixels")


def _scale_to_bytes(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    top = 1 if image.mode == "F" else 2**16 - 1
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):
        raise ValueError(f"expected grey values from 0 to {top} in an image of mode {image.mode}, got {low} to {high}")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return the image laid on white, and whether any of it was transparent."""
    straight = image.convert("LA") if image.mode == "La" else image
    colours = straight.convert("RGBA")
    opacity = colours.getchannel("A").getextrema()
    white = Image.new("RGBA", colours.size, "white")
    return Image.alpha_composite(white, colours).convert("RGB"), opacity != (255, 255)
