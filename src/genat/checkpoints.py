"""Training states on disk: tensors as safetensors, the rest as JSON, each written whole or not at all.

A checkpoint is a pair of files, `step-00000500.safetensors` and `step-00000500.json`. The JSON is renamed into place
last and holds the other's SHA-256, so that a checkpoint exists exactly when it is complete. Nothing is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training's state after `iteration` steps.

    Attributes:
        iteration: completed training steps.
        tensors: by name; `model.` and `ema.` hold weights, `optimizer.` the optimiser's moments.
        state: whatever JSON can hold: curriculum, optimiser settings, seed.
    """

    iteration: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors under `name.`, their prefix taken off.

        Example:
            >>> Checkpoint(0, {"model.w": torch.zeros(1), "ema.w": torch.ones(1)}).part("ema")
            {'w': tensor([1.])}
        """
        return {
            key.removeprefix(f"{name}."): value for key, value in self.tensors.items() if key.startswith(f"{name}.")
        }


def save(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write a checkpoint atomically and remove the older ones but the newest `keep` - 1.

    Checkpoints of later iterations stay, readable or not: what was just written is never what is removed.

    Args:
        folder: made where it is missing.
        checkpoint: what to write.
        keep: how many to leave, this one counted, at least 1.

    Returns:
        The path of the checkpoint's JSON file.

    Raises:
        ValueError: where keep is below 1.
        OSError: where the disk refuses; checkpoints written before are untouched.
    """
    if keep < 1:
        raise ValueError(f"expected keep to be at least 1, got {keep}")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest_path(folder, checkpoint.iteration)
    # cloned because safetensors refuses tensors that share memory, as tied weights do
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in checkpoint.tensors.items()
    }
    weights = manifest.with_suffix(".safetensors")
    partial = _partial(weights)
    try:
        save_file(tensors, partial)
        sha256 = _sha256(partial)
        _flush(partial)
        partial.replace(weights)
    finally:
        partial.unlink(missing_ok=True)
    content = {"format": FORMAT, "iteration": checkpoint.iteration, "sha256": sha256, "state": dict(checkpoint.state)}
    write_text(manifest, json.dumps(content, indent=1))
    kept = [other.stem for other in _manifests(folder) if other <= manifest][:keep]
    for path in sorted([*folder.glob("step-*.json"), *folder.glob("step-*.safetensors")]):
        if path.stem < manifest.stem and path.stem not in kept:  # also tensors whose JSON was never written
            path.unlink()
    return manifest


def read(manifest: Path) -> Checkpoint:
    """Read one checkpoint and check it against its digest.

    Args:
        manifest: the path that `save` returned.

    Raises:
        ValueError: where the pair is torn, altered, or of a format this version does not know; the message names the
            file.
    """
    weights = manifest.with_suffix(".safetensors")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        version = content["format"]
        if version != FORMAT:
            raise ValueError(f"{manifest}: expected checkpoint format {FORMAT}, got {version}")
        if _sha256(weights) != content["sha256"]:
            raise ValueError(
                f"{weights}: expected SHA-256 {content['sha256'][:12]}..., got another: the file is altered"
            )
        iteration, state = content["iteration"], content["state"]
        if not (isinstance(iteration, int) and isinstance(state, dict)):
            raise ValueError(f"{manifest}: expected an iteration and a state, got {iteration!r} and {state!r}")
        return Checkpoint(iteration, load_file(weights), state)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: expected a checkpoint's file, got none") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(
            f"{manifest}: expected a checkpoint, got a file that cannot be read as one: {error}"
        ) from error


def latest(folder: Path) -> Checkpoint:
    """Return the newest checkpoint of a folder that can be read.

    Raises:
        ValueError: where there is none; the message names each file that was passed over and why.
    """
    reasons = []
    for manifest in _manifests(folder):
        try:
            return read(manifest)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; ".join(reasons) if reasons else f"{folder}: expected a checkpoint, got none")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, shapes, types and bytes: equal digests are equal weights, bit for bit.

    Example:
        >>> digest({"w": torch.zeros(2)})[:12], digest({"w": torch.zeros(1, 2)})[:12]
        ('a457133539cc', '6e782ca32713')
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        total.update(value.view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = _partial(path)
    try:
        partial.write_bytes(content)
        _flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _flush(path.parent)


def flatten_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's `state_dict` into named tensors and what JSON can hold.

    Example:
        >>> state = {0: {"m": torch.zeros(1), "k": 3}}
        >>> flatten_optimizer({"state": state, "param_groups": [{"lr": 0.1}]})
        ({'0.m': tensor([0.])}, {'state': {'0': {'k': 3}}, 'param_groups': [{'lr': 0.1}]})
    """
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"state": scalars, "param_groups": state["param_groups"]}


def restore_optimizer(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Put back together what `flatten_optimizer` took apart.

    Example:
        >>> restore_optimizer({"0.m": torch.zeros(1)}, {"state": {"0": {"k": 3}}, "param_groups": []})
        {'state': {0: {'k': 3, 'm': tensor([0.])}}, 'param_groups': []}
    """
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in rest["state"].items()}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": rest["param_groups"]}


def _manifest_path(folder: Path, iteration: int) -> Path:
    return folder / f"step-{iteration:08d}.json"


def _manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.json"), reverse=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    for block in _blocks(path):
        total.update(block)
    return total.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
