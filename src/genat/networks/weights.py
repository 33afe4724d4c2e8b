"""Weights from disk: safetensors, loaded strictly, never unpickled."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_PICKLES = (b"PK", b"\x80")  # a zip archive, which torch.save writes, and a bare pickle
_SHOWN = 3


def init(network: nn.Module, path: Path | str) -> None:
    """Load a safetensors file into a network, all of it and nothing else.

    The file is compared with the network before anything is written: a refused file leaves the network as it was.

    Args:
        network: takes the weights, on its own device and in its own floating-point type.
        path: the file, its names those of `network.state_dict()`.

    Raises:
        ValueError: where the file cannot be read, is not safetensors (a pickle may run code and is never opened), or
            lacks a weight, has one too many, or one of another shape or kind.

    Example:
        >>> import tempfile, torch
        >>> from safetensors.torch import save_file
        >>> network = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, f"{folder}/ones.safetensors")
        ...     init(network, f"{folder}/ones.safetensors")
        >>> network.weight.tolist()
        [[1.0, 1.0]]
    """
    stored = _read(Path(path))
    own: dict[str, Tensor] = network.state_dict()
    differing = [
        f"{name} {_kind(stored[name])} instead of {_kind(tensor)}"
        for name, tensor in own.items()
        if name in stored and not _fits(stored[name], tensor)
    ]
    faults = [
        f"{what} {_listed(names)}"
        for what, names in (
            ("without", [name for name in own if name not in stored]),
            ("with unexpected", [name for name in stored if name not in own]),
            ("with", differing),
        )
        if names
    ]
    if faults:
        raise ValueError(f"expected the weights of this {type(network).__name__}, got {path} {' and '.join(faults)}")
    network.load_state_dict(stored)


def one_line(error: Exception) -> str:
    r"""Return an error's message on one line, its type first.

    Example:
        >>> one_line(RuntimeError("a\n  b"))
        'RuntimeError: a b'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _read(path: Path) -> dict[str, Tensor]:
    try:
        stored: dict[str, Tensor] = load_file(path)
    except OSError as error:
        raise ValueError(f"expected a safetensors file, got {path}: {error.strerror or one_line(error)}") from error
    except SafetensorError as error:
        with path.open("rb") as file:
            pickled = file.read(2).startswith(_PICKLES)
        reason = "a pickle; convert it with safetensors.torch.save_file" if pickled else one_line(error)
        raise ValueError(f"expected a safetensors file, got {path}: {reason}") from error
    return stored


def _fits(stored: Tensor, own: Tensor) -> bool:
    return stored.shape == own.shape and stored.is_floating_point() == own.is_floating_point()


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
