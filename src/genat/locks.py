"""One training at a time in a run folder: a lock that the system lets go of when its process ends, however it ends."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOLCK, ENOSYS, ENOTSUP
from pathlib import Path

LOCK = ".lock"


@contextmanager
def held(folder: Path, *, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a folder for as long as the block lasts.

    The file stays when the block has ended, empty: to remove it would let two processes hold two files of one name.

    Args:
        folder: an existing one.
        say: called with a line where the file system knows no locks; the block is then entered without.

    Raises:
        ValueError: where another process, or another block of this one, holds it: one line with its number.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with held(folder):
        ...     sorted(path.name for path in folder.iterdir())
        ['.lock']
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            by = os.read(handle, 20).decode(errors="replace").strip() or "another"
            raise ValueError(f"{folder}: expected a folder that nothing trains in, got process {by} at it") from None
        except OSError as error:
            if error.errno not in (ENOLCK, ENOSYS, ENOTSUP):
                raise
            say(f"{folder}: this file system knows no locks: nothing keeps a second training out")
            yield
            return
        os.ftruncate(handle, 0)  # of one that was killed
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)
