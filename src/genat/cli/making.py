"""Commands that make images of a run's target: from seeds, and from images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genat.cli.arguments import (
    Json,
    RunFolder,
    Shrink,
    Steps,
    StepSize,
    StopAt,
    Strength,
    command_line,
    parse_seeds,
    read_images,
    say,
)
from genat.cli.printing import print_files

if TYPE_CHECKING:
    from genat.runs import Run

OfClass = Annotated[
    str | None, typer.Option("--class", metavar="CLASS", help="Of a run trained with classify: a class, or its index.")
]


def sample(
    run: RunFolder,
    *,
    seeds: Annotated[
        str, typer.Option(help="Such as 7, 0-63 or 1,5,9-12: a sample depends on its seed alone.")
    ] = "0-63",
    of_class: OfClass = None,
    steps: Steps = None,
    step_size: StepSize = None,
    strength: Strength = 1.0,
    stop_at: StopAt = None,
    shrink: Shrink = None,
    tries: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The most climbs a sample, where a climb is kept by chance as its logit says; the run's own by "
            "default, and 1 where it climbs another way than its own.",
        ),
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="How many processes share the seeds; else 1.")] = None,
    as_json: Json = False,
) -> None:
    """Generate images: a PNG a seed, a grid and the trajectories, into the run's samples/ or its class's there."""
    import torch

    from genat import report
    from genat.training import Crew

    wanted, crew = parse_seeds(seeds), Crew(devices)
    loaded, index = _load(run, of_class)
    how = loaded.climbing(steps=steps, step_size=step_size, strength=strength, stop_at=stop_at, shrink=shrink)
    fabric = crew.launch(torch.device("cpu")) if crew.several else None
    made = report.make_samples(loaded, wanted, how=how, tries=tries, fabric=fabric)
    if not crew.leads:
        return
    ways = report.make_samples(loaded, wanted[: report.SHOWN_WAYS], how=how, tries=tries, trajectory=True)
    grid = report.save_samples(loaded, made, ways, wanted, of_class=index)
    if as_json:
        record = {"grid": str(grid), "seeds": wanted, "passes_per_sample": made.passes, "climbs": made.climbs}
        typer.echo(json.dumps(record))
        return
    most = "" if stop_at is None and made.climbs == len(wanted) else "at most "
    typer.echo(f"{len(wanted)} samples, {most}{made.passes} passes each: {grid}")


def transform(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files of any size and mode.")],
    *,
    output: Annotated[Path | None, typer.Option(help="Folder for the results; RUN/transformed by default.")] = None,
    of_class: OfClass = None,
    steps: Steps = None,
    step_size: StepSize = None,
    strength: Strength = 1.0,
    stop_at: StopAt = None,
    shrink: Shrink = None,
    as_json: Json = False,
) -> None:
    """Turn any images into the target distribution; writes each result, before and after, and the way."""
    from genat import report

    loaded, _ = _load(run, of_class)
    how = loaded.climbing(steps=steps, step_size=step_size, strength=strength, stop_at=stop_at, shrink=shrink)
    names = [f"{i:03d}-{path.stem}" for i, path in enumerate(images)]
    made = report.transformed(loaded, read_images(images, loaded), names, how=how)
    written = report.save(made, output or run / report.TRANSFORMED, command=command_line())
    print_files(written, as_json=as_json)


def _load(folder: Path, of_class: str | None) -> tuple["Run", int | None]:
    """Return a run that makes images of a class, and the class's index; of all its target where none is asked for."""
    from genat import runs

    run = runs.load(folder, say=say)
    if of_class is None:
        return run, None
    index = run.class_index(int(of_class) if of_class.isdecimal() and of_class not in run.classes else of_class)
    return replace(run, detector=run.of_class(index)), index
