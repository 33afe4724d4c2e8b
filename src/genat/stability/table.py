"""The tables of a stability study: failures with intervals, and how good the images were at the end."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from genat.simulations.failures import tally
from genat.simulations.outcome import Row

_HEAD = ("method", "trainings", "failures", "95 % interval of the share", "reasons", "Fréchet distance at the end")


def count(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the failures of each method: of all its trainings, at each learning rate and at each width.

    Args:
        rows: one a training, see `Outcome`.

    Returns:
        A row each: `method`; `by`, "all", "rate" or "width"; `value`, the rate or the width, None for all; what
        `genat.simulations.failures.tally` returns; and `distance`, the mean, standard deviation (ddof 1, None for one)
        and number of those that are finite, None where none is.

    Example:
        >>> row = {"method": "gat", "rate": 1e-3, "width": 8, "distance": 2.0, "failure": None}
        >>> rows = count([row, row | {"rate": 1e-2, "distance": None, "failure": "not finite"}])
        >>> [(row["by"], row["value"], row["failures"], row["runs"]) for row in rows]
        [('all', None, 1, 2), ('rate', 0.001, 0, 1), ('rate', 0.01, 1, 1), ('width', 8, 1, 2)]
    """
    counted = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        counted.append({"method": method, "by": "all", "value": None} | _figures(own))
        for by in ("rate", "width"):
            for value in dict.fromkeys(row[by] for row in own):
                group = [row for row in own if row[by] == value]
                counted.append({"method": method, "by": by, "value": value} | _figures(group))
    return counted


def markdown(rows: Sequence[Mapping[str, Any]], *, references: Mapping[str, float], n: int) -> str:
    """Return counts as a table with a line below that says what the distances are to be read against.

    Args:
        rows: as `count` returns them.
        references: as of `Ruler`.
        n: images in each distance.
    """
    lines = [" | ".join(_HEAD), " | ".join("---" for _ in _HEAD)]
    for row in rows:
        reasons = ", ".join(f"{reason} {number}" for reason, number in row["reasons"].items())
        which = "all" if row["by"] == "all" else f"{row['by']} {row['value']:g}"
        share = f"{row['low']:.3f} to {row['high']:.3f}"
        cells = [row["method"], which, f"{row['failures']} of {row['runs']}", share, reasons]
        lines.append(" | ".join([*cells, _distance(row["distance"])]))
    starts, means, real, accuracy = (references[name] for name in ("starts", "means", "real", "accuracy"))
    below = (
        f"Fréchet distance of {n:,} images to {n:,} held-out ones on the features of a classifier whose accuracy on "
        f"these is {accuracy:.3f}. Of the starts: {starts:.2f}; of the mean images of the classes, from which on a "
        f"training has failed: {means:.2f}; of other real images: {real:.2f}."
    )
    return "".join(f"| {line} |\n" for line in lines) + f"\n{below}\n"


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    reasons = [None if row["failure"] is None else str(row["failure"]) for row in rows]
    values = [float(row["distance"]) for row in rows if row["distance"] is not None]
    sd = statistics.stdev(values) if len(values) > 1 else None
    distance = {"mean": statistics.fmean(values), "sd": sd, "n": len(values)} if values else None
    return tally(reasons) | {"distance": distance}


def _distance(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    return f"{figure['mean']:.2f}" + ("" if figure["sd"] is None else f" +- {figure['sd']:.2f}")
