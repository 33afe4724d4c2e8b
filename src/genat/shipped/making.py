"""How the detectors that come with the package are made: a training each, and its folder without what only trains."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from genat import checkpoints, config, detection, runs
from genat.checkpoints import Checkpoint
from genat.config import Config
from genat.provenance import provenance
from genat.runs import Run
from genat.shipped import NAMES

MADE = "made.json"
_EMOJI_OUTSIDE = yaml.safe_dump(
    [
        config.load("emoji-faces").outside[0].model_dump(mode="json") | {"weight": 2.0},
        {"kind": "photographs"},
        {"kind": "dead-leaves"},
    ],
    default_flow_style=True,
)
RECIPES: Mapping[str, tuple[str, ...]] = {
    "digits": (),
    "emoji-faces": (
        "network_options={channels: [32, 64, 128], hidden: [64], mean: 0.7, std: 0.35}",
        f"outside={_EMOJI_OUTSIDE}",
        "iterations=6000",
        "batch_size=32",
        "sampling.starts=photographs",
    ),
}
"""What each changes of the preset of its name: fewer weights, and starts that need no data."""


def recipe(name: str) -> Config:
    """Return the configuration that a detector of `genat.shipped.NAMES` is trained by.

    Example:
        >>> recipe("emoji-faces").network_options["channels"]
        [32, 64, 128]
    """
    return config.load(name, RECIPES[name])


def condense(run: Run, folder: Path, *, command: str) -> str:
    """Write a finished run without what only training needs: optimiser, last weights, records and reports.

    What is left is read by `genat.load` as before: the configuration, the weights to use, the calibration and the
    held-out images; `made.json` says how they were made. It cannot be trained on.

    Args:
        run: whose training has ended.
        folder: new or empty.
        command: what makes it again.

    Returns:
        The digest of the weights, which is another than the run's, since there are fewer.

    Raises:
        ValueError: where the training has not ended, or there is something in the folder.
    """
    if run.calibration is None:
        raise ValueError(f"{run.folder}: expected a finished training, got one at step {run.iteration}: resume it")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder}: expected a new folder, got one with files")
    whole = checkpoints.latest(run.folder / runs.CHECKPOINTS)
    part = "ema" if whole.part("ema") else "model"
    tensors = {f"{part}.{name}": value for name, value in whole.part(part).items()}
    state = {key: whole.state[key] for key in ("shape", "classes") if key in whole.state}
    digest = checkpoints.digest(tensors)
    checkpoints.save(folder / runs.CHECKPOINTS, Checkpoint(run.iteration, tensors, state))
    checkpoints.write_text(folder / runs.CONFIG, config.dump(run.config))
    checkpoints.write_tensors(folder / runs.HELD_OUT, {"images": run.held_out().pixels})
    detection.keep(run.calibration, folder / runs.CALIBRATION, digest=digest)
    made = {"digest": digest, "trained": run.digest, **provenance(command)}
    checkpoints.write_text(folder / MADE, json.dumps(made, indent=1) + "\n")
    return digest


def make(name: str, *, trainings: Path, shipped: Path, say: Callable[[str], None] = lambda _: None) -> str:
    """Train a detector that comes with the package, unless its training is there, and put it into the package.

    Args:
        name: one of `genat.shipped.NAMES`; the data of emoji-faces are the npm package that its preset names.
        trainings: where the training goes, in a folder of its own, which is resumed where it was stopped.
        shipped: the package's folder, where the one of this name is replaced.
        say: called with each line worth telling a person.

    Returns:
        The digest of the weights.
    """
    folder, settings = trainings / name, recipe(name)
    if (folder / runs.CALIBRATION).exists():
        run = runs.load(folder, say=say)
        if run.config != settings:
            raise ValueError(f"{folder}: expected a training of the recipe, got one of another configuration")
    else:
        run, _ = runs.train(settings, folder, resume=(folder / runs.CONFIG).exists(), say=say)
    partial = shipped / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    digest = condense(run, partial, command=f"python -m genat.shipped {name}")
    shutil.rmtree(shipped / name, ignore_errors=True)
    partial.rename(shipped / name)
    return digest


def known(names: list[str]) -> list[str]:
    """Return the names asked for, all where none is.

    Example:
        >>> known([])
        ['digits', 'emoji-faces']
        >>> known(["faces"])
        Traceback (most recent call last):
        ValueError: expected names among digits, emoji-faces, got faces
    """
    if strange := [name for name in names if name not in NAMES]:
        raise ValueError(f"expected names among {', '.join(NAMES)}, got {', '.join(strange)}")
    return names or list(NAMES)
