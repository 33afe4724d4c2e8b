"""Pictures: image grids as they are, and charts. Every function returns a PNG's bytes and leaves no global state."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSIDE, OUTSIDE = "#1b7837", ("#762a83", "#d95f02", "#2166ac", "#b2182b", "#8c6d31", "#555555")
_GAP, _BACKGROUND = 2, 255
_SMOOTHING = 100


def grid(images: Tensor, *, columns: int | None = None, side: int = 64) -> bytes:
    """Return images side by side, row by row.

    Args:
        images: `(N, C, H, W)` in [0, 1], C = 1 or 3.
        columns: images a row; None makes the grid square.
        side: smallest height of an image in the picture, in pixels; small images are enlarged a whole number of
            times, pixel by pixel, so that nothing is smoothed over.

    Returns:
        A PNG.

    Raises:
        ValueError: where there are no images or the shape is another.

    Example:
        >>> grid(torch.rand(4, 1, 8, 8))[1:4]
        b'PNG'
    """
    if images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images (N, C, H, W) with N >= 1 and C = 1 or 3, got {tuple(images.shape)}")
    from PIL import Image

    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    scale = max(1, math.ceil(side / images.shape[2]))
    tiles = eight_bit(images).expand(-1, 3, -1, -1)
    tiles = tiles.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    height, width = tiles.shape[2] + _GAP, tiles.shape[3] + _GAP
    canvas = torch.full((3, rows * height + _GAP, columns * width + _GAP), _BACKGROUND, dtype=torch.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height + _GAP, i % columns * width + _GAP
        canvas[:, top : top + height - _GAP, left : left + width - _GAP] = tile
    out = io.BytesIO()
    Image.fromarray(canvas.permute(1, 2, 0).numpy()).save(out, format="PNG")
    return out.getvalue()


def eight_bit(images: Tensor) -> Tensor:
    """Return pixels in [0, 1] as the bytes that a picture file holds, on the CPU; what lies outside is clipped.

    Example:
        >>> eight_bit(torch.tensor([0.0, 0.5, 2.0]))
        tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return (images.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def single(image: Tensor) -> bytes:
    """Return one image `(C, H, W)` in [0, 1] as it is, a pixel for a pixel.

    Example:
        >>> single(torch.rand(1, 8, 8))[1:4]
        b'PNG'
    """
    from PIL import Image

    pixels = eight_bit(image).permute(1, 2, 0).numpy()
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, format="PNG")
    return out.getvalue()


def trajectories(trajectory: Tensor, *, rows: int = 8, columns: int = 9, side: int = 64) -> bytes:
    """Return a grid with a sample a row: its start on the left, its end on the right, evenly spaced steps between.

    Args:
        trajectory: `(T, N, C, H, W)`.
        rows: samples to show, at most N.
        columns: moments to show, at most T.
        side: as for `grid`.

    Example:
        >>> trajectories(torch.rand(5, 2, 1, 8, 8))[1:4]
        b'PNG'
    """
    moments = torch.linspace(0, len(trajectory) - 1, min(columns, len(trajectory))).round().long()
    shown = trajectory[moments, :rows].transpose(0, 1)
    return grid(shown.flatten(0, 1), columns=len(moments), side=side)


def pairs(before: Tensor, after: Tensor, *, columns: int = 8, side: int = 64) -> bytes:
    """Return a grid of inputs with what became of each beneath it.

    Args:
        before, after: `(N, C, H, W)`.
        columns: pairs a row; the last row is filled up with white.
        side: as for `grid`.

    Example:
        >>> pairs(torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8))[1:4]
        b'PNG'
    """
    columns = max(1, min(columns, len(before)))
    white = before.new_ones(-len(before) % columns, *before.shape[1:])
    rows = torch.stack([torch.cat([x, white]).view(-1, columns, *x.shape[1:]) for x in (before, after)], dim=1)
    return grid(rows.flatten(0, 2), columns=columns, side=side)


def histogram(inside: Tensor, outside: Mapping[str, Tensor], *, threshold: float | None = None) -> bytes:
    """Return histograms of logits: the target's filled, each outside family's as a line.

    Args:
        inside: `(N,)` logits of target data.
        outside: `(M,)` logits by family.
        threshold: drawn as a vertical line; None draws none.

    Example:
        >>> histogram(torch.arange(9.0), {"noise": -torch.arange(9.0)}, threshold=0.0)[1:4]
        b'PNG'
    """
    figure, axes = _chart("logit", "density")
    values = [inside, *outside.values()]
    low = min(float(v.double().quantile(0.005)) for v in values)
    high = max(float(v.max()) for v in values)
    edges = torch.linspace(low, high + 1e-3, 61, dtype=torch.float64).tolist()
    axes.hist(inside.tolist(), bins=edges, density=True, color=INSIDE, alpha=0.5, label="target")
    for (name, logits), color in zip(outside.items(), _colors(len(outside)), strict=True):
        axes.hist(logits.tolist(), bins=edges, density=True, histtype="step", linewidth=1.4, color=color, label=name)
    if threshold is not None:
        axes.axvline(threshold, color="black", linewidth=1, linestyle=":", label="threshold")
    axes.set_yscale("symlog", linthresh=0.05)
    figure.legend(fontsize=8, frameon=False, loc="outside upper center", ncols=3)
    return _png(figure)


def roc(inside: Tensor, outside: Mapping[str, Tensor], *, title: str = "") -> bytes:
    """Return the ROC curves of target data against each outside family, the false positives on a logarithmic axis.

    Args:
        inside: `(N,)` logits of target data.
        outside: `(M,)` logits by family.
        title: above the chart.

    Example:
        >>> roc(torch.arange(9.0), {"noise": -torch.arange(9.0)})[1:4]
        b'PNG'
    """
    figure, axes = _chart("false positive rate: outside data accepted", "true positive rate")
    levels = inside.double().sort(descending=True).values
    hits = torch.arange(1, len(levels) + 1) / len(levels)
    for (name, logits), color in zip(outside.items(), _colors(len(outside)), strict=True):
        ordered = logits.double().sort().values
        false = (len(ordered) - torch.searchsorted(ordered, levels)) / len(ordered)
        floor = false.clamp_min(0.5 / len(ordered))  # a share of zero has no place on a logarithmic axis
        x, y = [*floor.tolist(), 1.0], [*hits.tolist(), 1.0]
        axes.plot(x, y, color=color, linewidth=1.4, label=name, drawstyle="steps-post")
    axes.set_xscale("log")
    axes.set_xlim(right=1)
    axes.set_ylim(0, 1.02)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return _png(figure)


def radii(at: Sequence[float], curves: Mapping[str, Sequence[float]], *, first: str, x: str = "radius") -> bytes:
    """Return AUROCs against the radius of the attacks, one curve a score, and the line of chance.

    Args:
        at: the radii, 0 for clean.
        curves: by name, as many values as there are radii.
        first: the curve that is drawn to stand out.
        x: what the radius is called.

    Example:
        >>> radii([0.0, 1.0], {"ours": [0.99, 0.9], "theirs": [0.95, 0.1]}, first="ours")[1:4]
        b'PNG'
    """
    figure, axes = _chart(x, "mean AUROC, worst case")
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    others = [name for name in curves if name != first]
    for i, (name, color) in enumerate(zip(others, _colors(len(others)), strict=True)):
        style = ("-", "--", "-.")[i // len(OUTSIDE) % 3]
        axes.plot(at, curves[name], color=color, linewidth=1.1, linestyle=style, marker=".", markersize=4, label=name)
    axes.plot(at, curves[first], color=INSIDE, linewidth=2.6, marker="o", markersize=4, label=first)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def trade_offs(found: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, first: str) -> bytes:
    """Return errors under attack against the accuracy on clean data that each threshold keeps, one curve a system.

    Args:
        found: accuracies and errors by system, a pair a threshold.
        first: the system that is drawn to stand out.

    Example:
        >>> trade_offs({"ours": ([0.9, 0.5], [0.3, 0.1]), "theirs": ([0.9, 0.5], [0.4, 0.2])}, first="ours")[1:4]
        b'PNG'
    """
    figure, axes = _chart("clean images accepted and right", "error under attack")
    others = [name for name in found if name != first]
    for name, color in zip(others, _colors(len(others)), strict=True):
        axes.plot(*found[name], color=color, linewidth=1.3, label=name)
    axes.plot(*found[first], color=INSIDE, linewidth=2.6, label=first)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def curves(records: Sequence[Mapping[str, float]]) -> bytes:
    """Return a training's curves: loss, adversarial AUROC, mean logits and ascent steps against iterations.

    Args:
        records: one a step, as `genat.runs.metrics` reads them; means over 100 steps are drawn.

    Raises:
        ValueError: where there are no records.

    Example:
        >>> step = dict(iteration=1, loss=0.7, auroc=0.5, inside=0.0, outside=0.0, steps=3)
        >>> curves([step, step | {"iteration": 2}])[1:4]
        b'PNG'
    """
    if not records:
        raise ValueError("expected at least one record, got none")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    at = [record["iteration"] for record in records]
    for axes, names, label in (
        (panels[0, 0], ("loss",), "loss"),
        (panels[0, 1], ("auroc",), "adversarial AUROC"),
        (panels[1, 0], ("inside", "outside"), "mean logit"),
        (panels[1, 1], ("steps",), "ascent steps"),
    ):
        for name, color in zip(names, (INSIDE, OUTSIDE[0]), strict=False):
            series = [record[name] for record in records]
            values = series if name == "steps" else _smooth(series)
            axes.plot(at[-len(values) :], values, color=color, linewidth=1.2, label=name)
        axes.set_ylabel(label)
        _clean(axes)
        if len(names) > 1:
            axes.legend(fontsize=8, frameon=False)
    for axes in panels[1]:
        axes.set_xlabel("iteration")
    return _png(figure)


def surface(logits: Tensor) -> bytes:
    r"""Return :math:`\sigma(f)` over the unit square in the colours of inferno, a pixel for a cell, 0.6 and above pale.

    Args:
        logits: `(R, R)`, rows from the bottom up.

    Example:
        >>> surface(torch.zeros(10, 10))[1:4]
        b'PNG'
    """
    import matplotlib as mpl

    shares = logits.detach().cpu().double().sigmoid().nan_to_num(0.0) / 0.6
    colors = torch.from_numpy(mpl.colormaps["inferno"](shares.clamp(0, 1).flip(0).numpy())[..., :3])
    return single(colors.permute(2, 0, 1))


def line(logits: Tensor) -> bytes:
    r"""Return :math:`\sigma(f)` over the unit interval as a curve.

    Args:
        logits: `(R,)`, at the middles of R cells.

    Example:
        >>> line(torch.zeros(10))[1:4]
        b'PNG'
    """
    figure, axes = _chart("x", "\u03c3(logit)")
    axes.plot(((torch.arange(len(logits)) + 0.5) / len(logits)).tolist(), logits.detach().cpu().sigmoid().tolist())
    axes.set_ylim(-0.02, 1.02)
    return _png(figure)


def evidence(image: Tensor, values: Tensor, *, title: str = "") -> bytes:
    """Return an image beside the map of what each place adds to the logit: green for the target, purple against it.

    The scale is symmetric, so that white is nothing, and ends at the 99.5th percentile of the sizes, so that one pixel
    does not take the colour from all others.

    Args:
        image: `(C, H, W)` in [0, 1], C = 1 or 3.
        values: `(H, W)`, as `genat.detection.evidence` returns them.
        title: above both.

    Raises:
        ValueError: where the shapes differ.

    Example:
        >>> evidence(torch.rand(1, 8, 8), torch.randn(8, 8))[1:4]
        b'PNG'
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3) or values.shape != image.shape[1:]:
        raise ValueError(
            f"expected an image (1 or 3, H, W) and values (H, W), got {tuple(image.shape)} and {tuple(values.shape)}"
        )
    from matplotlib.figure import Figure

    values = values.detach().cpu().double()
    most = float(values.abs().quantile(0.995)) or float(values.abs().max()) or 1.0
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(image.detach().cpu().clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
    shown = right.imshow(values.numpy(), cmap="PRGn", vmin=-most, vmax=most, interpolation="nearest")
    for axes in (left, right):
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=right, shrink=0.9, extend="both", label="adds to the logit, by pixel")
    bar.set_ticks([-most, 0, most], labels=[f"{-most:.2g}", "0", f"{most:.2g}"])
    bar.outline.set_visible(False)
    figure.suptitle(title, fontsize=10, parse_math=False)
    return _png(figure)


def _smooth(values: Sequence[float]) -> list[float]:
    width = min(_SMOOTHING, max(1, len(values) // 4))
    total = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    return ((total[width:] - total[:-width]) / width).tolist()


def _colors(n: int) -> list[str]:
    return [OUTSIDE[i % len(OUTSIDE)] for i in range(n)]


def _chart(x: str, y: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    _clean(axes)
    return figure, axes


def _clean(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
