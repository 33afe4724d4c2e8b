"""What several commands print."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from genat.config import Config
    from genat.report import Table as Content

_WIDE = 200


def print_files(paths: Sequence[Path], *, as_json: bool) -> None:
    """Print the files that were written, a line each or as one JSON object."""
    if as_json:
        typer.echo(json.dumps({"files": [str(path) for path in paths]}))
        return
    for path in paths:
        typer.echo(str(path))


def print_config(settings: "Config", *, as_json: bool) -> None:
    """Print a configuration as YAML, or as JSON."""
    from genat.config import dump

    if as_json:
        typer.echo(settings.model_dump_json())
        return
    typer.echo(dump(settings), nl=False)


def print_figures(figures: dict[str, Any]) -> None:
    """Print an evaluation: what is recognised in the samples, how close they come, and the table of detection."""
    from genat.report import detection_table, fidelity_table, fidelity_words, recognition

    if "generation" in figures:
        typer.echo(recognition(figures["generation"]))
    if "fidelity_missing" in figures:
        typer.echo(f"how close the samples come to real images was not measured: {figures['fidelity_missing']}")
    if "fidelity" in figures:
        typer.echo(fidelity_words(figures["fidelity"]))
        print_table(fidelity_table(figures["fidelity"]))
    print_table(detection_table(figures["detection"], figures.get("baseline")))


def print_benchmark(figures: dict[str, Any]) -> None:
    """Print a benchmark: what was measured, the means of every score, each family, and attack by attack."""
    from genat.report import benchmarks

    typer.echo(benchmarks.words(figures))
    tables = [benchmarks.means_table(figures)]
    tables += [benchmarks.families_table(figures, name) for name in benchmarks.budgets(figures["rows"])]
    for content in (*tables, benchmarks.attacks_table(figures)):
        typer.echo()
        print_table(content)


def print_robustness(figures: dict[str, Any]) -> None:
    """Print a committee under attack: its detectors, the systems, attack by attack, and growing balls."""
    from genat.report import robustness

    print_table(robustness.detectors_table(figures))
    typer.echo()
    typer.echo(robustness.words(figures))
    without = robustness.attacks_table(figures, "each_without_rejection")
    for title, content in (
        ("", robustness.systems_table(figures)),
        ("error at equal accuracy", robustness.compared_table(figures)),
        ("error, attack by attack", robustness.attacks_table(figures)),
        ("error without rejection, attack by attack", without),
        ("growing balls", robustness.growing_table(figures)),
    ):
        typer.echo()
        if title:
            typer.echo(title)
        print_table(content)
    typer.echo(robustness.nearest_words(figures))


def print_table(content: "Content") -> None:
    """Print a table, on lines as wide as it needs where the output is no terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*content.columns, box=None, header_style="bold")
    for row in content.rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
