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
    from rich.console import Console
    from rich.table import Table

    from genat.report import detection_table, fidelity_table, fidelity_words, recognition

    console = Console(width=140 if not sys.stdout.isatty() else None)

    def show(content: "Content") -> None:
        table = Table(*content.columns, box=None, header_style="bold")
        for row in content.rows:
            table.add_row(*row)
        console.print(table)

    if "generation" in figures:
        typer.echo(recognition(figures["generation"]))
    if "fidelity_missing" in figures:
        typer.echo(f"how close the samples come to real images was not measured: {figures['fidelity_missing']}")
    if "fidelity" in figures:
        typer.echo(fidelity_words(figures["fidelity"]))
        show(fidelity_table(figures["fidelity"]))
    show(detection_table(figures["detection"], figures.get("baseline")))
