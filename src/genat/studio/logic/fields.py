"""Pictures of a training in two dimensions, quick enough to be drawn while it goes on."""

import io
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genat.evaluation.points import lattice
from genat.simulations import panels
from genat.sources.toy import Toy

SIDE = 400  # of a picture, in pixels
_CELLS = 200
_ROOM = 0.1  # around the target, in units of the box
_SIZE = 3  # of a point: half its width, in pixels

Pixels = NDArray[np.uint8]
Cell = TypeVar("Cell", bound=np.generic)


def painter(toy: Toy) -> tuple[Callable[[Tensor], bytes], Callable[[Tensor], bytes]]:
    r"""Return what draws the field of a logit, and what draws generated points.

    The field is :math:`\sigma(f)` over the unit box, black at 0 and yellow at its greatest value, grey where it is no
    number, with a line around where the target is, white within and black without. Points lie on grey where the target
    is: blue discs there, red crosses elsewhere.

    Args:
        toy: what is learned, in two dimensions.

    Returns:
        A PNG's bytes of logits `(200^2,)` on the lattice, and of points `(n, 2)`.

    Example:
        >>> from genat.sources.toy import grid
        >>> field, points = painter(grid())
        >>> field(torch.zeros(200**2))[1:4], points(torch.rand(5, 2))[1:4]
        (b'PNG', b'PNG')
    """
    low, high = float(toy.target.min()) - _ROOM, float(toy.target.max()) + _ROOM
    cells = lattice(_CELLS)
    around, near = (
        _enlarged(panels.aim(toy, at).view(_CELLS, _CELLS).numpy()) for at in (cells, low + (high - low) * cells)
    )
    border = around & ~_shrunk(around), ~around & ~_shrunk(~around)
    ground = np.where(near[..., None], _rgb(panels.GROUND), np.uint8(255)).astype(np.uint8)
    return partial(_field, border=border), partial(_points, toy=toy, ground=ground, low=low, high=high)


def _field(logits: Tensor, *, border: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> bytes:
    values = logits.detach().cpu().double().sigmoid().view(_CELLS, _CELLS).numpy() / panels.brightest([logits])
    colors = panels.heat()(np.ma.masked_invalid(_enlarged(values)), bytes=True)[..., :3]
    for line, shade in zip(border, (255, 0), strict=True):
        colors[line] = shade
    return _png(colors)


def _points(points: Tensor, *, toy: Toy, ground: Pixels, low: float, high: float) -> bytes:
    picture = ground.copy()
    points = points[torch.isfinite(points).all(dim=1)].cpu()
    places = ((points - low) / (high - low) * SIDE).long().clamp(_SIZE, SIDE - 1 - _SIZE).tolist()
    reach = np.arange(-_SIZE, _SIZE + 1)
    down, right = np.meshgrid(reach, reach, indexing="ij")
    disc, cross = down**2 + right**2 <= 6, np.abs(down) == np.abs(right)
    for (x, y), good in zip(places, panels.aim(toy, points).tolist(), strict=True):
        part = picture[y - _SIZE : y + _SIZE + 1, x - _SIZE : x + _SIZE + 1]
        part[disc if good else cross] = _rgb(panels.TARGET if good else panels.OUTSIDE)
    return _png(picture)


def _enlarged(cells: NDArray[Cell]) -> NDArray[Cell]:
    return cells.repeat(SIDE // _CELLS, 0).repeat(SIDE // _CELLS, 1)


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask without the pixels at its border."""
    wide = np.pad(mask, 1)
    inner: NDArray[np.bool_] = mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inner


def _rgb(color: str) -> Pixels:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.uint8)


def _png(rows: Pixels) -> bytes:
    """Return pixels as a PNG, the first row, which is the lowest, at the bottom."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rows[::-1])).save(out, format="PNG")
    return out.getvalue()
