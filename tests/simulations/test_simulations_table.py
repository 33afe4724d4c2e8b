"""Means and deviations over seeds, and tables in markdown."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from genat.simulations.measure import box_row
from genat.simulations.outcome import Outcome, Row
from genat.simulations.table import (
    COLUMNS,
    ablation_markdown,
    failures_markdown,
    markdown,
    summaries,
    summarise,
)
from genat.sources.toy import TOYS

pytestmark = pytest.mark.usefixtures("small")
Make = Callable[..., Outcome]
LOST: Row = {"seed": 9, "diverged": 7, "failure": "not finite", "passes": 300, "seconds": 1.0}


def cells(line: str) -> list[str]:
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip() for cell in line[1:-1].split("|")]


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of a markdown table by column, every line of the same width."""
    head, rule, *body = (cells(line) for line in text.splitlines())
    assert rule == ["---"] * len(head)
    assert text.endswith(" |\n")
    return [dict(zip(head, row, strict=True)) for row in body]


# summaries


def test_mean_and_deviation_are_numpys(result: Make) -> None:
    scores = np.random.default_rng(0).random(7)
    rows = [LOST | {"diverged": None, "failure": None, "iou": float(score)} for score in scores]
    summary = summarise(result(rows=rows, seeds=tuple(range(7))))
    assert summary["iou"]["mean"] == pytest.approx(scores.mean(), rel=1e-12)
    assert summary["iou"]["sd"] == pytest.approx(scores.std(ddof=1), rel=1e-12)
    assert summary["iou"]["n"] == 7
    assert summary.keys() == {"toy", "trainer", "seeds", "iou", "passes", "seconds", "diverged", "failures"}


def test_one_seed_has_no_deviation(result: Make) -> None:
    summary = summarise(result(rows=result().rows[:1], seeds=(0,)))
    assert summary["iou"] == {"mean": 0.5, "sd": None, "n": 1}


def test_a_seed_that_diverged_is_counted_and_its_figures_are_not(result: Make) -> None:
    summary = summarise(result(rows=[*result().rows, LOST], seeds=(0, 1, 9)))
    assert (summary["diverged"], summary["failures"]) == (1, ["not finite"])
    assert summary["iou"]["n"] == 2
    assert summary["passes"] == {"mean": 700.0, "sd": pytest.approx(346.41, abs=0.01), "n": 3}


def test_where_all_diverged_there_are_no_figures(result: Make) -> None:
    summary = summarise(result(rows=[LOST, LOST]))
    assert not (summary.keys() & COLUMNS.keys()) - {"passes", "seconds"}
    lost, found = rows_of(markdown([summary, summarise(result())]))
    assert (lost["best IoU"], lost["diverged"]) == ("", "2")
    assert found["best IoU"]
    assert "best IoU" not in rows_of(markdown([summary]))[0]  # no column without a figure


def test_a_figure_that_is_none_is_left_out(result: Make) -> None:
    rows = [row | {"modes": None} for row in result().rows]
    assert "modes" not in summarise(result(rows=rows))


def test_the_box_stands_once_before_each_data_set_of_the_plane(result: Make) -> None:
    data = {name: TOYS[name]() for name in ("ring", "checkerboard", "blobs")}
    line = result(toy="blobs", samples=result().samples[..., :1])
    made = summaries([result(), result(trainer="gan"), result(toy="checkerboard"), line], data)
    assert [(row["toy"], row["trainer"]) for row in made] == [
        ("ring", "box"),
        ("ring", "gat"),
        ("ring", "gan"),
        ("checkerboard", "box"),
        ("checkerboard", "gat"),
        ("blobs", "gat"),
    ]
    assert made[0]["iou"] == {"mean": box_row(data["ring"]), "sd": None, "n": 1}
    assert made[3]["iou"]["mean"] == box_row(data["checkerboard"])


# markdown


def test_every_figure_has_its_column_and_its_digits(result: Make) -> None:
    full: Row = {
        "modes": 8, "high_quality": 0.98765, "inside": 0.5, "energy_distance": 0.00123, "sliced_wasserstein": 0.04567,
        "auroc": 0.999, "iou": 0.7777, "passes": 3_299_856, "seconds": 119.7, "diverged": None, "failure": None,
    }  # fmt: skip
    (row,) = rows_of(markdown([summarise(result(rows=[full, full | {"modes": 7, "iou": 0.7}]))]))
    assert row == {
        "data": "ring",
        "trainer": "gat",
        "seeds": "2",
        "modes": "7.5 +- 0.7",
        "high quality": "0.988 +- 0.000",
        "inside support": "0.500 +- 0.000",
        "energy distance": "0.0012 +- 0.0000",
        "sliced W1": "0.0457 +- 0.0000",
        "AUROC of the logit": "0.999 +- 0.000",
        "best IoU": "0.739 +- 0.055",
        "passes": "3,299,856",
        "seconds": "120",
        "diverged": "0",
    }


def test_one_seed_is_printed_without_a_deviation_and_the_box_without_seeds(result: Make) -> None:
    alone = result(rows=result().rows[:1], seeds=(0,))
    box, row = rows_of(markdown(summaries([alone], {"ring": TOYS["ring"]()})))
    assert (box["trainer"], box["seeds"], box["passes"]) == ("box", "", "")
    assert (row["seeds"], row["best IoU"]) == ("1", "0.500")


def test_a_table_of_the_ablation(result: Make) -> None:
    summary = summarise(result(rows=[*result().rows, LOST], seeds=(0, 1, 9)))
    (row,) = rows_of(ablation_markdown([summary | {"family": "ball", "setting": "Linf 0.05"}]))
    assert row == {
        "family": "ball",
        "setting": "Linf 0.05",
        "best IoU": "0.600 +- 0.141",
        "AUROC of the logit": "",
        "inside support": "",
        "energy distance": "",
        "passes": "700",
        "failures": "1 of 3",
    }


def test_a_table_of_failures() -> None:
    some: dict[str, Any] = {"trainer": "gan", "rate": 0.0001, "runs": 40, "failures": 3, "low": 0.0258, "high": 0.1986}
    none = some | {"failures": 0, "low": 0.0, "high": 0.0876, "reasons": {}}
    first, second = rows_of(failures_markdown([some | {"reasons": {"too few modes": 2, "not finite": 1}}, none]))
    assert first == {
        "trainer": "gan",
        "learning rate": "0.0001",
        "failures": "3 of 40",
        "95 % interval of the share": "0.026 to 0.199",
        "reasons": "too few modes 2, not finite 1",
    }
    assert (second["failures"], second["reasons"]) == ("0 of 40", "")


def test_a_table_of_nothing_is_its_head() -> None:
    assert rows_of(markdown([])) == []
