"""A GIF of surfaces, with one palette for all its frames."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from genat.simulations import panels

_HEAT, _MISSING, _RAMP = 239, 239, 240  # of 256 colours: the map's, then a grey, then sixteen from black to white
_HEAD = 20  # pixels above a surface, for its label
_DURATION, _LAST = 120, 2500  # milliseconds


def gif(surfaces: Tensor, labels: Sequence[str], *, side: int) -> bytes:
    r"""Return an endless animation of :math:`\sigma(logit)`, a label above each surface.

    All surfaces share one scale, whose end is the greatest value among them; the last one stays for a while.

    Args:
        surfaces: `(T, R^2)` logits on a lattice of R cells a side, T at least 1.
        labels: T of them.
        side: of a surface in the picture, in pixels, at least 1.

    Returns:
        A GIF, `side` pixels wide and 20 more high.

    Raises:
        ValueError: where the side is below 1.

    Example:
        >>> gif(torch.zeros(2, 9), ["0", "1"], side=40)[:6]
        b'GIF89a'
    """
    if side < 1:
        raise ValueError(f"expected side to be at least 1, got {side}")
    from PIL import Image

    top = panels.brightest(surfaces)
    colors = panels.heat()(np.linspace(0, 1, _HEAT), bytes=True)[:, :3]
    grey = [int(panels.MISSING[i : i + 2], 16) for i in (1, 3, 5)]
    ramp = np.linspace(0, 255, 256 - _RAMP).round().astype(np.uint8)[:, None].repeat(3, axis=1)
    palette = np.concatenate([colors, np.array([grey], dtype=np.uint8), ramp]).tobytes()
    frames = []
    for logits, label in zip(surfaces, labels, strict=True):
        body = torch.cat([_head(label, side), _body(logits, side, top)])
        frame = Image.frombytes("P", (side, side + _HEAD), body.numpy().tobytes())
        frame.putpalette(palette)
        frames.append(frame)
    durations = [_DURATION] * (len(frames) - 1) + [_LAST]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    return out.getvalue()


def _body(logits: Tensor, side: int, top: float) -> Tensor:
    """Return the places in the palette of a surface's pixels, `(side, side)` uint8, the first row at the top."""
    resolution = round(len(logits) ** 0.5)
    values = logits.detach().cpu().double().sigmoid().view(1, 1, resolution, resolution)
    mode = "area" if resolution > side else "bilinear"
    values = interpolate(values, size=(side, side), mode=mode)[0, 0].flip(0)
    places = (values / top * (_HEAT - 1)).round()
    return places.nan_to_num(_MISSING).to(torch.uint8)


def _head(label: str, side: int) -> Tensor:
    """Return the places in the palette of a label, `(20, side)` uint8."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (side, _HEAD))
    ImageDraw.Draw(picture).text((side / 2, _HEAD / 2), label, fill=255, anchor="mm")
    return _RAMP + torch.from_numpy(np.asarray(picture).copy()) // 16
