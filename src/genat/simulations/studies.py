"""What `genat simulate` makes: the data sets' study, the ablation and the count of failures, each with its pictures."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genat import provenance
from genat.simulations import ablation, failures, figures, lineup, table
from genat.simulations.folders import publish
from genat.simulations.outcome import Outcome
from genat.simulations.run import simulate, toys
from genat.simulations.trainers import Gat
from genat.sources.toy import TOYS, Toy

PLANE = ("ring", "grid", "spirals", "checkerboard")
"""The shapes of the GAT papers, over which failures are counted."""
PEERS = ("gat", "gan", "ebm")
"""The trainers that are compared where none are named."""
_ABLATION_TOY = "spirals"
_CELLS = 1000  # cells a side on which the support's share of the box is counted


@dataclass(frozen=True, slots=True)
class Made:
    """What a study left behind.

    Attributes:
        table: its figures and how they were made, as `table.json` holds them.
        markdown: the same table for reading.
        pictures: the files of its figures.
    """

    table: dict[str, Any]
    markdown: str
    pictures: tuple[Path, ...]


def study(
    name: str,
    *,
    trainers: Sequence[str] | None,
    seeds: Sequence[int],
    output: Path,
    budget: float | None,
    device: str,
    command: str,
    say: Callable[[str], None],
) -> Made:
    """Run a study by name and write its table and pictures to its folder.

    Args:
        name: data sets with commas, "all", "ablation" or "failures".
        trainers: by name; None is GAT, a GAN and an energy model. The ablation is of GAT alone and takes none.
        seeds: as in `simulate`.
        output: the folder.
        budget: passes a seed; None is the trainers' own.
        device: "cpu" or "cuda".
        command: what was typed, for the record.
        say: called with lines of progress.

    Raises:
        ValueError: where a name is unknown, a number out of range, the device absent or the folder another's; nothing
            is written then.
    """
    began, record = time.perf_counter(), provenance.provenance(command)  # of the code that runs, not of a later commit
    wanted = PEERS if trainers is None else trainers
    if name == "ablation":
        if trainers is not None:
            raise ValueError(f"expected no trainers for the ablation, which is of gat alone, got {','.join(trainers)}")
        made = _ablate(seeds=seeds, output=output, budget=budget, device=device, say=say)
    elif name == "failures":
        made = _fail(wanted, seeds=seeds, output=output, budget=budget, device=device, say=say)
    else:
        made = _compare(name, wanted, seeds=seeds, output=output, budget=budget, device=device, say=say)
    content, pictures, text = made
    record |= {"wall_seconds": round(time.perf_counter() - began)}
    content = {"made": record, "seeds": len(seeds), **content}
    return Made(content, text, publish(output, table=content, markdown=text, pictures=pictures))


_Parts = tuple[dict[str, Any], dict[str, bytes], str]


def _compare(
    name: str,
    wanted: Sequence[str],
    *,
    seeds: Sequence[int],
    output: Path,
    budget: float | None,
    device: str,
    say: Callable[[str], None],
) -> _Parts:
    names = list(TOYS) if name == "all" else [part.strip() for part in name.split(",")]
    data = toys(names)
    outcomes = simulate(
        data, lineup.trainers(wanted, budget=budget), seeds=seeds, output=output, device=device, say=say
    )
    rows = table.summaries(outcomes, data)
    return {"rows": rows}, pictures(outcomes, data), table.markdown(rows)


def pictures(outcomes: Sequence[Outcome], data: Mapping[str, Toy]) -> dict[str, bytes]:
    """Return every picture of a study by its file's name.

    Each trainer has an overview of its data sets; each data set in the plane the area lines of all trainers; and the
    first trainer's ascents, surfaces and animation. Seeds that all diverge at once leave nothing to draw of these.
    """
    made: dict[str, bytes] = {}
    plane = [outcome for outcome in outcomes if outcome.dim == 2]
    for trainer in dict.fromkeys(outcome.trainer for outcome in plane):
        made[f"overview-{trainer}.png"] = figures.overview([o for o in plane if o.trainer == trainer], data)
    if plane:
        made["samples.png"] = figures.samples(plane, data)
    for toy in dict.fromkeys(outcome.toy for outcome in plane):
        group = [outcome for outcome in plane if outcome.toy == toy]
        made[f"areas-{toy}.png"] = figures.areas(group, share=support_share(data[toy]))
        if len(group[0].moments):
            made[f"surfaces-{toy}.png"] = figures.surfaces(group[0])
            made[f"animation-{toy}.gif"] = figures.animation(group[0])
        if group[0].trajectory.numel():
            made[f"trajectories-{toy}.png"] = figures.trajectories(group[0], data[toy])
    for outcome in outcomes:
        if outcome.dim == 1 and len(outcome.moments):
            made[f"strip-{outcome.trainer}.png"] = figures.strip(outcome, data[outcome.toy])
    return made


def support_share(toy: Toy) -> float:
    """Return the share of the unit box that the support covers."""
    from genat.evaluation.points import lattice

    return toy.inside(lattice(_CELLS, toy.shape[0])).double().mean().item()


def _ablate(
    *, seeds: Sequence[int], output: Path, budget: float | None, device: str, say: Callable[[str], None]
) -> _Parts:
    data = toys([_ABLATION_TOY])
    base = lineup.trainers(["gat"], budget=budget)["gat"]
    assert isinstance(base, Gat)
    settings = ablation.families(base)
    flat = ablation.flat(settings)
    made = {o.trainer: o for o in simulate(data, flat, seeds=seeds, output=output, device=device, say=say)}
    names = {setting: name for name, setting in flat.items()}
    shown = {
        family: {label: made[names[setting]] for label, setting in labels.items()}
        for family, labels in settings.items()
    }
    rows = [
        table.summarise(outcome) | {"family": family, "setting": label}
        for family, labels in shown.items()
        for label, outcome in labels.items()
    ]
    share = support_share(data[_ABLATION_TOY])
    return {"rows": rows}, {"ablation.png": figures.ablation(shown, share=share)}, table.ablation_markdown(rows)


def _fail(
    wanted: Sequence[str],
    *,
    seeds: Sequence[int],
    output: Path,
    budget: float | None,
    device: str,
    say: Callable[[str], None],
) -> _Parts:
    varied = failures.decades(lineup.trainers(wanted, budget=budget))
    outcomes = simulate(toys(PLANE), varied, seeds=seeds, output=output, device=device, say=say)
    rows = failures.count(outcomes)
    cells = [table.summarise(outcome) for outcome in outcomes]
    return {"rows": rows, "cells": cells}, {"failures.png": figures.failures(rows)}, table.failures_markdown(rows)
