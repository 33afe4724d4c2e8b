"""What a run makes: how it climbs, and the pictures that are left in a folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from genat import assemble, checkpoints, plots
from genat.generation import Climbing, Samples, sample
from genat.runs import Run

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAMPLES, TRANSFORMED, EDITED = "samples", "transformed", "edited"
BEFORE_AFTER, WAY, MADE = "before-after.png", "way.png", "made.json"
SHOWN_WAYS = 8  # trajectories in a picture


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """Images that were changed.

    Attributes:
        verb: what was done, as a report's caption says it.
        names: `N` names of files, without their endings.
        before: `(N, C, H, W)`.
        after: `(N, C, H, W)`.
        way: `(T, n, C, H, W)`, of the first n of them, at most `SHOWN_WAYS`.
    """

    verb: str
    names: Sequence[str]
    before: Tensor
    after: Tensor
    way: Tensor


def make_samples(
    run: Run,
    seeds: Sequence[int],
    *,
    how: Climbing | None = None,
    tries: int | None = None,
    trajectory: bool = False,
    fabric: "Fabric | None" = None,
) -> Samples:
    """Sample a run as its configuration says, or as `how` says.

    Args:
        run: whose samples.
        seeds: one a sample.
        how: they climb; None is the run's own way.
        tries: the most climbs a sample; None is the run's own where it climbs its own way, else 1: what a climb's
            logit says of how often to keep it is learned of that way alone.
        trajectory: keep the ways.
        fabric: whose processes share the seeds, as in `generation.sample`; None is this one alone.
    """
    own = run.climbing()
    way = Climbing(**{**(how or own), "trajectory": trajectory})
    rejection = run.rejection(tries=1 if tries is None and how not in (None, own) else tries)
    starts = assemble.starts(run.config, run.shape)
    return sample(run.detector, starts, seeds=seeds, rejection=rejection, fabric=fabric, **way)


def save_samples(run: Run, made: Samples, ways: Samples, seeds: Sequence[int], *, of_class: int | None = None) -> Path:
    """Write a run's samples into its folder: one PNG a seed, a grid, and the trajectories of the first few.

    Args:
        run: whose samples they are.
        made: the samples.
        ways: the first few again, with their trajectories: those of all would not fit into memory.
        seeds: of the samples.
        of_class: the class's index that they were made of, for a folder of its own; None is the whole target.

    Returns:
        The grid's path.
    """
    folder = run.folder / SAMPLES if of_class is None else run.folder / SAMPLES / f"class-{of_class}"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, image in zip(seeds, made.images, strict=True):
        (folder / f"seed-{seed:05d}.png").write_bytes(plots.single(image))
    grid = folder / "grid.png"
    grid.write_bytes(plots.grid(made.images))
    if ways.trajectory is not None:
        (folder / "trajectories.png").write_bytes(plots.trajectories(ways.trajectory))
    return grid


def save(edited: Edited, folder: Path, *, command: str) -> list[Path]:
    """Write each result, a picture of all before and after, the way as a strip, and how they were made.

    Args:
        edited: the results.
        folder: made where it is not there.
        command: what a person typed, for the record.

    Returns:
        The pictures' paths: the results in their order, before and after, and the way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {f"{name}.png": plots.single(image) for name, image in zip(edited.names, edited.after, strict=True)}
    pictures[BEFORE_AFTER] = plots.pairs(edited.before, edited.after)
    pictures[WAY] = plots.trajectories(edited.way, rows=SHOWN_WAYS)
    for name, png in pictures.items():
        (folder / name).write_bytes(png)
    checkpoints.write_text(folder / MADE, json.dumps({"verb": edited.verb, "command": command}) + "\n")
    return [folder / name for name in pictures]
