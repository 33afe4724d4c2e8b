"""What one pair of axes shows in the pictures of the simulations, and the sheet that axes lie on.

Nothing here touches matplotlib's global state: a sheet is a `Figure` of its own, and type has its size by argument.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genat.evaluation.points import lattice
from genat.simulations.outcome import Outcome
from genat.sources.toy import Toy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

TARGET, OUTSIDE = "#2166ac", "#b2182b"  # a blue and a red that every eye tells apart
ASCENT = "#5ef0ff"  # the hue that inferno leaves out
INK, FAINT, MISSING, GROUND = "#222222", "#8c8c8c", "#b8b8b8", "#d9d9d9"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333")  # Okabe and Ito's
FADING = ("#b9c7d8", "#86a3c3", "#4f7fb0", "#08306b")  # from early to late
TITLE, LABEL, TICK = 10, 9, 8  # sizes of type, in points

_DPI = 110
_SHOWN = 2000  # points; more only cover each other
_OUTLINE = 400  # cells a side of the support's picture
_BINS = 100
_LIMITS = 1e-2, 1e2  # of a ratio's axis: one wild seed does not flatten the others


def sheet(
    rows: int, columns: int, *, width: float, height: float, ratios: Sequence[float] | None = None
) -> "tuple[Figure, NDArray[Any]]":
    """Return a figure of so many inches and its axes `(rows, columns)`, the columns as wide as the ratios say."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=ratios)


def png(figure: "Figure", *, colors: int | None = None) -> bytes:
    """Return a figure as a PNG, with a palette of so many colours where it is to be small; None keeps them all."""
    from PIL import Image

    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    if colors is None:
        return out.getvalue()
    small = io.BytesIO()
    with Image.open(out) as picture:
        picture.convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(small, "PNG")
    return small.getvalue()


def evenly(n: int, count: int) -> Tensor:
    """Return at most `count` of n places, evenly chosen, the first and the last among them.

    Example:
        >>> evenly(10, 4), evenly(3, 4)
        (tensor([0, 3, 6, 9]), tensor([0, 1, 2]))
    """
    return torch.linspace(0, n - 1, min(n, count)).round().long()


def line_color(index: int) -> str:
    """Return the colour of the i-th line.

    Example:
        >>> line_color(7) == line_color(0) == LINES[0]
        True
    """
    return LINES[index % len(LINES)]


def caption(axes: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Write what is given beside axes and leave what else is there."""
    for text, write, size in (
        (x, axes.set_xlabel, LABEL),
        (y, axes.set_ylabel, LABEL),
        (title, axes.set_title, TITLE),
    ):
        if text:
            write(text, fontsize=size, color=INK)


def chart(axes: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Give axes their captions and take from them what no reader needs."""
    caption(axes, x=x, y=y, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(which="both", labelsize=TICK, color=FAINT, labelcolor=INK)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def square(axes: "Axes", *, low: float = 0.0, high: float = 1.0, ticks: bool = True) -> None:
    """Make axes a square of the plane, from `low` to `high` in both coordinates."""
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    at = [low, (low + high) / 2, high] if ticks else []
    axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.set_yticks(at, [f"{value:g}" for value in at])
    axes.tick_params(labelsize=TICK, color=FAINT, labelcolor=INK, length=2.5)
    for spine in axes.spines.values():
        spine.set(color=FAINT, linewidth=0.8)


def blank(axes: "Axes") -> None:
    """Leave the place of axes empty but for their captions."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def note(axes: "Axes", text: str) -> None:
    """Write a word into the middle of axes."""
    ground = {"facecolor": "white", "linewidth": 0, "pad": 3}
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=LABEL, color=INK, bbox=ground
    )


def scatter(axes: "Axes", points: Tensor, *, color: str, size: float = 3.0, clip: bool = True) -> None:
    """Draw the finite ones of points `(N, 2)`, at most two thousand of them, evenly chosen."""
    points = points[torch.isfinite(points).all(dim=1)].cpu()
    chosen = points[evenly(len(points), _SHOWN)].numpy()
    axes.scatter(chosen[:, 0], chosen[:, 1], s=size, color=color, linewidths=0, clip_on=clip, zorder=3)


def surface(axes: "Axes", logits: Tensor, *, top: float) -> "AxesImage":
    """Draw the sigmoid of a lattice's logits `(R ** 2,)` over the unit square, from black at 0 to yellow at `top`."""
    resolution = round(len(logits) ** 0.5)
    values = logits.detach().cpu().double().sigmoid().view(resolution, resolution).numpy()
    image = axes.imshow(values, origin="lower", extent=(0, 1, 0, 1), cmap=heat(), vmin=0, vmax=top)
    square(axes)
    if not torch.isfinite(logits).any():
        note(axes, "diverged")
    return image


def heat() -> "Colormap":
    """Return the colour map of all surfaces, grey where a logit is no number."""
    from matplotlib import colormaps

    return colormaps["inferno"].with_extremes(bad=MISSING)


def brightest(logits: Iterable[Tensor]) -> float:
    """Return the greatest sigmoid of the finite logits, 1 where there are none: the end of a figure's one scale.

    Example:
        >>> brightest([torch.tensor([0.0, -3.0]), torch.tensor([float("nan")])])
        0.5
    """
    finite = torch.cat([part[torch.isfinite(part)].double() for part in logits])
    return float(finite.max().sigmoid()) if len(finite) else 1.0


def scale(axes: "Axes", image: "AxesImage", *, top: float) -> None:
    """Draw the scale of a surface's colours beside axes, as high as they are."""
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.035, 1)), ticks=[0, top / 2, top])
    bar.ax.set_yticklabels(["0", f"{top / 2:.2g}", f"{top:.2g}"])
    bar.ax.tick_params(labelsize=TICK, color=FAINT, labelcolor=INK, length=2.5)
    bar.outline.set_visible(False)


def aim(toy: Toy, points: Tensor) -> Tensor:
    """Return which points are as good as the target's, `(N,)` bool.

    They lie within the toy's radius of a mode or, where the law has no modes, in its support.

    Example:
        >>> from genat.sources.toy import grid
        >>> aim(grid(), torch.tensor([[0.33, 0.33], [0.36, 0.36]]))  # at a mode, and between modes
        tensor([ True, False])
    """
    if toy.centers is None or toy.radius is None:
        return toy.inside(points)
    return torch.cdist(points, toy.centers.to(points)).amin(dim=1) <= toy.radius


def outline(axes: "Axes", toy: Toy) -> None:
    """Draw the border of where points are as good as the target's."""
    mask = aim(toy, lattice(_OUTLINE)).view(_OUTLINE, _OUTLINE).double().numpy()
    line = (np.arange(_OUTLINE) + 0.5) / _OUTLINE
    axes.contour(line, line, mask, levels=[0.5], colors="white", linewidths=0.7, alpha=0.7)


def paths(axes: "Axes", way: Tensor) -> None:
    """Draw where ascents went, `(K + 1, n, 2)`: from rings at the starts, ever brighter, to discs at the ends."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    points = way.detach().cpu().numpy()
    segments = np.stack([points[:-1], points[1:]], axis=2)  # (K, n, its two ends, 2)
    colors = np.empty((*segments.shape[:2], 4))
    colors[..., :3], colors[..., 3] = to_rgb(ASCENT), np.linspace(0.12, 0.95, len(segments))[:, None]
    lines = LineCollection(list(segments.reshape(-1, 2, 2)), colors=colors.reshape(-1, 4), linewidths=0.9, zorder=3)
    axes.add_collection(lines, autolim=False)
    starts, ends = points[0], points[-1]
    axes.scatter(
        starts[:, 0], starts[:, 1], s=11, facecolors="none", edgecolors=ASCENT, linewidths=0.7, alpha=0.6, zorder=4
    )
    axes.scatter(ends[:, 0], ends[:, 1], s=16, color="white", edgecolors="black", linewidths=0.7, zorder=5)


def setting(axes: "Axes", outcome: Outcome, *, top: float) -> None:
    """Draw the first seed's surface with the ends of its ascents, and the mean IoU of the seeds that have one."""
    surface(axes, outcome.logits[0], top=top)
    square(axes, ticks=False)
    scatter(axes, outcome.trajectory[-1:].flatten(0, 1), color=ASCENT)
    scores = [score for row in outcome.rows if (score := row.get("iou")) is not None]
    if scores:
        mean = float(torch.tensor(scores, dtype=torch.float64).mean())
        ground = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 2}
        axes.text(0.04, 0.05, f"IoU {mean:.2f}", fontsize=TICK, color="white", bbox=ground)


def generated(axes: "Axes", toy: Toy, points: Tensor) -> None:
    """Draw generated points `(n, 2)` around the positives: blue where they are as good, red elsewhere."""
    from matplotlib.colors import ListedColormap

    low, high = float(toy.target.min()) - 0.1, float(toy.target.max()) + 0.1
    mask = aim(toy, low + (high - low) * lattice(_OUTLINE)).view(_OUTLINE, _OUTLINE).numpy()
    axes.imshow(mask, origin="lower", extent=(low, high, low, high), cmap=ListedColormap(["white", GROUND]))
    square(axes, low=low, high=high, ticks=False)
    points = points[torch.isfinite(points).all(dim=1)].cpu()
    if len(points) == 0:
        note(axes, "diverged")
        return
    good = aim(toy, points)
    scatter(axes, points[~good].clamp(low, high), color=OUTSIDE, size=2.5, clip=False)
    scatter(axes, points[good], color=TARGET, size=2.5)


def area_lines(axes: "Axes", outcomes: Iterable[tuple[str, Outcome]], share: float | None) -> None:
    """Draw the share of cells in the half level set against iterations, a line and a band for each named outcome.

    The line is the mean over the seeds whose area is a number; the band runs from the least of them to the greatest. An
    area of zero is drawn at half a cell.
    """
    for index, (name, outcome) in enumerate(outcomes):
        color, at = line_color(index), outcome.moments.tolist()
        values = outcome.areas.detach().cpu().double()
        floor = 0.5 / outcome.logits.shape[-1]  # zero has no place on a logarithmic axis
        missing = values.isnan()
        gone = missing.all(dim=1)
        low = values.masked_fill(missing, torch.inf).amin(dim=1).masked_fill(gone, torch.nan)
        high = values.masked_fill(missing, -torch.inf).amax(dim=1).masked_fill(gone, torch.nan)
        low, mean, high = (line.clamp_min(floor) for line in (low, values.nanmean(dim=1), high))
        axes.fill_between(at, low.tolist(), high.tolist(), color=color, alpha=0.18, linewidth=0)
        axes.plot(at, mean.tolist(), color=color, linewidth=1.6, label=name)
    if share is not None:
        axes.axhline(share, color=INK, linewidth=1, linestyle=":")
        place = axes.get_yaxis_transform()
        axes.text(0.01, share, "support", transform=place, va="bottom", fontsize=TICK, color=INK)
    axes.set_yscale("log")
    _count_iterations(axes)


def crowd(axes: "Axes", toy: Toy) -> None:
    """Draw histograms of a toy's points on the line."""
    edges = np.linspace(0, 1, _BINS + 1).tolist()
    axes.hist(toy.target[:, 0].tolist(), bins=edges, histtype="stepfilled", color=TARGET, label="positives")
    axes.hist(toy.outside[:, 0].tolist(), bins=edges, histtype="stepfilled", color=OUTSIDE, label="outside")
    axes.legend(fontsize=TICK, frameon=False, loc="upper left", handlelength=1)
    axes.set_xlim(0, 1)
    chart(axes, x="x", y=f"points per {1 / _BINS:g}", title="data")


def sinking(axes: "Axes", outcome: Outcome, shown: Sequence[int], toy: Toy) -> None:
    """Draw the first seed's detector on the line at some of its moments, from pale to dark, over the support."""
    line = lattice(outcome.resolution, 1)
    support = toy.inside(line).tolist()
    x = line[:, 0].tolist()
    axes.fill_between(x, 0, 1, where=support, color=GROUND, linewidth=0, zorder=0)
    axes.axhline(0.5, color=INK, linewidth=1, linestyle=":")
    for moment, color in zip(shown, FADING[-len(shown) :], strict=True):
        values = outcome.surfaces[moment].detach().cpu().double().sigmoid().tolist()
        axes.plot(x, values, color=color, linewidth=1.4, label=f"{int(outcome.moments[moment]):,}")
    axes.legend(fontsize=TICK, frameon=False, loc="upper center", handlelength=1, ncols=2)
    axes.set(xlim=(0, 1), ylim=(0, 1.36))  # room for the legend
    axes.set_yticks([0, 0.5, 1])
    chart(axes, x="x", title="\u03c3(logit) by iteration")


def estimate(axes: "Axes", logits: Tensor, toy: Toy) -> None:
    """Draw the density that the logits of a lattice on the line stand for, over the true one."""
    line = lattice(len(logits), 1)
    x, truth = line[:, 0].tolist(), toy.density(line)
    guess = len(logits) * logits.detach().cpu().double().softmax(dim=0)
    axes.fill_between(x, 0, (len(logits) * truth / truth.sum()).tolist(), color=GROUND, linewidth=0, label="true")
    axes.plot(x, guess.tolist(), color=LINES[1], linewidth=1.4, label="exp(logit)")
    axes.legend(fontsize=TICK, frameon=False, loc="upper left", handlelength=1)
    axes.set_xlim(float(toy.target.min()) - 0.05, float(toy.target.max()) + 0.05)
    axes.set_ylim(bottom=0)
    chart(axes, x="x", title="density")


def ratios(axes: "Axes", records: Sequence[Mapping[str, Any]], toy: Toy) -> None:
    """Draw the seeds' ratios of the second peak to the first, from .01 to 100, with the true and the flat one."""
    from matplotlib.ticker import LogLocator, NullFormatter

    assert toy.centers is not None
    first, second = toy.density(toy.centers)[:2].tolist()
    at = [record["iteration"] for record in records]
    values = torch.tensor([record["ratio"] for record in records], dtype=torch.float64).clamp(*_LIMITS)
    for index, line in reversed(list(enumerate(values.T))):  # the first seed lies on top
        width, alpha = (1.6, 1.0) if index == 0 else (0.8, 0.45)
        axes.plot(at, line.tolist(), color=LINES[0], linewidth=width, alpha=alpha)
    place = axes.get_yaxis_transform()
    for value, text, style in ((second / first, "true", "--"), (1.0, "flat", ":")):
        axes.axhline(value, color=INK, linewidth=1, linestyle=style)
        axes.text(1.02, value, text, transform=place, va="center", fontsize=TICK, color=INK)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    _count_iterations(axes)
    chart(axes, x="iteration", title="ratio of the peaks")


def intervals(axes: "Axes", rows: Sequence[Mapping[str, Any]], *, color: str) -> None:
    """Draw shares with their intervals, a line a learning rate, and the counts at the right."""
    right = axes.get_yaxis_transform()
    for place, row in enumerate(rows):
        share = row["failures"] / row["runs"]
        axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2, alpha=0.45)
        axes.plot([share], [place], color=color, marker="o", markersize=5, clip_on=False)
        count = f"{row['failures']} / {row['runs']}"
        axes.text(1.015, place, count, transform=right, va="center", fontsize=TICK, color=INK)
    chart(axes)
    rates = [np.format_float_scientific(row["rate"], precision=1, trim="-", exp_digits=1) for row in rows]
    axes.set_yticks(range(len(rows)), rates)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))


def _count_iterations(axes: "Axes") -> None:
    """Number an axis of iterations sparsely, with commas."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
