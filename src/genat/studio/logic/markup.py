"""Pieces of HTML: pictures and curves with words for who does not see them, tables, and files to take along.

A file to take along is in the page itself, as a data address: nothing is written to the disk for it.
"""

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import torch
from torch import Tensor

from genat import plots

__all__ = ["address", "curve", "download", "escape", "figure", "image", "moving", "table"]

PNG, GIF, CSV, JSON, TEXT = "image/png", "image/gif", "text/csv", "application/json", "text/plain"
_WIDE, _HIGH, _LEFT, _BELOW, _ABOVE = 420, 220, 56, 30, 14  # of a curve, and of the room around it, in pixels
_GIF_SIDE, _GIF_FRAMES = 256, 64
_FRAME, _LAST = 80, 1600  # milliseconds


def address(content: bytes, kind: str) -> str:
    """Return a data address.

    Example:
        >>> address(b"a,b", CSV)
        'data:text/csv;base64,YSxi'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def image(png: bytes, words: str, *, side: int | None = None) -> str:
    """Return a PNG with words for it; with a side, its pixels are enlarged to squares.

    Example:
        >>> image(b"", 'a "7"', side=64)
        '<img src="data:image/png;base64," alt="a &quot;7&quot;" class="pixels" width="64">'
    """
    size = "" if side is None else f' class="pixels" width="{side}"'
    return f'<img src="{address(png, PNG)}" alt="{escape(words)}"{size}>'


def figure(content: str, caption: str) -> str:
    """Return a piece with a caption beneath it.

    Example:
        >>> figure("<img>", "a < b")
        '<figure><img><figcaption>a &lt; b</figcaption></figure>'
    """
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def download(content: bytes, kind: str, name: str, words: str) -> str:
    """Return a link that saves a file.

    Example:
        >>> download(b"{}", JSON, "climb.json", "Settings")
        '<a class="take" download="climb.json" href="data:application/json;base64,e30=">Settings</a>'
    """
    return f'<a class="take" download="{escape(name)}" href="{address(content, kind)}">{escape(words)}</a>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str) -> str:
    """Return a table of plain cells, the first of a row its heading.

    Example:
        >>> table(["run"], [["a&b"]], caption="Runs")[-70:]
        'r></thead><tbody><tr><th scope="row">a&amp;b</th></tr></tbody></table>'
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def curve(logits: Sequence[float], *, steps: int, at: int, threshold: float | None = None) -> str:
    """Return the logit against the steps as a drawing, the step that is shown marked by a disc.

    Args:
        logits: of the points so far, from the start on; at least one.
        steps: of the whole climb, the width of the drawing.
        at: the step that is shown.
        threshold: drawn as a dashed line; None draws none.

    Example:
        >>> 'aria-label="logit by step, -1.00 at the start, 2.00 at step 1"' in curve([-1.0, 2.0], steps=4, at=1)
        True
    """
    finite = [value for value in (*logits, threshold) if value is not None and math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = 0.06 * (high - low) or 1.0
    low, high = low - room, high + room
    across, up = (_WIDE - _LEFT - 14) / max(steps, 1), (_HIGH - _BELOW - _ABOVE) / (high - low)

    def place(step: int, value: float) -> tuple[float, float]:
        return _LEFT + step * across, _ABOVE + (high - value) * up

    known = [(step, value) for step, value in enumerate(logits) if math.isfinite(value)]
    points = " ".join("{:.1f},{:.1f}".format(*place(step, value)) for step, value in known)
    parts = [f'<polyline class="line" points="{points}"/>']
    if threshold is not None:
        _, y = place(0, threshold)
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDE - 14}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT + 5}" y="{y - 4:.1f}">threshold</text>')
    if math.isfinite(logits[at]):
        parts.append('<circle class="here" cx="{:.1f}" cy="{:.1f}" r="4.5"/>'.format(*place(at, logits[at])))
    for value in (low + room, high - room):
        _, y = place(0, value)
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    bottom = _HIGH - _BELOW
    parts.append(f'<path class="axis" d="M{_LEFT} {_ABOVE}V{bottom}H{_WIDE - 14}"/>')
    parts += [
        f'<text x="{_LEFT + step * across:.1f}" y="{bottom + 16}" text-anchor="middle">{step}</text>'
        for step in sorted({0, steps})
    ]
    parts.append(f'<text x="{(_LEFT + _WIDE) / 2}" y="{_HIGH - 4}" text-anchor="middle">step</text>')
    parts.append(
        f'<text x="12" y="{_HIGH / 2}" transform="rotate(-90 12 {_HIGH / 2})" text-anchor="middle">logit</text>'
    )
    words = f"logit by step, {logits[0]:.2f} at the start, {logits[-1]:.2f} at step {len(logits) - 1}"
    return f'<svg class="curve" viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def moving(images: Tensor) -> bytes:
    """Return pictures as an endless GIF, at most 64 of them, evenly chosen; the last one stays for a while.

    Args:
        images: `(T, C, H, W)` in [0, 1], T at least 1, C = 1 or 3; small ones are enlarged, pixel by pixel.

    Example:
        >>> moving(torch.rand(3, 1, 8, 8))[:6]
        b'GIF89a'
    """
    from PIL import Image

    chosen = torch.linspace(0, len(images) - 1, min(len(images), _GIF_FRAMES)).round().long()
    scale = max(1, _GIF_SIDE // max(images.shape[2:]))
    frames = []
    for one in images[chosen]:
        with Image.open(io.BytesIO(plots.single(one))) as small:
            large = small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)
        frames.append(large if large.mode == "L" else large.quantize(256, dither=Image.Dither.NONE))
    durations = [_FRAME] * (len(frames) - 1) + [_LAST]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return out.getvalue()
