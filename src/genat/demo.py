"""The way through the house in one command: in minutes by a training, or in seconds by detectors that are there."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from genat import config, detection, locks, plots, ranking, report, runs, shipped, sources
from genat.ascent import ascend
from genat.balls import L2Ball
from genat.evaluation import families, protocol
from genat.generation import transform
from genat.progress import TrainingProgress

# What three minutes allow: `genat evaluate` takes more images, and longer attacks. The doubled steps of the convergence
# check show that the shorter ones had converged.
_OUTSIDE, _ATTACK_STEPS = 100, 50
# of the quick demo: pictures made, images of each family, and the ascent that raises their logits
_MADE, _QUICK_OUTSIDE = 64, 200
_RADIUS, _QUICK_STEPS = 1.0, 40


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


def quick(folder: Path, *, say: Callable[[str], None] = lambda _: None) -> tuple[report.Table, list[Path]]:
    """Generate, transform and detect with the detectors that come with the package; nothing is trained.

    Detection is measured on scikit-learn's test digits, which no part of the training has seen, against outside images,
    clean and climbed by this library's own ascent within an L2 ball of radius 1. That is one attack, and no worst
    case: `genat demo` and `genat evaluate` take the strongest of several.

    Args:
        folder: where the pictures go; made where it is missing.
        say: called with a line as each part begins.

    Returns:
        A row for the test digits and one for each family of outside images: how many there are, the share that is
        accepted, AUROC, and AUROC when the outside images are climbed; and the pictures' paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name in shipped.NAMES:
        run = runs.load(shipped.folder(name))
        say(f"{name}: {_MADE} samples, and what becomes of noise and of photographs")
        pictures.append(folder / f"{name}-samples.png")
        pictures[-1].write_bytes(plots.grid(report.make_samples(run, range(_MADE)).images))
        held_out = run.held_out()
        starts = {kind: families.family(kind, held_out, n=8) for kind in ("uniform noise", "photographs")}
        climbed = {kind: transform(run.detector, before, **run.climbing()).points for kind, before in starts.items()}
        for kind, before in starts.items():
            pictures.append(folder / f"{name}-from-{kind.replace(' ', '-')}.png")
            pictures[-1].write_bytes(plots.pairs(before, climbed[kind]))
    say("digits: detection")
    run, test = runs.load(shipped.folder("digits")), sources.digits("test")
    return _detected(run, test.tensor(), families.families(test, n=_QUICK_OUTSIDE)), pictures


def _detected(run: runs.Run, inside: Tensor, outside: dict[str, Tensor]) -> report.Table:
    """Return how many are accepted, and how well they are told apart, clean and when climbed."""
    known = detection.logits(run.detector, inside)
    rows = [["test images of the target", str(len(inside)), f"{_accepted(run, inside):.3f}", "", ""]]
    for name, images in outside.items():
        climbed = ascend(
            run.detector, images, ball=L2Ball(_RADIUS), steps=_QUICK_STEPS, step_size=2.5 * _RADIUS / _QUICK_STEPS
        )
        areas = [ranking.auroc(known, detection.logits(run.detector, x)) for x in (images, climbed)]
        rows.append([name, str(len(images)), f"{_accepted(run, images):.3f}", *(f"{area:.4f}" for area in areas)])
    return report.Table(["images", "n", "accepted", "AUROC", f"AUROC, climbed within L2 {_RADIUS:g}"], rows)


def _accepted(run: runs.Run, images: Tensor) -> float:
    return run.predict(images).in_distribution.double().mean().item()


def _is_demo(folder: Path) -> bool:
    """Return whether a folder holds a run named demo, of whatever version: nothing else may be removed."""
    path = folder / runs.CONFIG
    return path.is_file() and config.load(path).name == "demo"
