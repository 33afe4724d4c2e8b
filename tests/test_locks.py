"""One training at a time in a folder, and none kept out by one that is no more."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from genat import locks

HOLDER = """
import sys, time
from pathlib import Path
from genat import locks
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_held_once_at_a_time(tmp_path: Path) -> None:
    with locks.held(tmp_path):
        with pytest.raises(ValueError, match=rf"nothing trains in, got process {os.getpid()} at it$") as caught:
            locks.held(tmp_path).__enter__()
        assert str(tmp_path) in str(caught.value)
    with locks.held(tmp_path), pytest.raises(ZeroDivisionError), locks.held(tmp_path.parent):
        raise ZeroDivisionError
    with locks.held(tmp_path.parent):
        assert (tmp_path / locks.LOCK).read_bytes() == b""
    (tmp_path.parent / locks.LOCK).unlink()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ValueError, match=f"got process {process.pid} at it"):
                locks.held(tmp_path).__enter__()
        finally:
            process.send_signal(signal.SIGKILL)
    assert (tmp_path / locks.LOCK).read_text() == f"{process.pid}\n"
    with locks.held(tmp_path):
        assert (tmp_path / locks.LOCK).read_text() == f"{os.getpid()}\n"


def refuse_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_file_system_without_locks_is_told_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_with(errno.ENOTSUP, monkeypatch)
    said: list[str] = []
    with locks.held(tmp_path, say=said.append), locks.held(tmp_path):
        pass
    assert said == [f"{tmp_path}: this file system knows no locks: nothing keeps a second training out"]


def test_what_else_the_system_refuses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_with(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match="Input/output error"), locks.held(tmp_path):
        pass
