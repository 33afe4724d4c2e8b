"""Commands that train."""

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genat.cli.arguments import Json, command_line, say
from genat.cli.printing import print_config, print_figures, print_files, print_table
from genat.cli.signals import stopping

if TYPE_CHECKING:
    from genat.config import Config
    from genat.runs import Run
    from genat.training import Crew, Fitted


class Budget(StrEnum):
    """How much a training may cost."""

    FULL = "full"
    TINY = "tiny"


def demo(
    run: Annotated[
        Path | None,
        typer.Option(help="Where the run goes, runs/demo by default; an earlier demo there is replaced."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the training, 0 by default.")] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Seconds: no training, but the detectors that come with genat; pictures in runs/quick."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train on digits, generate, detect, also under attack, and write a report: two or three minutes on two cores."""
    from genat import demo as demos

    if quick:
        if seed is not None:
            raise ValueError(f"--quick: expected no --seed, since nothing is trained, got {seed}")
        table, pictures = demos.quick(run or Path("runs/quick"), say=say)
        if as_json:
            rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            typer.echo(json.dumps({"rows": rows, "pictures": [str(path) for path in pictures]}))
            return
        print_table(table)
        print_files(pictures, as_json=False)
        return
    figures, report = demos.demo(run or Path("runs/demo"), seed=seed or 0, command=command_line(), say=say)
    if as_json:
        typer.echo(json.dumps(figures | {"report": str(report)}))
        return
    print_figures(figures)
    typer.echo(f"report: {report.resolve()}")


def train(
    preset: Annotated[str | None, typer.Argument(metavar="[PRESET|FILE]", help="See `genat presets`.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="steps.last=10")] = None,
    *,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder of images as the target.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all that is random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")] = False,
    budget: Annotated[
        Budget, typer.Option(help="tiny: seconds, to see that all is in place; the detector is of no use.")
    ] = Budget.FULL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="How many GPUs, or processes without one, share every batch; else 1."),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="On how many machines, each started with NODE_RANK and MASTER_ADDR.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a detector into a run folder: `genat train digits steps.last=10 batch_size=64`."""
    settings = configured(preset, overrides or [], run=run, data=data, seed=seed, resume=resume)
    if budget is Budget.TINY:
        from genat.config import tiny

        settings = tiny(settings)
    if dry_run:
        print_config(settings, as_json=as_json)
        return
    from genat import report
    from genat.training import Crew

    folder, crew = run or Path("runs") / settings.name, Crew(devices, nodes)
    trained, fitted = watched(settings, folder, resume=resume, crew=crew)
    if not crew.leads:
        return
    page = report.write(trained, command=command_line())
    result: dict[str, Any] = {"run": str(folder), "iterations": fitted.iterations, "threshold": trained.threshold}
    result |= {"digest": fitted.digest, "report": str(page)}
    result |= {"incidents": dict(Counter(incident.kind for incident in fitted.incidents))}
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        words = ", ".join(f"{kind} {n}" for kind, n in value.items()) or "none" if isinstance(value, dict) else value
        typer.echo(f"{name}: {words}")


def watched(settings: "Config", folder: Path, *, resume: bool, crew: "Crew | None" = None) -> "tuple[Run, Fitted]":
    """Train as `genat.runs.train` does, while a person watches, until a signal asks it to stop.

    Of several processes the first alone shows how it goes.

    Raises:
        Exit: where one did, with the code that shells know the signal by: 130 or 143.
    """
    from rich.console import Console

    from genat import runs
    from genat.progress import TrainingProgress
    from genat.training import StoppedError

    console = None if crew is None or crew.leads else Console(quiet=True)
    with (
        TrainingProgress(iterations=settings.iterations, batch_size=settings.batch_size, console=console) as progress,
        stopping(progress.say) as stop,
    ):
        try:
            trained = runs.train(
                settings, folder, resume=resume, callback=progress, say=progress.say, stop=stop, crew=crew
            )
        except StoppedError as error:
            progress.say(f"genat: {stop.name}: {error}: {folder} goes on from there with --resume")
            raise typer.Exit(stop.code) from None
        if stop.signal is not None:
            progress.say(f"genat: {stop.name}: the training had ended, and {folder} is whole")
            raise typer.Exit(stop.code)
        return trained


def configured(
    preset: str | None,
    overrides: list[str],
    *,
    run: Path | None = None,
    data: Path | None = None,
    seed: int | None = None,
    resume: bool = False,
) -> "Config":
    """Return the configuration that the arguments of `train` ask for."""
    from genat import config

    if preset is not None and "=" in preset:
        overrides = [preset, *overrides]
        preset = None
    if data is not None:
        overrides = ["data.kind=folder", f"data.path={json.dumps(str(data))}", "data.split=train", *overrides]
    if seed is not None:
        overrides = [*overrides, f"seed={seed}"]
    if preset is None and resume and run is not None:
        return config.load(run / "config.yaml", overrides)
    return config.load(preset or ("digits" if data is None else "images"), overrides)
