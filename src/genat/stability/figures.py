"""The pictures of a stability study, as the bytes of a PNG."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genat.simulations import panels
from genat.stability.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = ("-", "--", ":", "-.")
_COLUMNS = 8  # images in a row of a mosaic


def curves(outcomes: Sequence[Outcome], *, references: Mapping[str, float]) -> bytes:
    """Return the distance of generated images against the passes spent, a panel a method and a line a training.

    The colour is the learning rate's factor, the stroke the width. A cross ends what has failed; what was not finite
    before its first look is a cross at the top. Grey lines are the starts; dashed, the classes' means, from which on a
    training has failed; dotted, other real images.

    Args:
        outcomes: at least one.
        references: as of `Ruler`.

    Raises:
        ValueError: where there are none.

    Example:
        >>> row = {"method": "gat", "factor": 1.0, "width": 8, "failure": None, "passes": 20}
        >>> curve = [{"passes": 10, "distance": 30.0}, {"passes": 20, "distance": 20.0}]
        >>> outcome = Outcome(row, curve, [], torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
        >>> curves([outcome], references={"starts": 90.0, "means": 25.0, "real": 0.5})[1:4]
        b'PNG'
    """
    _check(outcomes)
    methods = list(dict.fromkeys(outcome.row["method"] for outcome in outcomes))
    figure, axes = panels.sheet(1, len(methods), width=3.3 * len(methods) + 0.9, height=3.1)
    colors, styles = _codes(outcomes)
    top = 1.2 * max([references["starts"], *(point["distance"] for outcome in outcomes for point in outcome.curve)])
    for panel, method in zip(axes.flat, methods, strict=True):
        own = [outcome for outcome in outcomes if outcome.row["method"] == method]
        for outcome in own:
            _line(panel, outcome, color=colors[outcome.row["factor"]], style=styles[outcome.row["width"]], top=top)
        for name, style in (("starts", "-"), ("means", "--"), ("real", ":")):
            panel.axhline(references[name], color=panels.FAINT, linewidth=0.9, linestyle=style, zorder=1)
        panel.set_yscale("log")
        panel.set(ylim=(0.7 * max(references["real"], 1e-3 * top), 1.1 * top))
        panel.set_xlim(left=0)
        failures = sum(outcome.row["failure"] is not None for outcome in own)
        panels.chart(panel, x="passes", y="Fréchet distance", title=f"{method}: {failures} of {len(own)} fail")
        panel.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f}k")
        panel.label_outer()
    axes[0, -1].legend(
        handles=_legend(colors, styles), fontsize=panels.TICK, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1)
    )
    return panels.png(figure)


def mosaics(outcomes: Sequence[Outcome]) -> bytes:
    """Return the images of one method at the end, a row a learning rate and a column a width, of the first seed.

    Args:
        outcomes: of one method, at least one.

    Raises:
        ValueError: where there are none.

    Example:
        >>> row = {"method": "gat", "rate": 1e-3, "width": 8, "seed": 0, "failure": None, "diverged": None}
        >>> mosaics([Outcome(row, [], [], torch.zeros(9, 1, 8, 8, dtype=torch.uint8))])[1:4]
        b'PNG'
    """
    _check(outcomes)
    first = outcomes[0].row["seed"]
    shown = {(o.row["rate"], o.row["width"]): o for o in outcomes if o.row["seed"] == first}
    rates = sorted({rate for rate, _ in shown}, key=_number)
    widths = sorted({width for _, width in shown}, key=_number)
    figure, axes = panels.sheet(len(rates), len(widths), width=3.6 * len(widths), height=2.1 * len(rates))
    for line, rate in zip(axes, rates, strict=True):
        for panel, width in zip(line, widths, strict=True):
            panels.blank(panel)
            outcome = shown.get((rate, width))
            if outcome is None:
                continue
            panel.imshow(mosaic(outcome.samples).numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            verdict = outcome.row["failure"]
            ending = "" if verdict is None else f": {verdict}"
            panels.caption(panel, title=f"width {width}, rate {_number(rate):g}{ending}")
    return panels.png(figure)


def mosaic(images: Tensor) -> Tensor:
    """Return images `(N, C, H, W)` side by side in rows of 8, `(R H, 8 W)` or, of colours, `(R H, 8 W, 3)`.

    Example:
        >>> mosaic(torch.zeros(9, 3, 4, 5)).shape, mosaic(torch.zeros(32, 1, 4, 4)).shape
        (torch.Size([8, 40, 3]), torch.Size([16, 32]))
    """
    n, channels, height, width = images.shape
    filled = torch.cat([images, images.new_zeros(-n % _COLUMNS, channels, height, width)])
    rows = filled.view(-1, _COLUMNS, channels, height, width).permute(0, 3, 1, 4, 2)
    sheet = rows.reshape(-1, _COLUMNS * width, channels)
    return sheet[..., 0] if channels == 1 else sheet


def _line(axes: "Axes", outcome: Outcome, *, color: str, style: str, top: float) -> None:
    at = [point["passes"] for point in outcome.curve]
    values = [point["distance"] for point in outcome.curve]
    axes.plot(at, values, color=color, linestyle=style, linewidth=1.3, marker=".", markersize=4, zorder=3)
    if outcome.row["failure"] is not None:
        end, height = (at[-1], values[-1]) if values else (_number(outcome.row["passes"]), top)
        axes.plot(end, height, color=color, marker="x", markersize=8, markeredgewidth=1.8, clip_on=False, zorder=4)


def _codes(outcomes: Sequence[Outcome]) -> tuple[dict[Any, str], dict[Any, Any]]:
    """Return a colour for each factor and a stroke for each width."""
    factors = sorted({_number(outcome.row["factor"]) for outcome in outcomes})
    widths = sorted({_number(outcome.row["width"]) for outcome in outcomes})
    colors = {factor: panels.line_color(i) for i, factor in enumerate(factors)}
    return colors, {width: _STYLES[i % len(_STYLES)] for i, width in enumerate(widths)}


def _legend(colors: Mapping[Any, str], styles: Mapping[Any, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, label=f"rate x {factor:g}") for factor, color in colors.items()]
    return handles + [
        Line2D([], [], color=panels.INK, linestyle=style, label=f"width {width:g}") for width, style in styles.items()
    ]


def _number(value: float | int | str | None) -> float:
    assert value is not None
    return float(value)


def _check(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        raise ValueError("expected at least one outcome, got none")
