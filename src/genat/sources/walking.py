"""Image files without end: folders walked lazily, files read in batches, what cannot be read passed on by name."""

import stat
from collections.abc import Callable, Iterable, Iterator
from os import fspath, scandir
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from genat.sources.decoding import SUFFIXES, reason
from genat.sources.files import load_image
from genat.sources.source import check_image_shape


class Skipped(NamedTuple):
    """A file that could not be read.

    Attributes:
        path: as it was named or found; bytes of a name that are not UTF-8 are lone surrogates, as `os.fsdecode` makes
            them.
        reason: one line that names it and says why.
    """

    path: str
    reason: str


class Batch(NamedTuple):
    """Images that were read together.

    Attributes:
        paths: of N files.
        images: `(N, C, H, W)` float32 in [0, 1].
        notes: what was converted in each, as `load_image` says it.
    """

    paths: tuple[str, ...]
    images: Tensor
    notes: tuple[tuple[str, ...], ...]


def walk(folder: str | Path, *, ignored: Callable[[str], None] = lambda _: None) -> Iterator[str | Skipped]:
    """Yield the image files in a folder and all folders below it, each folder's entries sorted by name.

    Names decide: files that do not end as an image's do are ignored, and so is all that is hidden. A link to a folder
    is followed unless it leads to one that encloses this folder or was entered before, so that every walk ends. What
    is neither file nor folder, such as a pipe or a broken link, is never opened. Held are the names in the folders on
    the way down, and of what was passed only which folders it were.

    Args:
        folder: where to begin.
        ignored: called with the path of each file that is not named as an image.

    Yields:
        Paths, and in their places what cannot be read.

    Raises:
        OSError: where the folder does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     for name in ("b.png", "a.jpg", "notes.txt"):
        ...         Path(place, name).touch()
        ...     [Path(found).name for found in walk(place)]
        ['a.jpg', 'b.png']
    """
    real = Path(folder).resolve(strict=True)
    entered = {_identity(place) for place in real.parents}
    stack = [iter([Path(folder)])]
    while stack:
        path = next(stack[-1], None)
        if path is None:
            stack.pop()
            continue
        kind = _kind(path)
        if isinstance(kind, Skipped):
            yield kind
        elif stat.S_ISDIR(kind):
            inside = _enter(path, entered)
            if isinstance(inside, Skipped):
                yield inside
            else:
                stack.append(inside)
        elif path.suffix.lower() in SUFFIXES:
            yield str(path)
        else:
            ignored(str(path))


def find_images(
    paths: Iterable[str | Path], *, ignored: Callable[[str], None] = lambda _: None
) -> Iterator[str | Skipped]:
    """Yield the image files that paths name: a file itself, whatever its name, and a folder's by `walk`.

    Args:
        paths: of files and folders; taken one by one, so that they may be without end.
        ignored: as for `walk`.

    Yields:
        Paths, and in their places what cannot be read.

    Example:
        >>> list(find_images(["missing.png"]))
        [Skipped(path='missing.png', reason="expected an image in 'missing.png', got No such file or directory")]
    """
    for path in paths:
        kind = _kind(Path(path))
        if isinstance(kind, Skipped):
            yield kind
        elif stat.S_ISDIR(kind):
            yield from walk(path, ignored=ignored)
        else:
            yield fspath(path)


def read_batches(
    files: Iterable[str | Path | Skipped], *, shape: tuple[int, ...], batch_size: int
) -> Iterator[Batch | Skipped]:
    """Read files, so many at a time, in the shape that a detector takes.

    Args:
        files: paths, and what is known to be unreadable, which is passed on; taken as needed.
        shape: `(C, H, W)` as for `load_image`.
        batch_size: images a batch, at least 1; the last has what is left.

    Yields:
        Batches in the files' order; what cannot be read as soon as it is found.

    Raises:
        ValueError: where the shape or batch_size is another.

    Example:
        >>> [found.reason for found in read_batches(["missing.png"], shape=(1, 8, 8), batch_size=4)]
        ["expected an image in 'missing.png', got No such file or directory"]
    """
    check_image_shape(shape)
    if batch_size < 1:
        raise ValueError(f"expected batch_size to be at least 1, got {batch_size}")
    return _batches(files, shape, batch_size)


def _batches(
    files: Iterable[str | Path | Skipped], shape: tuple[int, ...], batch_size: int
) -> Iterator[Batch | Skipped]:
    rows: list[tuple[str, Tensor, tuple[str, ...]]] = []
    for file in files:
        row = file if isinstance(file, Skipped) else _read(fspath(file), shape)
        if isinstance(row, Skipped):
            yield row
            continue
        rows.append(row)
        if len(rows) == batch_size:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def _read(path: str, shape: tuple[int, ...]) -> tuple[str, Tensor, tuple[str, ...]] | Skipped:
    kind = _kind(Path(path))
    if isinstance(kind, Skipped):
        return kind
    try:
        image, notes = load_image(path, shape=shape)
    except ValueError as error:
        return Skipped(path, reason(error))
    return path, image, notes


def _batch(rows: list[tuple[str, Tensor, tuple[str, ...]]]) -> Batch:
    paths, images, notes = zip(*rows, strict=True)
    return Batch(paths, torch.cat(images), notes)


def _kind(path: Path) -> int | Skipped:
    """Return the mode of a file or folder, or why it is neither; opening a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        why = "a broken link" if path.is_symlink() else reason(error)
    except (OSError, ValueError) as error:
        why = reason(error)
    else:
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return mode
        why = "no regular file"
    return Skipped(str(path), f"expected an image in {str(path)!r}, got {why}")


def _enter(folder: Path, entered: set[tuple[int, int]]) -> Iterator[Path] | Skipped:
    """Return the visible entries of a folder sorted by name; none where it was entered before."""
    try:
        if (identity := _identity(folder)) in entered:
            return iter(())
        entered.add(identity)
        with scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        why = f"expected a folder of images, got {str(folder)!r}, which cannot be read: {reason(error)}"
        return Skipped(str(folder), why)
    return (folder / name for name in names)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
