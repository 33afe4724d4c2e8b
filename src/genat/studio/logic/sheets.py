"""The sheet of pixels that a climb begins from: a picture, drawn on or not, and a mask."""

import base64
import binascii
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from genat import generation, plots
from genat.sources import Noise, Source, fit_image
from genat.studio.logic.opened import Opened

Kind = Literal["outside", "noise"]
MAX_SEED = 2**53
_MAX_PIXELS = 2**24  # of an uploaded picture, before it is resized


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A picture and which of its pixels may move.

    Attributes:
        pixels: `(C, H, W)` uint8.
        mask: `(H, W)` bool; where none is marked, all may move.
        origin: what it was drawn from, and the seed; None for any other picture.
    """

    pixels: Tensor
    mask: Tensor
    origin: tuple[Kind, int] | None = None

    def dump(self) -> str:
        """Return the sheet as the page's canvas takes it, JSON."""
        return json.dumps(
            {
                "shape": list(self.pixels.shape),
                "pixels": _text(self.pixels.permute(1, 2, 0)),
                "mask": _text(self.mask.to(torch.uint8)),
                "origin": self.origin,
            }
        )


def blank(shape: tuple[int, ...]) -> Sheet:
    """Return a black sheet for images `(C, H, W)`.

    Example:
        >>> blank((1, 2, 2)).dump()
        '{"shape": [1, 2, 2], "pixels": "AAAAAA==", "mask": "AAAAAA==", "origin": null}'
    """
    return Sheet(torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape[1:], dtype=torch.bool))


def drawn(opened: Opened, kind: Kind, seed: float | None) -> Sheet:
    """Return what a seed draws: a sample of the run's outside data, or uniform noise.

    Raises:
        ValueError: where the seed is out of range, or the data is not on this machine.
    """
    start = draw(opened, kind, check_seed(seed))
    return Sheet(plots.eight_bit(start[0]), torch.zeros(start.shape[2:], dtype=torch.bool), (kind, int(seed or 0)))


def uploaded(path: str | Path, opened: Opened) -> tuple[Sheet, tuple[str, ...]]:
    """Return an image file as a sheet, and what was converted.

    Raises:
        ValueError: where it cannot be read: one line that calls it by its name.
    """
    name = Path(path).name
    pixels, notes = fit_image(Path(path), name=name, shape=opened.run.shape, max_pixels=_MAX_PIXELS)
    return Sheet(pixels, torch.zeros(pixels.shape[1:], dtype=torch.bool)), notes


def read(text: str | None, shape: tuple[int, ...]) -> Sheet:
    """Return the sheet that a canvas holds.

    Raises:
        ValueError: where the text is none, or the sheet is of another shape than the run's images.

    Example:
        >>> read("{}", (1, 2, 2))
        Traceback (most recent call last):
        ValueError: expected a sheet of pixels, got something else
    """
    try:
        content = json.loads(text or "")
        size = tuple(content["shape"])
        pixels = _read(content["pixels"], (*size[1:], size[0])).permute(2, 0, 1)
        mask = _read(content["mask"], size[1:]).bool()
        origin: tuple[Kind, int] | None = None
        if content["origin"] is not None:
            kind, seed = content["origin"]
            origin = ("outside" if kind == "outside" else "noise"), check_seed(seed)
    except (ValueError, KeyError, TypeError, RuntimeError, binascii.Error):
        raise ValueError("expected a sheet of pixels, got something else") from None
    if size != shape:
        raise ValueError(f"expected a sheet of {_sides(shape)} pixels, got one of {_sides(size)}: load a picture again")
    return Sheet(pixels, mask, origin)


def start(sheet: Sheet, opened: Opened) -> Tensor:
    """Return where a climb from a sheet begins, `(1, C, H, W)`: what its seed draws to the bit, or its pixels."""
    if sheet.origin is not None:
        return draw(opened, *sheet.origin)
    return sheet.pixels[None].float() / 255


def draw(opened: Opened, kind: Kind, seed: int) -> Tensor:
    """Return what a seed draws, `(1, C, H, W)`.

    Raises:
        ValueError: where outside data is asked for that is not on this machine.
    """
    source: Source | None = Noise(opened.run.shape) if kind == "noise" else opened.starts
    if source is None:
        raise ValueError(f"expected outside data to draw from, got none: {opened.missing}")
    return generation.draw_starts(source, seeds=[seed])


def check_seed(seed: float | None) -> int:
    """Return a seed as a whole number.

    Raises:
        ValueError: where it is none of 0 to 2**53 - 1.

    Example:
        >>> check_seed(2.5)
        Traceback (most recent call last):
        ValueError: expected a seed, a whole number from 0 on, got 2.5
    """
    if seed is None or not (math.isfinite(seed) and 0 <= seed < MAX_SEED and float(seed).is_integer()):
        raise ValueError(f"expected a seed, a whole number from 0 on, got {'nothing' if seed is None else seed}")
    return int(seed)


def _text(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode("ascii")


def _read(text: str, shape: tuple[int, ...]) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text, validate=True)), dtype=torch.uint8).reshape(shape)


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
