"""What one training leaves behind, and how it is kept on disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor

from genat import checkpoints
from genat.simulations.outcome import Row

SHOWN = 32
"""Images kept of each training."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One training of one method and what its pictures are drawn from.

    Attributes:
        row: `method`, `factor`, `rate`, `width`, `seed`; `passes` and `iterations` that were made, `seconds` with the
            measuring; `diverged`, after how many iterations a value was not finite, else None; `distance` of the last
            images, with that of the `starts` and of the classes' `means` beside it; `late_auroc`, the mean adversarial
            AUROC of the last fifth; `failure`, why it has failed, else None. Distance and AUROC of a training that has
            diverged are None.
        curve: `passes` and `distance` at some moments.
        history: `iteration`, `passes` and `auroc` on the way.
        samples: `(SHOWN, C, H, W)` uint8; zeros where the training has diverged.
    """

    row: Row
    curve: list[dict[str, float]]
    history: list[dict[str, float]]
    samples: Tensor


def save(outcome: Outcome, folder: Path, *, settings: dict[str, Any]) -> None:
    """Write an outcome: the images first and `outcome.json` last, each whole or not at all.

    Args:
        outcome: of a finished training.
        folder: made where it is not there.
        settings: what it was made with, kept beside the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.write_bytes(folder / "outcome.safetensors", serialize({"samples": outcome.samples.contiguous()}))
    content = {"settings": settings, "row": outcome.row, "curve": outcome.curve, "history": outcome.history}
    checkpoints.write_text(folder / "outcome.json", json.dumps(content, indent=1, allow_nan=False))


def load(folder: Path) -> Outcome:
    """Return the outcome in a folder.

    Raises:
        ValueError: where a file is not there or cannot be read.
    """
    try:
        content = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
        samples = parse((folder / "outcome.safetensors").read_bytes())["samples"]
        return Outcome(dict(content["row"]), list(content["curve"]), list(content["history"]), samples)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder}: expected a finished training, got none that can be read: {reason}") from error


def as_bytes(images: Tensor) -> Tensor:
    """Return images in [0, 1] as uint8.

    Example:
        >>> as_bytes(torch.tensor([0.0, 0.2, 1.0]))
        tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return (255 * images).round().to(torch.uint8)
