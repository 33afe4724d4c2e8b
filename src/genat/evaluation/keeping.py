"""Tensors on disk with what they are a function of: read again only where that is the same."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from genat import checkpoints

_EACH = "each "  # before an attack's name in a file


class Kept(NamedTuple):
    """What `keep` wrote.

    Attributes:
        tensors: by name.
        made: what was to be told of them.
    """

    tensors: dict[str, Tensor]
    made: dict[str, Any]


def keep(path: Path, tensors: Mapping[str, Tensor], *, record: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Write tensors to a file, whose folder is made where it is not there.

    Args:
        path: of the file.
        tensors: by name.
        record: what they are a function of, as JSON holds it.
        made: what is to be told of them, likewise.
    """
    state = {name: value.contiguous() for name, value in tensors.items()}
    told = {**made, "sha256": checkpoints.digest(state)}
    path.parent.mkdir(exist_ok=True, parents=True)
    checkpoints.write_bytes(path, save(state, {"record": json.dumps(record), "made": json.dumps(told)}))


def kept(path: Path, *, record: Mapping[str, Any], what: str) -> Kept | None:
    """Return what `keep` wrote; None where there is no such file, or one of another record.

    Args:
        path: of the file.
        record: what the tensors are to be a function of.
        what: an error calls them.

    Raises:
        ValueError: where the file is there and cannot be read: one line that names it.

    Example:
        >>> import torch
        >>> path = getfixture("tmp_path") / "peers" / "one.safetensors"
        >>> kept(path, record={"seed": 1}, what="a classifier")
        >>> keep(path, {"weight": torch.ones(1)}, record={"seed": 1}, made={"seconds": 3.5})
        >>> kept(path, record={"seed": 1}, what="a classifier")
        Kept(tensors={'weight': tensor([1.])}, made={'seconds': 3.5})
        >>> kept(path, record={"seed": 2}, what="a classifier")
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        if metadata["record"] != json.dumps(record):
            return None
        made: dict[str, Any] = json.loads(metadata["made"])
        if made.pop("sha256") != checkpoints.digest(tensors):
            raise ValueError("other values than were written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected {what}, got a damaged file ({reason}): delete it") from None
    return Kept(tensors, made)


def with_names(each: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what each attack came to under the names it has in a file."""
    return {_EACH + attack: values for attack, values in each.items()}


def each_of(cell: Kept) -> dict[str, Tensor]:
    """Return what each attack of kept ones came to, by its name.

    Example:
        >>> import torch
        >>> each_of(Kept(with_names({"apgd": torch.zeros(1)}), {}))
        {'apgd': tensor([0.])}
    """
    return {key.removeprefix(_EACH): value for key, value in cell.tensors.items() if key.startswith(_EACH)}


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights and buffers of a module by name, saved ones or not."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def place(folder: Path, name: str, *, record: Mapping[str, Any]) -> Path:
    """Return the file for what is a function of a record: its name in letters, digits and hyphens, and a digest.

    Example:
        >>> place(Path("cells"), "uniform noise, L2 0.5", record={"seed": 1}).name
        'uniform-noise-l2-0-5-a4bbadc1c78966d2.safetensors'
    """
    digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[-60:]
    return folder / f"{slug}-{digest}.safetensors"


def write_table(path: Path, figures: Mapping[str, Any]) -> None:
    """Write an evaluation's figures whole or not at all; the folder is made where it is not there."""
    path.parent.mkdir(exist_ok=True)
    checkpoints.write_text(path, json.dumps(figures, indent=1) + "\n")


def read_table(path: Path) -> dict[str, Any] | None:
    """Return an evaluation's figures, None where there is no such file.

    Raises:
        ValueError: where the file cannot be read: one line that names it.
    """
    if not path.exists():
        return None
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a table of figures, got a file that cannot be read: {error}") from None
    return figures
