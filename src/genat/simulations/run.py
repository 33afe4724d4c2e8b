"""Simulations on disk: a folder of finished trainings, gone on with where it was left, and what is drawn from them."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genat import checkpoints, plots
from genat.simulations import folders
from genat.simulations import outcome as outcomes
from genat.simulations.measure import measure
from genat.simulations.outcome import Outcome
from genat.simulations.trainers import Trainer
from genat.simulations.watch import Watch, member_logits
from genat.sources.toy import TOYS, Toy

SIMULATION = "simulation.json"
CURRENT = "current.png"


def toys(names: Sequence[str]) -> dict[str, Toy]:
    """Return data sets by name.

    Raises:
        ValueError: where a name is unknown, or none is given.
    """
    unknown = [name for name in names if name not in TOYS]
    if unknown or not names:
        raise ValueError(f"expected data sets among {', '.join(TOYS)}, got {', '.join(unknown) or 'none'}")
    return {name: TOYS[name]() for name in names}


def simulate(
    data: Mapping[str, Toy],
    trainers: Mapping[str, Trainer],
    *,
    seeds: Sequence[int],
    output: Path,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Train every trainer on every data set, all seeds together, and return what came of each.

    A data set and a trainer share a folder, `output/DATA/TRAINER`, with the picture of the first seed's surface as it
    is now; when it is finished, the folder holds the outcome, and the next call reads it instead of training again.

    Args:
        data: data sets by name.
        trainers: settings by the name they are shown under.
        seeds: one training each, at least one, all different.
        output: made where it is not there.
        device: "cpu" or "cuda".
        say: called with lines of progress.

    Raises:
        ValueError: for seeds out of range, an absent device, a folder made with other settings or one that cannot be
            read; nothing is written then.
    """
    settings = describe(trainers, seeds)
    folders.check_seeds(seeds)
    folders.check_device(device)
    before = _known(output)
    _check_settings(output, before, settings)
    options: dict[str, Any] = {"seeds": seeds, "device": device, "say": say}
    cells = []
    for toy in data.values():
        for name, trainer in trainers.items():
            folder = output / toy.name / name
            make = partial(train, toy, name, trainer, folder=folder, **options)
            cells.append(folders.Cell(f"{toy.name}  {name}", folder, make))
    places = [cell.folder for cell in cells]
    done = folders.read_finished(output, places, load=lambda folder: outcomes.load(folder)[0])
    folders.claim(output, SIMULATION, settings | {"trainers": before["trainers"] | settings["trainers"]})
    return folders.complete(cells, done, say=say)


def train(
    toy: Toy,
    name: str,
    trainer: Trainer,
    *,
    seeds: Sequence[int],
    folder: Path,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Train one data set by one trainer, all seeds together, measure it and write its folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def show(logits: Tensor) -> None:
        side = round(len(logits) ** 0.5)
        picture = plots.line(logits) if toy.shape == (1,) else plots.surface(logits.reshape(side, side))
        checkpoints.write_bytes(folder / CURRENT, picture)

    watch = Watch(toy, trainer.iterations, say=lambda line: say(f"{name}  {line}"), show=show)
    began = time.perf_counter()
    trained = trainer.train(toy, seeds=seeds, device=device, watch=watch)
    seconds = time.perf_counter() - began
    rows = measure(toy, trained, watch, seeds=tuple(seeds), seconds=seconds)
    lost = [row["diverged"] is not None for row in rows]
    logits, samples = member_logits(trained.detector, watch.lattice), trained.samples.clone()
    logits[lost], samples[lost] = math.nan, math.nan  # zeros would look like an optimum
    result = Outcome(
        toy=toy.name,
        trainer=name,
        seeds=tuple(seeds),
        rows=rows,
        history=watch.history,
        logits=logits,
        samples=samples,
        moments=torch.tensor(watch.moments, dtype=torch.int64),
        surfaces=torch.stack(watch.surfaces) if watch.surfaces else torch.empty(0, len(watch.lattice)),
        areas=torch.stack(watch.areas) if watch.areas else torch.empty(0, len(seeds)),
        trajectory=outcomes.empty_trajectory(toy.shape[0]) if lost[0] else trained.trajectory,
    )
    outcomes.save(result, folder, settings={"seconds": seconds, **asdict(trainer)})  # type: ignore[call-overload]
    (folder / CURRENT).unlink(missing_ok=True)
    return result


def describe(trainers: Mapping[str, Trainer], seeds: Sequence[int]) -> dict[str, Any]:
    """Return what a folder of simulations must agree on, as JSON holds it."""
    settings = {name: {"kind": type(trainer).__name__, **asdict(trainer)} for name, trainer in trainers.items()}  # type: ignore[call-overload]
    content: dict[str, Any] = json.loads(json.dumps({"seeds": list(seeds), "trainers": settings}))
    return content


def _known(output: Path) -> dict[str, Any]:
    """Return the seeds and the trainers' settings that a folder was made with, none where it is new."""
    content = folders.known(
        output,
        SIMULATION,
        what="simulations",
        holds="seeds and the settings of trainers",
        fits=lambda content: isinstance(content.get("seeds"), list) and folders.of_dicts(content.get("trainers")),
    )
    return {"seeds": None, "trainers": {}} if content is None else content


def _check_settings(output: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder of other settings."""
    if before["seeds"] not in (None, settings["seeds"]):
        raise ValueError(
            f"{output}: expected its seeds {before['seeds']}, got {settings['seeds']}: name another folder"
        )
    for name, wanted in settings["trainers"].items():
        folders.check_same(output, name, before=before["trainers"].get(name, wanted), now=wanted)
