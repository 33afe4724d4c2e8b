"""The command that repeats what papers report."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genat.cli.arguments import Json, command_line, say
from genat.cli.measuring import Scale, show
from genat.cli.printing import print_benchmark, print_table
from genat.cli.training import configured, watched

if TYPE_CHECKING:
    from genat.config import Config

_SMALL, _RADII = 64, (1.0, 7.0)  # the longest side of small images; the L2 radius for those and for larger ones


class Study(StrEnum):
    """What can be repeated."""

    OOD = "ood"
    GAT2020 = "gat2020"


def reproduce(
    study: Annotated[
        Study,
        typer.Argument(
            help="ood: detection under attack, clean and within an L2 ball. gat2020: a committee's detectors under the "
            "attacks of the paper's tables, its figures beside ours."
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="[PRESET|FILE]", help="See `genat presets`; cifar10-ood and committee-mnist by default."
        ),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="data.path=...")] = None,
    *,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Outside data as `genat evaluate RUN ood` takes it, repeated: the paper's are SVHN, CIFAR-100, "
            "ImageNet and uniform noise.",
        ),
    ] = None,
    scale: Annotated[
        Scale, typer.Option(help="gat2020: 200 images a detector and short attacks, or the paper's own.")
    ] = Scale.FULL,
    as_json: Json = False,
) -> None:
    """Train a preset, unless its run is there, and measure it as the papers do.

    ood is the protocol of "Learning Energy-Based Models With Adversarial Training" (Yin, Li, Rohde, 2022): 1024 images
    of the target and of each family, the worst of 5 restarts of 100 steps within L2 1.0, or 7.0 for images of more than
    64 pixels a side. The paper attacks by APGD; here it is the strongest of that and the other attacks, and APGD's own
    figure stands in the table.

    gat2020 is tables 2 and 4 of "GAT" (Yin, Kolouri, Rohde, 2020): the detectors of classes 0 and 1 under Adam's and
    steepest steps, and under the strongest of independent attacks. MNIST: `genat reproduce gat2020 committee-mnist
    data.path=FOLDER` of its IDX files; committee-fashion runs without it, with no published figure to stand beside.
    """
    keys = overrides or []
    if preset is not None and "=" in preset:
        keys, preset = [preset, *keys], None
    if study is Study.GAT2020:
        _gat2020(configured(preset or "committee-mnist", keys), run, scale=scale, as_json=as_json)
        return
    from genat import runs
    from genat.balls import L2Ball
    from genat.evaluation.benchmark import SCALES, benchmark

    settings = configured(preset or "cifar10-ood", keys)
    trained = runs.trained(settings, run or Path("runs") / settings.name, by=watched, say=say)
    radius = _RADII[max(trained.shape[1:]) > _SMALL]
    figures = benchmark(
        trained,
        outside=family,
        against=(),
        scale=SCALES["full"],
        balls=[L2Ball(radius)],
        command=command_line(),
        say=say,
    )
    show(trained, figures, print_benchmark, as_json=as_json)


def _gat2020(settings: "Config", run: Path | None, *, scale: Scale, as_json: bool) -> None:
    from genat import runs
    from genat.evaluation.published import SCALES, gat2020
    from genat.report.robustness import published_table

    if not settings.committee or settings.ball.radius is None:
        raise ValueError(f"gat2020: expected a preset of a committee in a ball, got {settings.name}")
    trained = runs.trained(settings, run or Path("runs") / settings.name, by=watched, say=say)
    figures = gat2020(trained, scale=SCALES[scale], command=command_line(), say=say)
    show(trained, figures, lambda found: print_table(published_table(found)), as_json=as_json)
