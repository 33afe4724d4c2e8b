"""What the training of one toy by one trainer leaves behind, for all its seeds, and how it is kept on disk."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor

from genat import checkpoints

Row = dict[str, float | int | str | None]
"""A seed's figures; None where a figure does not apply to the toy or the trainer, or the training diverged."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """S trainings of one toy by one trainer, seed by seed, and what their pictures are drawn from.

    Attributes:
        toy: name of the data set.
        trainer: name of the trainer.
        seeds: `(S,)` of them.
        rows: a mapping a seed, its figures by name.
        history: a record each few iterations: `iteration`, and lists over the seeds.
        logits: `(S, R^d)` the trained logits on the lattice of R cells a side, in `lattice`'s order.
        samples: `(S, n, d)` generated points.
        moments: `(T,)` int64, the iterations at which a surface was kept.
        surfaces: `(T, R^d)` the first seed's logits at these moments.
        areas: `(T, S)` share of the lattice's cells whose logit is at least 0, the half level set, at these moments.
        trajectory: `(K + 1, n, d)` where the first seed's ascents went; without any for a generator's samples.

    All numbers of a seed that has diverged are NaN, those of `history`, `surfaces` and `areas` from then on.
    """

    toy: str
    trainer: str
    seeds: tuple[int, ...]
    rows: list[Row]
    history: list[dict[str, Any]]
    logits: Tensor
    samples: Tensor
    moments: Tensor
    surfaces: Tensor
    areas: Tensor
    trajectory: Tensor

    @property
    def dim(self) -> int:
        """Coordinates of a point."""
        return self.samples.shape[-1]

    @property
    def resolution(self) -> int:
        """Cells a side of the lattice."""
        return round(float(self.logits.shape[-1] ** (1 / self.dim)))


_TENSORS = ("logits", "samples", "moments", "surfaces", "areas", "trajectory")


def save(outcome: Outcome, folder: Path, *, settings: dict[str, Any]) -> None:
    """Write an outcome: the tensors first and `outcome.json` last, each whole or not at all.

    Args:
        outcome: of finished trainings.
        folder: made where it is not there.
        settings: what the trainings were made with, kept beside the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(outcome, name).contiguous() for name in _TENSORS}
    checkpoints.write_bytes(folder / "outcome.safetensors", serialize(tensors))
    rest = {field.name: getattr(outcome, field.name) for field in fields(outcome) if field.name not in _TENSORS}
    rest["history"] = [_for_json(record) for record in outcome.history]
    content = json.dumps({"settings": settings, **rest}, indent=1, allow_nan=False)
    checkpoints.write_text(folder / "outcome.json", content)


def load(folder: Path) -> tuple[Outcome, dict[str, Any]]:
    """Return the outcome in a folder and the settings it was made with.

    Raises:
        ValueError: where a file is not there or cannot be read.
    """
    try:
        rest = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
        tensors = parse((folder / "outcome.safetensors").read_bytes())
        settings = rest.pop("settings")
        rest["history"] = [_from_json(record) for record in rest["history"]]
        return Outcome(**(rest | {"seeds": tuple(rest["seeds"])} | tensors)), settings
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: expected a finished simulation, got none that can be read: {reason}") from error


def _for_json(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with None, which JSON can hold, where a number of its lists is not finite."""
    lists = {name: values for name, values in record.items() if isinstance(values, list)}
    return record | {name: [x if math.isfinite(x) else None for x in values] for name, values in lists.items()}


def _from_json(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with NaN where its lists hold None."""
    lists = {name: values for name, values in record.items() if isinstance(values, list)}
    return record | {name: [math.nan if x is None else x for x in values] for name, values in lists.items()}


def finished(folder: Path) -> bool:
    """Return whether a folder holds an outcome: its last file is there."""
    return (folder / "outcome.json").is_file()


def empty_trajectory(dim: int) -> Tensor:
    """Return the trajectory of a trainer that has none, `(0, 0, dim)`."""
    return torch.empty(0, 0, dim)
