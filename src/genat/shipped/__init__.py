"""Detectors that come with the package: run folders, small, trained once, for a first look without a training.

`digits` knows scikit-learn's handwritten digits; it is the preset of that name. `emoji-faces` knows faces among emoji,
32 pixels a side, with a narrower network than its preset. Neither needs its data to sample, transform or detect. They
are made again by `make shipped`.
"""

import os
import shutil
from importlib import resources
from pathlib import Path

NAMES = ("digits", "emoji-faces")
"""The names that `folder` knows."""

PREFIX = "shipped:"
"""What stands before such a name where a run's folder could stand."""


def folder(name: str) -> Path:
    """Return the run folder of a detector that comes with the package, for `genat.load`; it is not to be written to.

    Args:
        name: one of `NAMES`.

    Raises:
        ValueError: for another name.

    Example:
        >>> import genat
        >>> run = genat.load(folder("digits"))
        >>> run.shape, run.iteration
        ((1, 8, 8), 3200)
    """
    if name not in NAMES:
        raise ValueError(f"expected a detector that comes with genat ({', '.join(NAMES)}), got {name!r}")
    return Path(str(resources.files("genat") / "shipped" / name))


def copy(name: str, to: str | Path) -> Path:
    """Copy a detector that comes with the package to a run folder of a person's own, and return it.

    Args:
        name: one of `NAMES`.
        to: a new folder; those above it are made.

    Raises:
        ValueError: for another name.
        FileExistsError: where the folder is there.

    Example:
        >>> to = getfixture("tmp_path") / "runs" / "mine"
        >>> sorted(path.name for path in copy("digits", to).iterdir())
        ['calibration.json', 'checkpoints', 'config.yaml', 'held_out.safetensors', 'made.json']
    """
    own, to = folder(name), Path(to)
    if to.exists():
        raise FileExistsError(f"{to}: expected a new folder, got one that is there")
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    try:
        shutil.copytree(own, partial)
        partial.rename(to)  # so that a folder of this name is whole
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return to
