"""Training states on disk: tensors as safetensors, the rest as JSON, each written whole or not at all.

A checkpoint is a pair of files, `step-00000500.safetensors` and `step-00000500.json`. The JSON is renamed into place
last and holds the other's SHA-256 and its own, so that a checkpoint exists exactly when it is complete, and is what was
written. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 2
"""What `save` writes. Of format 1, which `read` still takes, the JSON has no digest of its own."""

_MOST_JSON = 2**26  # bytes, read at once
_SEAL = "seal"  # the key of a JSON object's digest of itself


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


def save(folder: Path, checkpoint: Checkpoint, *, keep: int | None = 2) -> Path:
    """Write a checkpoint atomically and remove the older ones but the newest `keep` - 1.

    Checkpoints of later iterations stay, readable or not: what was just written is never what is removed. What a
    process that was killed had begun to write is removed too.

    Args:
        folder: made where it is missing.
        checkpoint: what to write.
        keep: how many to leave, this one counted, at least 1; None is all.

    Returns:
        The path of the checkpoint's JSON file.

    Raises:
        ValueError: where keep is below 1.
        OSError: where the disk refuses; checkpoints written before are untouched.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"expected keep to be at least 1, got {keep}")
    make_folder(folder)
    manifest = _manifest_path(folder, checkpoint.iteration)
    sha256 = write_tensors(manifest.with_suffix(".safetensors"), checkpoint.tensors)
    content = {"format": FORMAT, "genat": version("genat"), "iteration": checkpoint.iteration, "sha256": sha256}
    write_text(manifest, json.dumps(sealed(content | {"state": dict(checkpoint.state)}), indent=1))
    kept = [other.stem for other in _manifests(folder) if other <= manifest][:keep]
    for path in sorted([*folder.glob("step-*.json"), *folder.glob("step-*.safetensors")]):
        if path.stem < manifest.stem and path.stem not in kept:  # also tensors whose JSON was never written
            path.unlink()
    clear_partial(folder)
    return manifest


def read(manifest: Path) -> Checkpoint:
    """Read one checkpoint and check it against its digests.

    Args:
        manifest: the path that `save` returned.

    Raises:
        ValueError: where the pair is torn, altered, or of a format this version does not know; the message names the
            file.
    """
    content = read_json(manifest, what="a checkpoint")
    try:
        known = content["format"]
        if known not in range(1, FORMAT + 1):
            by = f", written by genat {content['genat']}" if "genat" in content else ""
            raise ValueError(f"{manifest}: expected checkpoint format {FORMAT} or older, got {known}{by}")
        if (known > 1 or _SEAL in content) and not is_sealed(content):
            raise ValueError(f"{manifest}: expected what its own SHA-256 says, got another: the file is altered")
        iteration, state, sha256 = content["iteration"], content["state"], content["sha256"]
        if not (isinstance(iteration, int) and isinstance(state, dict) and isinstance(sha256, str)):
            raise ValueError(f"{manifest}: expected an iteration and a state, got {iteration!r} and {state!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(manifest, "a checkpoint", error) from error
    return Checkpoint(iteration, read_tensors(manifest.with_suffix(".safetensors"), sha256=sha256), state)


def latest(folder: Path, *, passed_over: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """Return the newest checkpoint of a folder that can be read.

    Args:
        folder: where they are.
        passed_over: called with a line for each newer one that cannot be read: its file, and why.

    Raises:
        ValueError: where there is none; the message names each file that was passed over and why.
    """
    reasons = []
    for manifest in _manifests(folder):
        try:
            found = read(manifest)
        except ValueError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            passed_over(f"passed over: {reason}")
        return found
    raise ValueError("; ".join(reasons) if reasons else f"{folder}: expected a checkpoint, got none")


def any_in(folder: Path) -> bool:
    """Return whether a folder has a checkpoint, readable or not."""
    return any(folder.glob("step-*.json"))


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


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold with a SHA-256 of all of it, in the place of one that is there.

    Example:
        >>> written = sealed({"a": 1})
        >>> is_sealed(written), is_sealed(written | {"a": 2}), is_sealed({"a": 1})
        (True, False, False)
    """
    bare: dict[str, Any] = json.loads(json.dumps({key: value for key, value in content.items() if key != _SEAL}))
    return bare | {_SEAL: hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Return whether an object is what `sealed` returned."""
    seal: object = sealed(content)[_SEAL]
    return content.get(_SEAL) == seal


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """Return the object that a JSON file of reasonable size holds.

    Args:
        path: of the file.
        what: an error calls it.

    Raises:
        ValueError: where there is none or it cannot be read: one line that names the file.
    """
    try:
        if (length := _length(path)) > _MOST_JSON:
            raise ValueError(f"{length} bytes, more than {_MOST_JSON}")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"no keys and values but {type(content).__name__}")
    except FileNotFoundError:
        raise ValueError(f"{path}: expected {what}, got none") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path, what, error) from error
    return content


def read_tensors(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Return a safetensors file's tensors by name; they take no more memory than the file has bytes.

    Args:
        path: of the file.
        sha256: of its bytes; None takes any.

    Raises:
        ValueError: where there is none, it is altered, or no safetensors: one line that names the file.
    """
    try:
        _length(path)
        if sha256 is not None and _sha256(path) != sha256:
            raise ValueError(f"{path}: expected SHA-256 {sha256[:12]}..., got another: the file is altered")
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a checkpoint's file, got none") from None
    except (OSError, TypeError) as error:
        raise _unreadable(path, "tensors", error) from error
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise _unreadable(path, "tensors", error) from error  # all but the first where a shape is beyond all numbers
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file whole or not at all, and return its SHA-256.

    Raises:
        OSError: where the disk refuses; names the file.
    """
    # cloned because safetensors refuses tensors that share memory, as tied weights do
    alone = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    with _whole(path) as partial:
        save_file(alone, partial)
        return _sha256(partial)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; an `OSError` names it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; an `OSError` names it."""
    with _whole(path) as partial:
        partial.write_bytes(content)
    _flush(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, and have their names on the disk."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _flush(made.parent)


def clear_partial(folder: Path) -> None:
    """Remove what processes that were killed had begun to write into a folder; no other may be writing there."""
    for left in folder.glob(".*.partial"):
        left.unlink(missing_ok=True)


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


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a file to write to, which gets its name when all of it is on the disk."""
    partial = _partial(path)
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
    except SafetensorError as error:
        raise _as_os_error(error, path) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    """Return what the operating system refused, which safetensors tells in words alone."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is None:
        return OSError(None, " ".join(str(error).split()), str(path))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _length(path: Path) -> int:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TypeError("no regular file")  # opening a pipe would wait for ever
    return status.st_size


def _unreadable(path: Path, what: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path}: expected {what}, got a file that cannot be read as one: {reason}")


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    for block in _blocks(path):
        total.update(block)
    return total.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
