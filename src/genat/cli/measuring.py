"""Commands that measure a run, and show it."""

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genat.cli.arguments import Json, RunFolder, command_line, parse_numbers, say
from genat.cli.printing import print_benchmark, print_figures, print_robustness

if TYPE_CHECKING:
    from genat.runs import Run
    from genat.sources import Images


class Protocol(StrEnum):
    """What can be evaluated beside the run itself."""

    OOD = "ood"
    ROBUSTNESS = "robustness"


class Norm(StrEnum):
    """Of a ball."""

    L2 = "l2"
    LINF = "linf"


class Scale(StrEnum):
    """How much the benchmark measures; `genat.evaluation.benchmark.SCALES` has the numbers."""

    QUICK = "quick"
    FULL = "full"


def evaluate(
    run: RunFolder,
    protocol: Annotated[
        Protocol | None,
        typer.Argument(
            metavar="[ood|robustness]",
            help="ood sets classifiers beside the run and attacks each; robustness attacks a committee, its detectors "
            "and the whole, beside classifiers; else the run alone is measured.",
        ),
    ] = None,
    *,
    data: Annotated[Path | None, typer.Option(help="A folder of test images; the data set's own by default.")] = None,
    samples: Annotated[int, typer.Option(min=2, help="How many to generate.")] = 1000,
    outside: Annotated[int, typer.Option(min=2, help="Images of each outside family.")] = 500,
    attack_steps: Annotated[int, typer.Option(min=1, help="Of each attack; the check takes twice as many.")] = 100,
    against: Annotated[
        str,
        typer.Option(
            metavar="PEERS",
            help="ood: some of plain, outlier-exposure, acet, ratio and madry with commas between, all or none; "
            "robustness: of plain, madry and trades.",
        ),
    ] = "all",
    scale: Annotated[
        Scale,
        typer.Option(
            help="ood: 256 images a family and short attacks, or 1024 and long; robustness: 200 images, or 1000."
        ),
    ] = Scale.QUICK,
    family: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="ood: outside data, a family, a folder, a Parquet file or a run, repeated; by default all that is "
            "there and that training has not seen.",
        ),
    ] = None,
    norm: Annotated[
        Norm | None,
        typer.Option(help="Of the attacks' balls. ood: l2 by default; robustness: the training's."),
    ] = None,
    radii: Annotated[
        str | None,
        typer.Option(help="Of the attacks, such as 0.5,1.0. ood: 1.0 by default; robustness: one, or the training's."),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What samples and real images are compared by: classifier, efficientnet or inception (for FID); "
            "the classifier for grey images with labels, else efficientnet, by default.",
        ),
    ] = None,
    gan: Annotated[
        bool, typer.Option("--gan", help="Train a GAN on the same images for as many passes, and compare with it.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder that keeps what evaluations of several runs share: the classifier, and the real images' "
            "features; the run's own by default."
        ),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="How many processes share samples and attacks; else 1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure generation, and detection, clean and under attack, on data that nothing was chosen on."""
    from genat import runs
    from genat.evaluation.protocol import evaluate as run_evaluation
    from genat.sources import image_folder
    from genat.training import Crew

    crew = Crew(devices)
    if protocol is not None and crew.several:
        raise ValueError(f"expected one process for {protocol}, got several")
    loaded = runs.load(run, say=say)
    size = (loaded.shape[1], loaded.shape[2])
    images = None if data is None else image_folder(data, size=size, mode="L" if loaded.shape[0] == 1 else "RGB")
    for note in () if images is None else images.notes:
        say(note)
    if protocol is Protocol.OOD:
        measured = _benchmark(loaded, images, against, scale=scale, families=family, norm=norm, radii=radii)
        show(loaded, measured, print_benchmark, as_json=as_json)
        return
    if protocol is Protocol.ROBUSTNESS:
        measured = _robustness(loaded, images, against, scale=scale, norm=norm, radii=radii)
        show(loaded, measured, print_robustness, as_json=as_json)
        return
    figures = run_evaluation(
        loaded,
        images=images,
        n_samples=samples,
        n_outside=outside,
        attack_steps=attack_steps,
        features=features,
        gan=gan,
        cache=cache,
        crew=crew,
        command=command_line(),
        say=say,
    )
    if crew.leads:
        show(loaded, figures, print_figures, as_json=as_json)


def show(run: "Run", figures: dict[str, Any], printed: Callable[[dict[str, Any]], None], *, as_json: bool) -> None:
    """Print an evaluation's figures, and write the run's report anew."""
    from genat import report

    page = report.write(run, command=command_line())
    if as_json:
        typer.echo(json.dumps(figures | {"report": str(page)}))
        return
    printed(figures)
    typer.echo(f"report: {page}")


def _robustness(
    run: "Run", images: "Images | None", against: str, *, scale: Scale, norm: Norm | None, radii: str | None
) -> dict[str, Any]:
    from genat.balls import L2Ball, LinfBall
    from genat.evaluation.robustness import PEERS, SCALES, robustness

    ball: L2Ball | LinfBall | None = None
    if (norm is None) != (radii is None):
        raise ValueError("expected --norm and --radii, or neither for the training's ball, got one")
    if norm is not None and radii is not None:
        numbers = parse_numbers(radii, "--radii")
        if len(numbers) != 1:
            raise ValueError(f"--radii: expected one radius with robustness, got {len(numbers)}")
        ball = (L2Ball if norm is Norm.L2 else LinfBall)(numbers[0])
    return robustness(
        run,
        images=images,
        against=_names(against, PEERS),
        scale=SCALES[scale],
        ball=ball,
        command=command_line(),
        say=say,
    )


def _names(against: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the peers that were asked for by name."""
    return {"all": tuple(known), "none": ()}.get(against, tuple(name.strip() for name in against.split(",")))


def _benchmark(
    run: "Run",
    images: "Images | None",
    against: str,
    *,
    scale: Scale,
    families: list[str] | None,
    norm: Norm | None,
    radii: str | None,
) -> dict[str, Any]:
    from genat.balls import L2Ball, LinfBall
    from genat.baselines.exposure import EXPOSURES
    from genat.evaluation.benchmark import SCALES, benchmark

    ball = LinfBall if norm is Norm.LINF else L2Ball
    return benchmark(
        run,
        images=images,
        outside=families,
        against=_names(against, tuple(EXPOSURES)),
        scale=SCALES[scale],
        balls=[ball(radius) for radius in parse_numbers(radii or "1.0", "--radii")],
        command=command_line(),
        say=say,
    )


def report(run: RunFolder) -> None:
    """Write the run's report.html anew: one file with pictures, figures and how they were made."""
    from genat import report as pages
    from genat import runs

    typer.echo(str(pages.write(runs.load(run, say=say), command=command_line())))
