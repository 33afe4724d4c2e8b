"""Which pixels may move: from an image file, or a rectangle."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from genat.sources import decoding

_WHITE = 128  # of 255, and up


def load_mask(path: str | Path, *, shape: tuple[int, ...]) -> Tensor:
    """Return an image file as a mask: white may move, black and what is transparent may not.

    Any mode is read: colours by their luma, half of white and above counting as white. The size must be the detector's
    own, since a mask that was resized would say something else.

    Args:
        path: an image file of the formats that `genat.sources.load_image` reads.
        shape: `(C, H, W)` of the images to be masked.

    Returns:
        `(1, H, W)` bool.

    Raises:
        ValueError: where the file is no image, has another size, or nothing in it is white: one line with its name.

    Example:
        >>> load_mask("missing.png", shape=(1, 8, 8))
        Traceback (most recent call last):
        ValueError: expected an image in 'missing.png', got No such file or directory
    """
    picture = decoding.read(Path(path), name=str(path))
    height, width = picture.pixels.shape[1:]
    if (height, width) != shape[1:]:
        raise ValueError(f"expected a mask of {shape[1]} x {shape[2]} in {str(path)!r}, got {height} x {width}")
    mask = (decoding.to_mode(picture.pixels, "L") >= _WHITE) & _opaque(Path(path))
    if not mask.any():
        raise ValueError(f"expected some white in {str(path)!r}, where pixels may move, got none")
    return mask


def box_mask(corners: tuple[int, int, int, int], *, shape: tuple[int, ...]) -> Tensor:
    """Return the mask of a rectangle of pixels.

    Args:
        corners: `(x0, y0, x1, y1)`: columns x0 to x1 and rows y0 to y1, the last ones not among them.
        shape: `(C, H, W)` of the images to be masked.

    Returns:
        `(1, H, W)` bool.

    Raises:
        ValueError: where the rectangle is empty or leaves the image.

    Example:
        >>> box_mask((1, 0, 3, 1), shape=(1, 2, 3)).int()
        tensor([[[0, 1, 1], [0, 0, 0]]], dtype=torch.int32)
    """
    left, top, right, bottom = corners
    _, height, width = shape
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"expected a box x0,y0,x1,y1 inside {width} x {height} pixels, got {left},{top},{right},{bottom}"
        )
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top:bottom, left:right] = True
    return mask


def _opaque(path: Path) -> Tensor:
    """Return which pixels of a readable image file show, `(1, H, W)` bool; a decoded one has lost its transparency."""
    import numpy as np
    from PIL import Image, ImageOps

    with warnings.catch_warnings(), Image.open(path, formats=decoding.FORMATS) as image:
        warnings.simplefilter("ignore")  # of odd metadata, as where the pixels are read
        upright = ImageOps.exif_transpose(image)
        deep = upright.mode[0] in "IF"  # which Pillow gives no transparency
        if deep or not (upright.mode[-1] in "Aa" or "transparency" in upright.info):
            return torch.ones(1, upright.height, upright.width, dtype=torch.bool)
        straight = upright.convert("LA") if upright.mode == "La" else upright
        return torch.from_numpy(np.array(straight.convert("RGBA").getchannel("A")) >= _WHITE)[None]
