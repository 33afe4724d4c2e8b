"""The command that changes images: under a mask, by filling a hole, by their noise, between two, under several runs."""

from dataclasses import dataclass
from enum import StrEnum
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
    from torch import Tensor

    from genat.generation import Climbing
    from genat.report import Edited
    from genat.runs import Run


class Mode(StrEnum):
    """What `genat edit` does."""

    MASK = "mask"
    INPAINT = "inpaint"
    DENOISE = "denoise"
    INTERPOLATE = "interpolate"
    COMPOSE = "compose"


_GOES_WITH = {
    "--mask": (Mode.MASK, Mode.INPAINT),
    "--box": (Mode.MASK, Mode.INPAINT),
    "--seeds": (Mode.INPAINT, Mode.INTERPOLATE, Mode.COMPOSE),
    "--frames": (Mode.INTERPOLATE,),
    "--sigma": (Mode.DENOISE,),
    "--radius": (Mode.DENOISE,),
    "--with": (Mode.COMPOSE,),
    "--weights": (Mode.COMPOSE,),
}
_ONE_OF = {
    Mode.MASK: ("--mask", "--box"),
    Mode.INPAINT: ("--mask", "--box"),
    Mode.DENOISE: ("--sigma", "--radius"),
    Mode.COMPOSE: ("--with",),
}
# how many images, and in place of them
_IMAGES = {
    Mode.MASK: (1, "one image"),
    Mode.INPAINT: (1, "one image"),
    Mode.DENOISE: (1, "one image"),
    Mode.INTERPOLATE: (2, "two images, or two --seeds"),
    Mode.COMPOSE: (1, "one image, or --seeds"),
}
_COMPLETIONS, _FRAMES = 8, 8


def edit(
    run: RunFolder,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE] [IMAGE2]", help="Of any size and mode; interpolate takes two of them."),
    ] = None,
    *,
    mode: Annotated[Mode, typer.Option(help="What to do; each takes options of its own.")],
    mask: Annotated[
        Path | None, typer.Option(help="mask, inpaint: an image file of the run's size; what is white may move.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="mask, inpaint: these columns and rows may move.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="inpaint: one a completion, 0-7 by default; interpolate: two; compose: any.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=2, help="interpolate: how many images, 8 by default.")] = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, help="denoise: the noise's standard deviation, pixels in [0, 1].")
    ] = None,
    radius: Annotated[
        float | None, typer.Option(min=0, help="denoise: how far to go (L2), in the place of --sigma.")
    ] = None,
    others: Annotated[
        list[Path] | None, typer.Option("--with", metavar="RUN2", help="compose: another run; again for more.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="compose: such as 1,0.5, RUN's first; 1 for each by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results; RUN/edited/MODE by default.")] = None,
    steps: Steps = None,
    step_size: StepSize = None,
    strength: Strength = 1.0,
    stop_at: StopAt = None,
    shrink: Shrink = None,
    as_json: Json = False,
) -> None:
    """Change images by mask, inpaint, denoise, interpolate, compose: each result, before and after, and the way."""
    asked = _Asked(
        mode,
        images or [],
        mask,
        None if box is None else _corners(box),
        None if seeds is None else parse_seeds(seeds),
        frames,
        sigma,
        radius,
        others or [],
        None if weights is None else _numbers(weights),
    )
    _check(asked)
    from genat import report, runs

    loaded = runs.load(run, say=say)
    how = loaded.climbing(steps=steps, step_size=step_size, strength=strength, stop_at=stop_at, shrink=shrink)
    made = _make(asked, loaded, how)
    print_files(report.save(made, output or run / report.EDITED / mode, command=command_line()), as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to do and with what; None or nothing where an option was not given."""

    mode: Mode
    images: list[Path]
    mask: Path | None
    box: tuple[int, int, int, int] | None
    seeds: list[int] | None
    frames: int | None
    sigma: float | None
    radius: float | None
    others: list[Path]
    weights: list[float] | None


def _check(asked: _Asked) -> None:
    """Refuse what does not belong to the mode and what it lacks, before a run is read."""
    given = {
        "--mask": asked.mask,
        "--box": asked.box,
        "--seeds": asked.seeds,
        "--frames": asked.frames,
        "--sigma": asked.sigma,
        "--radius": asked.radius,
        "--with": asked.others or None,
        "--weights": asked.weights,
    }
    for option, modes in _GOES_WITH.items():
        if given[option] is not None and asked.mode not in modes:
            raise ValueError(f"{option}: expected with --mode {' or '.join(modes)}, got --mode {asked.mode}")
    number, words = _IMAGES[asked.mode]
    from_seeds = asked.seeds is not None and asked.mode is not Mode.INPAINT
    if len(asked.images) != (0 if from_seeds else number):
        both = " and --seeds" if from_seeds else ""
        raise ValueError(f"--mode {asked.mode}: expected {words}, got {len(asked.images)}{both}")
    if asked.mode is Mode.INTERPOLATE and asked.seeds is not None and len(asked.seeds) != 2:
        raise ValueError(f"--mode {asked.mode}: expected {words}, got {len(asked.seeds)} seeds")
    needed = _ONE_OF.get(asked.mode, ())
    count = sum(given[option] is not None for option in needed)
    if needed and count != 1:
        raise ValueError(f"--mode {asked.mode}: expected {' or '.join(needed)}, got {'both' if count else 'none'}")
    if asked.weights is not None and len(asked.weights) != 1 + len(asked.others):
        raise ValueError(f"--weights: expected {1 + len(asked.others)}, RUN's first, got {len(asked.weights)}")


def _make(asked: _Asked, run: "Run", how: "Climbing") -> "Edited":
    from genat import report, runs

    if asked.mode is Mode.COMPOSE:
        others = [runs.load(other, say=say) for other in asked.others]
        begin = _begin(asked, run)
        return report.composed(run, others, begin, name=_name(asked), weights=asked.weights, how=how)
    if asked.mode is Mode.INTERPOLATE:
        return report.interpolated(run, _begin(asked, run), frames=asked.frames or _FRAMES, how=how)
    if asked.mode is Mode.DENOISE:
        image = read_images(asked.images, run)
        return report.denoised(run, image, _name(asked), sigma=asked.sigma, radius=asked.radius, how=how)
    mask = _mask(asked, run)
    image = read_images(asked.images, run)
    if asked.mode is Mode.MASK:
        return report.masked(run, image, _name(asked), mask=mask, how=how)
    return report.inpainted(run, image, mask=mask, seeds=asked.seeds or range(_COMPLETIONS), how=how)


def _begin(asked: _Asked, run: "Run") -> "Tensor | list[int]":
    return read_images(asked.images, run) if asked.seeds is None else asked.seeds


def _name(asked: _Asked) -> str:
    return f"000-{asked.images[0].stem}" if asked.images else ""


def _mask(asked: _Asked, run: "Run") -> "Tensor":
    from genat.generation import box_mask, load_mask

    if asked.mask is not None:
        return load_mask(asked.mask, shape=run.shape)
    assert asked.box is not None
    return box_mask(asked.box, shape=run.shape)


def _corners(text: str) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--box: expected four whole numbers x0,y0,x1,y1, got {text!r}") from None
    return left, top, right, bottom


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--weights: expected numbers such as 1,0.5, got {text!r}") from None
