"""How a figure was made: the words that stand beside it."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def provenance(command: str) -> dict[str, str | int]:
    """Return command, version, commit, software, hardware and date, as JSON can hold them.

    Args:
        command: as a person would type it.

    Example:
        >>> sorted(provenance("genat demo"))
        ['commit', 'date', 'genat', 'hardware', 'made_by', 'python', 'system', 'threads', 'torch']
    """
    import torch

    return {
        "made_by": command,
        "genat": version("genat"),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
    }


def hardware() -> str:
    """Return the machine in words: its GPU where torch sees one, and its processor."""
    import torch

    cpu = f"{os.cpu_count()} x {_processor()}"
    if not torch.cuda.is_available():
        return cpu
    return f"{torch.cuda.get_device_name()}, {cpu}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the source tree's commit, with a plus where it was changed since; "unknown" outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return "unknown"
    try:
        head = _git(here, "rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()
