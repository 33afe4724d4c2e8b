"""The command line: parse, call, print. Heavy libraries are imported inside the commands, so that --help is quick."""

import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from genat.config import Config
    from genat.runs import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Generative adversarial training: detectors that generate, and that detect also under attack.",
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as `genat train` makes it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Ascent steps; the run's own by default.")]
StepSize = Annotated[float | None, typer.Option(min=1e-9, help="Length of a step (L2, pixels in [0, 1]).")]

USAGE, DIVERGED = 2, 1


def main() -> None:
    """Run the command line; a person's mistake is one line and exit code 2, never a traceback."""
    try:
        app()
    except FloatingPointError as error:
        _fail(error, DIVERGED)
    except (ValueError, OSError, ImportError) as error:
        _fail(error, USAGE)


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="Where the run goes; an earlier demo there is replaced.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Train on digits, generate, detect, also under attack, and write a report: two or three minutes on two cores."""
    from genat.demo import demo as run_demo

    figures, report = run_demo(run, seed=seed, command=_command(), say=_say)
    if as_json:
        typer.echo(json.dumps(figures | {"report": str(report)}))
        return
    _print_figures(figures)
    typer.echo(f"report: {report.resolve()}")


@app.command()
def train(
    preset: Annotated[str | None, typer.Argument(metavar="[PRESET|FILE]", help="See `genat presets`.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="steps.last=10")] = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    data: Annotated[Path | None, typer.Option(help="A folder of images as the target.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all that is random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a detector into a run folder: `genat train digits steps.last=10 batch_size=64`."""
    settings = _settings(preset, overrides or [], run=run, data=data, seed=seed, resume=resume)
    if dry_run:
        _print_config(settings, as_json=as_json)
        return
    from genat import report, runs
    from genat.progress import TrainingProgress

    folder = run or Path("runs") / settings.name
    with TrainingProgress(iterations=settings.iterations, batch_size=settings.batch_size) as progress:
        trained, fitted = runs.train(settings, folder, resume=resume, callback=progress, say=_say)
    page = report.write(trained, command=_command())
    result = {"run": str(folder), "iterations": fitted.iterations, "threshold": trained.threshold}
    result |= {"digest": fitted.digest, "report": str(page)}
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value}")


@app.command()
def sample(
    run: RunFolder,
    seeds: Annotated[
        str, typer.Option(help="Such as 7, 0-63 or 1,5,9-12: a sample depends on its seed alone.")
    ] = "0-63",
    steps: Steps = None,
    step_size: StepSize = None,
    as_json: Json = False,
) -> None:
    """Generate images: a PNG a seed, a grid and the trajectories, into the run's samples/."""
    from genat import report, runs

    wanted = _seeds(seeds)
    loaded = runs.load(run)
    made = report.make_samples(loaded, wanted, steps=steps, step_size=step_size)
    ways = report.make_samples(loaded, wanted[: report.SHOWN_WAYS], steps=steps, step_size=step_size, trajectory=True)
    grid = report.save_samples(loaded, made, ways, wanted)
    if as_json:
        typer.echo(json.dumps({"grid": str(grid), "seeds": wanted, "passes_per_sample": made.passes}))
        return
    typer.echo(f"{len(wanted)} samples, {made.passes} passes each: {grid}")


@app.command()
def transform(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files of any size and mode.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the results; RUN/transformed by default.")] = None,
    steps: Steps = None,
    step_size: StepSize = None,
    as_json: Json = False,
) -> None:
    """Turn any images into the target distribution; writes each result and a picture of before and after."""
    from genat import report, runs

    loaded = runs.load(run)
    inputs = _read_images(images, loaded)
    written = report.transform_files(
        loaded, inputs, [path.stem for path in images], output or run / "transformed", steps=steps, step_size=step_size
    )
    if as_json:
        typer.echo(json.dumps({"files": [str(path) for path in written]}))
        return
    for path in written:
        typer.echo(str(path))


@app.command()
def detect(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files of any size and mode.")],
    as_json: Json = False,
) -> None:
    """Say of each image whether it is in distribution: score (high is out), conformal p-value, verdict."""
    from genat import runs

    loaded = runs.load(run)
    threshold = loaded.threshold  # first: without one there is nothing to read the images for
    prediction = loaded.predict(_read_images(images, loaded))
    columns = (prediction.score.tolist(), prediction.p_value.tolist(), prediction.in_distribution.tolist())
    rows = [
        {"file": str(path), "score": score, "p_value": p, "in_distribution": inside}
        for path, score, p, inside in zip(images, *columns, strict=True)
    ]
    if as_json:
        typer.echo(json.dumps({"threshold": threshold, "tpr": loaded.config.tpr, "images": rows}))
        return
    for row in rows:
        verdict = "in distribution" if row["in_distribution"] else "out of distribution"
        typer.echo(f"{row['file']}: {verdict}  score {row['score']:.4f}  p {row['p_value']:.4f}")


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[Path | None, typer.Option(help="A folder of test images; the data set's own by default.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="How many to generate.")] = 1000,
    outside: Annotated[int, typer.Option(min=2, help="Images of each outside family.")] = 500,
    attack_steps: Annotated[int, typer.Option(min=1, help="Of each attack; the check takes twice as many.")] = 100,
    as_json: Json = False,
) -> None:
    """Measure detection, clean and under attack, and generation, on data that nothing was chosen on."""
    from genat import report, runs
    from genat.evaluation.protocol import evaluate as run_evaluation
    from genat.sources import image_folder

    loaded = runs.load(run)
    size = (loaded.shape[1], loaded.shape[2])
    images = None if data is None else image_folder(data, size=size, mode="L" if loaded.shape[0] == 1 else "RGB")
    for note in () if images is None else images.notes:
        _say(note)
    figures = run_evaluation(
        loaded,
        images=images,
        n_samples=samples,
        n_outside=outside,
        attack_steps=attack_steps,
        command=_command(),
        say=_say,
    )
    page = report.write(loaded, command=_command())
    if as_json:
        typer.echo(json.dumps(figures | {"report": str(page)}))
        return
    _print_figures(figures)
    typer.echo(f"report: {page}")


@app.command()
def report(run: RunFolder) -> None:
    """Write the run's report.html anew: one file with pictures, figures and how they were made."""
    from genat import report as pages
    from genat import runs

    typer.echo(str(pages.write(runs.load(run), command=_command())))


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this one, all of its keys.")] = None, as_json: Json = False
) -> None:
    """List the configurations that come with the package."""
    from genat import config

    if name is not None:
        _print_config(config.load(name), as_json=as_json)
        return
    known = config.presets()
    if as_json:
        typer.echo(json.dumps({key: value.model_dump(mode="json") for key, value in known.items()}))
        return
    for key, value in known.items():
        ball = "unconstrained" if value.ball.radius is None else f"{value.ball.norm} {value.ball.radius:g}"
        steps = f"{value.steps.first}..{value.steps.last} steps of {value.step_size:g}"
        typer.echo(f"{key:15} {value.network}, {value.iterations} iterations, {steps}, {ball}")


@app.command()
def simulate(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Data sets such as ring,spirals or all; or ablation, or failures.")
    ],
    trainers: Annotated[
        str | None, typer.Option(help="Trainers, with commas; gat,gan,ebm by default; an unknown one lists all.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0-4 or 0,3,7; all train together.")] = "0-4",
    output: Annotated[Path | None, typer.Option(help="Where it goes; runs/simulations/NAME by default.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Forward and backward passes a seed; 3.3 million by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Play the maximin game and its peers on points whose law is known: figures, an animation and a table.

    The folder can be gone on with: what is finished is read, what is not is trained. The four shapes of the GAT
    papers are ring,grid,spirals,checkerboard; blobs is their density on the line.
    """
    from genat.simulations.studies import study

    made = study(
        name,
        trainers=None if trainers is None else [part.strip() for part in trainers.split(",")],
        seeds=_seeds(seeds),
        output=output or Path("runs/simulations") / name.replace(" ", "").replace(",", "-"),
        budget=budget,
        device=device,
        command=_command(),
        say=_say,
    )
    typer.echo(json.dumps(made.table) if as_json else made.markdown, nl=as_json)
    if not as_json:
        typer.echo("\n".join(str(path) for path in made.pictures))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has, what is installed, and what is missing for which command."""
    from genat.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
        return
    for finding in findings:
        typer.echo(f"{'ok     ' if finding.there else 'missing'} {finding.name:18} {finding.detail}")


def _settings(
    preset: str | None, overrides: list[str], *, run: Path | None, data: Path | None, seed: int | None, resume: bool
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


def _seeds(text: str) -> list[int]:
    """Return the seeds that "0-3,7" names."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds: expected numbers and ranges such as 0-63 or 1,5,9-12, got {text!r}")
        start, end = int(first), int(last or first)
        if not start <= end < 2**63:
            raise ValueError(f"--seeds: expected ranges that rise, below 2**63, got {text!r}")
        seeds += range(start, end + 1)
    return seeds


def _read_images(paths: list[Path], run: "Run") -> Any:  # noqa: ANN401 - a tensor, without importing torch
    import torch

    from genat.sources import load_image

    read = [load_image(path, shape=run.shape) for path in paths]
    for path, (_, notes) in zip(paths, read, strict=True):
        for note in notes:
            _say(f"{path}: {note}")
    return torch.cat([image for image, _ in read])


def _print_config(settings: "Config", *, as_json: bool) -> None:
    from genat.config import dump

    if as_json:
        typer.echo(settings.model_dump_json())
        return
    typer.echo(dump(settings), nl=False)


def _print_figures(figures: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from genat.report import detection_table, recognition

    if "generation" in figures:
        typer.echo(recognition(figures["generation"]))
    content = detection_table(figures["detection"], figures.get("baseline"))
    table = Table(*content.columns, box=None, header_style="bold")
    for row in content.rows:
        table.add_row(*row)
    Console(width=140 if not sys.stdout.isatty() else None).print(table)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _command() -> str:
    return shlex.join(["genat", *sys.argv[1:]])


def _fail(error: Exception, code: int) -> None:
    if os.environ.get("GENAT_DEBUG"):
        raise error
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    typer.echo("genat: " + " ".join(text.split()), err=True)
    sys.exit(code)
