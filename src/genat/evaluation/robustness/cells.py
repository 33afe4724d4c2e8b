"""What attacks came to, kept in the run's folder under what it depends on."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genat import checkpoints
from genat.balls import Ball
from genat.decisions import System
from genat.evaluation.keeping import Kept, keep, kept
from genat.evaluation.robustness.scales import Scale
from genat.evaluation.systems import attack_system
from genat.evaluation.systems.ascents import share_of_errors

SEED = 123  # of the choice of images: the papers'
_EACH = "each "  # before an attack's name in a file
Found = tuple[dict[str, Tensor], int]


def with_names(each: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what each attack came to under the names it has in a file."""
    return {_EACH + attack: values for attack, values in each.items()}


def each_of(cell: Kept) -> dict[str, Tensor]:
    """Return what each attack of a cell came to, by its name.

    Example:
        >>> each_of(Kept(with_names({"apgd": torch.zeros(1)}), {}))
        {'apgd': tensor([0.])}
    """
    return {key.removeprefix(_EACH): value for key, value in cell.tensors.items() if key.startswith(_EACH)}


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights and buffers of a module by name, saved ones or not."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


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
    digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}-{digest}.safetensors"
    before = kept(path, record=record, what="an attack's figures")
    if before is not None:
        return before
    began = time.perf_counter()
    tensors, evaluations = attack()
    made = {"evaluations": evaluations, "seconds": time.perf_counter() - began}
    keep(path, tensors, record=record, made=made)
    return Kept(tensors, made)
