"""The runs that a studio shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genat import assemble, generation, runs, shipped
from genat.runs import Run
from genat.sources import Source
from genat.sources.source import check_image_shape


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A run in the studio.

    Attributes:
        name: what it is called there.
        run: as `genat.load` reads it.
        starts: where its samples begin; None where their data is not on this machine.
        missing: why there are none; empty where there are.
    """

    name: str
    run: Run
    starts: Source | None
    missing: str


def open_runs(folders: Sequence[Path], *, say: Callable[[str], None] = lambda _: None) -> dict[str, Opened]:
    """Read runs, by name: a folder's path as it is given.

    Args:
        folders: of runs, each once; shipped:NAME is a detector that comes with genat, read where it is.
        say: called with lines worth telling, each named after its run.

    Raises:
        FileNotFoundError: where there is no run.
        ValueError: where a folder is named twice, cannot be read, or is of a run that is not of images.

    Example:
        >>> open_runs([Path("runs/none")])
        Traceback (most recent call last):
        FileNotFoundError: runs/none: expected a run folder, got none
    """
    found: dict[str, Opened] = {}
    places: set[Path] = set()
    for folder in folders:
        place = placed(str(folder))
        if place.resolve() in places:
            raise ValueError(f"{folder}: expected each run once, got it again")
        places.add(place.resolve())
        run = runs.load(place, say=say)
        run.detector.to(assemble.device(run.config))
        try:
            check_image_shape(run.shape)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        starts, missing = starts_of(run)
        if missing:
            say(f"{folder}: no samples, climbs have nowhere to start: {missing}")
        if run.calibration is None:
            say(f"{folder}: no p-values and no verdicts: the run's training has not ended")
        found[str(folder)] = Opened(str(folder), run, starts, missing)
    return found


def placed(name: str) -> Path:
    """Return the folder of a run by its name.

    Raises:
        ValueError: where none of that name comes with genat.

    Example:
        >>> placed("runs/digits"), placed("shipped:digits").name
        (PosixPath('runs/digits'), 'digits')
    """
    return shipped.folder(name.removeprefix(shipped.PREFIX)) if name.startswith(shipped.PREFIX) else Path(name)


def starts_of(run: Run) -> tuple[Source | None, str]:
    """Return where a run's samples begin, or None and why there is nothing: its data is not on this machine."""
    try:
        source = assemble.starts(run.config, run.shape)
        generation.draw_starts(source, seeds=[0])  # what is read at the first draw is read, and missed, here
        return source, ""
    except (ValueError, OSError, ImportError) as error:
        return None, " ".join(str(error).split())
