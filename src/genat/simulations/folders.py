"""A folder of trainings that can be gone on with: what it was made with in one file, and a folder for each cell."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from genat import checkpoints
from genat.simulations.outcome import finished

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell(Generic[T]):
    """One training of a study.

    Attributes:
        name: what lines of progress call it.
        folder: its place, below the study's folder.
        make: trains it, writes its folder and returns what came of it.
    """

    name: str
    folder: Path
    make: Callable[[], T]


def known(output: Path, filename: str, *, what: str, holds: str, fits: Callable[[Any], bool]) -> dict[str, Any] | None:
    """Return what a folder was made with, None where it is new.

    Args:
        output: the folder.
        filename: of the file that says so.
        what: the folder is of, in words.
        holds: what the file holds, in words.
        fits: whether a content is that.

    Raises:
        ValueError: where it is a file, holds something else, or its file cannot be read.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output}: expected a folder, got a file")
    path = output / filename
    if not path.exists():
        if output.exists() and any(output.iterdir()):
            raise ValueError(f"{output}: expected an empty folder or one of {what}, got other files")
        return None
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    if not (isinstance(content, dict) and fits(content)):
        raise ValueError(f"{path}: expected {holds}, got something else")
    return content


def of_dicts(section: object) -> bool:
    """Return whether a section holds sections by name.

    Example:
        >>> of_dicts({"gat": {"rate": 0.1}}), of_dicts({"gat": 0.1}), of_dicts(None)
        (True, False, False)
    """
    return isinstance(section, dict) and all(isinstance(part, dict) for part in section.values())


def check_same(output: Path, name: str, *, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder where a name stood for other settings.

    Example:
        >>> check_same(Path("runs"), "gat", before={"rate": 0.1}, now={"rate": 0.2})
        Traceback (most recent call last):
        ValueError: runs: expected gat with rate=0.1 as before, got 0.2: name another folder
    """
    for key in now:
        if before.get(key) != now[key]:
            raise ValueError(
                f"{output}: expected {name} with {key}={before.get(key)} as before, got {now[key]}: name another folder"
            )


def check_device(device: str) -> None:
    """Refuse a device that is unknown or absent."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"expected device cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("expected a CUDA device for device cuda, got none")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse no seeds, negative ones, and one twice."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"expected at least one seed, all different and 0 or more, got {list(seeds)}")


def read_finished(output: Path, cells: Iterable[Path], *, load: Callable[[Path], T]) -> dict[Path, T]:
    """Return what came of those of the cells that are finished, by their folders.

    Raises:
        ValueError: where a file is in the way, or an outcome cannot be read.
    """
    done = {}
    for folder in cells:
        above = [path for path in folder.parents if path.is_relative_to(output)]
        for path in (*reversed(above), folder):
            if path.exists() and not path.is_dir():
                raise ValueError(f"{path}: expected a folder, got a file")
        if finished(folder):
            done[folder] = load(folder)
    return done


def claim(output: Path, filename: str, content: Mapping[str, Any]) -> None:
    """Make the folder and write down what it is made with."""
    output.mkdir(parents=True, exist_ok=True)
    checkpoints.write_text(output / filename, json.dumps(content, indent=1) + "\n")


def complete(cells: Sequence[Cell[T]], done: Mapping[Path, T], *, say: Callable[[str], None]) -> list[T]:
    """Return what came of every cell, making those that are not done."""
    made = []
    for cell in cells:
        if cell.folder in done:
            say(f"{cell.name}: finished, read from {cell.folder}")
            made.append(done[cell.folder])
        else:
            made.append(cell.make())
    return made


def publish(
    output: Path, *, table: Mapping[str, Any], markdown: str, pictures: Mapping[str, bytes]
) -> tuple[Path, ...]:
    """Write a study's table, as JSON and to be read, and its pictures by name; return the pictures' files."""
    checkpoints.write_text(output / "table.json", json.dumps(table, indent=1, allow_nan=False) + "\n")
    checkpoints.write_text(output / "table.md", markdown)
    for name, picture in pictures.items():
        checkpoints.write_bytes(output / name, picture)
    return tuple(output / name for name in pictures)
