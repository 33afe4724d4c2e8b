"""The way through the house in one command."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genat import config, locks, report, runs
from genat.evaluation import protocol
from genat.progress import TrainingProgress

# What three minutes allow: `genat evaluate` takes more images, and longer attacks. The doubled steps of the convergence
# check show that the shorter ones had converged.
_OUTSIDE, _ATTACK_STEPS = 100, 50


def demo(
    folder: Path, *, seed: int = 0, command: str = "genat demo", say: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Any], Path]:
    """Train the digits preset, evaluate it and write the report.

    Args:
        folder: of the run; an earlier demo there is replaced, anything else is left alone.
        seed: of the training.
        command: what a person typed, for the record.
        say: called with a line as each part begins.

    Returns:
        The figures of `genat.evaluation.protocol.evaluate`, and the report's path.

    Raises:
        ValueError: where the folder holds something that is no demo, or one that another process is making.
    """
    settings = config.load("digits", ["name=demo", f"seed={seed}"])
    if folder.exists():
        if not _is_demo(folder):
            raise ValueError(f"{folder}: expected an earlier demo or nothing, got something else")
        with locks.held(folder):  # so that none is removed that is being made
            shutil.rmtree(folder)
    with TrainingProgress(iterations=settings.iterations, batch_size=settings.batch_size) as progress:
        run, fitted = runs.train(settings, folder, callback=progress, say=progress.say)
    say(f"digest {fitted.digest}")
    figures = protocol.evaluate(run, n_outside=_OUTSIDE, attack_steps=_ATTACK_STEPS, command=command, say=say)
    return figures, report.write(run, command=command)


def _is_demo(folder: Path) -> bool:
    """Return whether a folder holds a run named demo, of whatever version: nothing else may be removed."""
    path = folder / runs.CONFIG
    return path.is_file() and config.load(path).name == "demo"
