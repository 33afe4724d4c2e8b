"""The table of a simulation: mean and standard deviation over the seeds, a row a data set and trainer."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from genat.simulations.measure import box_row
from genat.simulations.outcome import Outcome
from genat.sources.toy import Toy

COLUMNS = {
    "modes": "modes",
    "high_quality": "high quality",
    "inside": "inside support",
    "energy_distance": "energy distance",
    "sliced_wasserstein": "sliced W1",
    "auroc": "AUROC of the logit",
    "iou": "best IoU",
    "peak_1": "left peak",
    "peak_2": "right peak",
    "passes": "passes",
    "seconds": "seconds",
}
"""Figures by name and what the table calls them."""

Summary = dict[str, Any]


def summarise(outcome: Outcome) -> Summary:
    """Return an outcome's figures, each as mean, standard deviation (ddof 1) and number of seeds that have it.

    A figure that no seed has is left out; the deviation of a single seed is None.

    Example:
        >>> import torch
        >>> rows = [{"seed": seed, "iou": 0.8 + 0.02 * seed, "diverged": None, "failure": None} for seed in range(3)]
        >>> nothing = torch.empty(0, 0, 2)
        >>> outcome = Outcome("ring", "gat", (0, 1, 2), rows, [], *[nothing] * 6)
        >>> summary = summarise(outcome)
        >>> round(summary["iou"]["mean"], 2), round(summary["iou"]["sd"], 2), summary["iou"]["n"]
        (0.82, 0.02, 3)
    """
    summary: Summary = {"toy": outcome.toy, "trainer": outcome.trainer, "seeds": list(outcome.seeds)}
    for name in COLUMNS:
        values = [float(row[name]) for row in outcome.rows if row.get(name) is not None]  # type: ignore[arg-type]
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else None
            summary[name] = {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}
    summary["diverged"] = sum(row["diverged"] is not None for row in outcome.rows)
    summary["failures"] = [row["failure"] for row in outcome.rows if row["failure"] is not None]
    return summary


def summaries(outcomes: Sequence[Outcome], data: Mapping[str, Toy]) -> list[Summary]:
    """Return every outcome's summary, and before each data set's a row "box": its solid bounding box."""
    rows: list[Summary] = []
    for outcome in outcomes:
        if outcome.dim == 2 and not any(row["toy"] == outcome.toy for row in rows):
            iou = {"mean": box_row(data[outcome.toy]), "sd": None, "n": 1}
            rows.append({"toy": outcome.toy, "trainer": "box", "seeds": [], "iou": iou, "diverged": 0, "failures": []})
        rows.append(summarise(outcome))
    return rows


def markdown(rows: Sequence[Summary]) -> str:
    """Return summaries as a table: mean, and sd where there is more than one seed; empty columns are left out."""
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    head = ["data", "trainer", "seeds", *(COLUMNS[name] for name in names), "diverged"]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in rows:
        cells = [row["toy"], row["trainer"], str(len(row["seeds"]) or ""), *(_cell(row, name) for name in names)]
        lines.append(" | ".join([*cells, str(row["diverged"])]))
    return "".join(f"| {line} |\n" for line in lines)


_ABLATION = ("iou", "auroc", "inside", "energy_distance", "passes")


def ablation_markdown(rows: Sequence[Summary]) -> str:
    """Return an ablation's summaries as a table, a row a setting."""
    head = ["family", "setting", *(COLUMNS[name] for name in _ABLATION), "failures"]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in rows:
        cells = [row["family"], row["setting"], *(_cell(row, name) for name in _ABLATION)]
        lines.append(" | ".join([*cells, f"{len(row['failures'])} of {len(row['seeds'])}"]))
    return "".join(f"| {line} |\n" for line in lines)


def failures_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return counts of failures as a table, a row a trainer and learning rate."""
    head = ["trainer", "learning rate", "failures", "95 % interval of the share", "reasons"]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in rows:
        reasons = ", ".join(f"{reason} {number}" for reason, number in row["reasons"].items())
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        count = f"{row['failures']} of {row['runs']}"
        lines.append(" | ".join([row["trainer"], f"{row['rate']:g}", count, interval, reasons]))
    return "".join(f"| {line} |\n" for line in lines)


def _cell(row: Summary, name: str) -> str:
    figure = row.get(name)
    if figure is None:
        return ""
    if name == "passes":
        return f"{figure['mean']:,.0f}"
    digits = {"modes": 1, "seconds": 0, "energy_distance": 4, "sliced_wasserstein": 4}.get(name, 3)
    sd = "" if figure["sd"] is None or name == "seconds" else f" +- {figure['sd']:.{digits}f}"
    return f"{figure['mean']:.{digits}f}{sd}"
