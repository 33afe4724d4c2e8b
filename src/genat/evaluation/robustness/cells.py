"""What attacks came to, kept in the run's folder under what it depends on."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genat import checkpoints
from genat.balls import Ball
from genat.decisions import System
from genat.evaluation.keeping import Kept, each_of, keep, kept, place, state, with_names
from genat.evaluation.robustness.scales import Scale
from genat.evaluation.systems import attack_system
from genat.evaluation.systems.ascents import share_of_errors

SEED = 123  # of the choice of images: the papers'
Found = tuple[dict[str, Tensor], int]


def attacked(
    systems: Mapping[str, System],
    levels: Mapping[str, float],
    images: Tensor,
    labels: Tensor,
    ball: Ball,
    *,
    scale: Scale,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Kept]:
    """Attack every system with its threshold, or read what that came to before."""
    cells: dict[str, Kept] = {}
    pixels = checkpoints.digest({"images": images, "labels": labels})
    for name, system in systems.items():
        record = {
            "format": 1,
            "system": [type(system).__name__, checkpoints.digest(state(system))],
            "threshold": levels[name],
            "images": pixels,
            "ball": repr(ball),
            "scale": asdict(scale),
        }

        def attack(system: System = system, level: float = levels[name]) -> Found:
            how: dict[str, Any] = {"steps": scale.steps, "restarts": scale.starts, "targets": scale.targets}
            how |= {"queries": scale.queries, "threshold": level, "seed": SEED}
            found = attack_system(system, images, labels, ball=ball, **how)
            return with_names(found.each) | {"images": found.images}, found.evaluations

        cells[name] = cell(folder, f"system {name}", record, attack)
        each = list(each_of(cells[name]).values())
        wrong = share_of_errors(torch.stack(each).amax(0), None)
        say(f"system {name}: wrong on {wrong:.3f} of {len(images)} under attack, {cells[name].made['seconds']:.0f} s")
    return cells


def cell(folder: Path, name: str, record: Mapping[str, Any], attack: Callable[[], Found]) -> Kept:
    """Return what an attack came to, made now or read."""
    path = place(folder, name, record=record)
    before = kept(path, record=record, what="an attack's figures")
    if before is not None:
        return before
    began = time.perf_counter()
    tensors, evaluations = attack()
    made = {"evaluations": evaluations, "seconds": time.perf_counter() - began}
    keep(path, tensors, record=record, made=made)
    return Kept(tensors, made)
