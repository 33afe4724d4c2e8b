"""`genat evaluate`: what a run is worth, measured on data that nothing was chosen on."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genat import assemble, baselines, checkpoints
from genat.balls import L2Ball
from genat.evaluation.families import families, seen
from genat.evaluation.fidelity import features, kernel_distance, recognised
from genat.evaluation.ood import OodTable, as_dicts, ood_table
from genat.generation import sample
from genat.provenance import provenance
from genat.runs import Run
from genat.sources import Images

FOLDER, FIGURES, LOGITS = "evaluation", "figures.json", "logits.safetensors"
_SEED = 2**31  # of the evaluation's samples: far from the seeds a person looks at


def evaluate(
    run: Run,
    *,
    images: Images | None = None,
    n_samples: int = 1000,
    n_outside: int = 500,
    radii: Sequence[float] = (0.5, 1.0),
    attack_steps: int = 100,
    command: str = "genat evaluate",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a run's detection, clean and under attack, and its generation; write both into the run folder.

    Detection is measured on the target's test images against noise, dead leaves, the inverted target and the target
    with its patches shuffled, clean and at each L2 radius, beside the energy score of a plain classifier where the
    target has two classes or more. Generation is measured by that classifier: how many samples it recognises, how
    evenly they cover the classes, and the kernel distance of its features to those of real test images.

    Args:
        run: as `genat.load` gives it.
        images: test images of the target; None takes the data set's own, or the validation images where it has none.
        n_samples: how many to generate; seeds from 2**31 on.
        n_outside: images of each outside family.
        radii: of the attacks, L2 in pixels of [0, 1].
        attack_steps: of each attack; the convergence check takes twice as many.
        command: what a person typed, for the record.
        say: called with a line as each part begins.

    Returns:
        What `evaluation/figures.json` holds.

    Raises:
        ImportError: where pyautoattack is not installed.
        ValueError: where the images have another shape than the detector's.
    """
    began = time.monotonic()
    data = assemble.target(run.config)
    own = images if images is not None else assemble.official_test(run.config)
    inside = data.validation if own is None else own
    if inside.shape != run.shape:
        raise ValueError(f"expected test images of shape {run.shape}, got {inside.shape}")
    outside = families(inside, n=n_outside)
    measure = _Measure(inside.tensor(), outside, [L2Ball(radius) for radius in radii], run, attack_steps)
    say(f"detection: {len(inside)} target images against {n_outside} of each of {', '.join(outside)}")
    table = measure(run.detector, check_convergence=True)
    figures: dict[str, Any] = {
        "inside": {"n": len(inside), "part": "validation" if own is None else "test", "name": inside.name},
        "outside_of_training": [part.kind for part in run.config.outside],
        "detection": as_dicts(table.rows),
    }
    classes = _classes(data)
    if len(classes) > 1:
        say("baseline: a plain classifier and its energy score")
        classifier = _classifier(data, classes)
        baseline = measure(baselines.energy_detector(classifier), check_convergence=False)
        figures["baseline"] = as_dicts(baseline.rows)
        say(f"generation: {n_samples} samples")
        figures["generation"] = _generation(run, data, inside, classifier=classifier, classes=classes, n=n_samples)
    figures["made"] = provenance(command) | {"seconds": round(time.monotonic() - began, 1)}
    folder = run.folder / FOLDER
    folder.mkdir(exist_ok=True)
    save_file(table.logits, folder / LOGITS)
    checkpoints.write_text(folder / FIGURES, json.dumps(figures, indent=1) + "\n")
    return figures


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return an evaluation's figures and logits from a run folder, None where it has none.

    Raises:
        ValueError: where either file is missing or cannot be read; one line that names it.
    """
    path = Path(folder) / FOLDER / FIGURES
    if not path.exists():
        return None
    logits = path.with_name(LOGITS)
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(figures, dict) or not figures.keys() >= {"inside", "outside_of_training", "detection", "made"}:
        raise ValueError(f"{path}: expected an evaluation's figures, got other JSON")
    try:
        return figures, load_file(logits)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{logits}: expected an evaluation's logits, got {error}") from None


class _Measure:
    """One protocol for every detector: the same images, budgets and seeds."""

    def __init__(
        self, inside: Tensor, outside: dict[str, Tensor], balls: Sequence[L2Ball], run: Run, steps: int
    ) -> None:
        self.inside, self.outside, self.balls, self.steps = inside, outside, balls, steps
        self.seen = seen(run.config.outside) & set(outside)

    def __call__(self, detector: nn.Module, *, check_convergence: bool) -> OodTable:
        return ood_table(
            detector,
            self.inside,
            self.outside,
            balls=self.balls,
            seen=self.seen,
            steps=self.steps,
            check_convergence=check_convergence,
        )


def _classes(data: assemble.Data) -> list[str]:
    """Return the names of the target's classes that have images; the configuration may have left some out."""
    labels = {label for part in (data.train, data.validation) for label in _indices(part)}
    return [data.train.classes[label] for label in sorted(labels)]


def _labels(images: Images, classes: Sequence[str]) -> Tensor | None:
    """Return labels as indices into these classes, None where there are none or an image is of another class."""
    names = [images.classes[index] for index in _indices(images)]
    return torch.tensor([classes.index(name) for name in names]) if names and {*names} <= {*classes} else None


def _indices(images: Images) -> list[int]:
    return [] if images.labels is None else images.labels.tolist()


def _classifier(data: assemble.Data, classes: Sequence[str]) -> baselines.Classifier:
    """Return a plain classifier of all of the target's images but the test's; it had no part in the detector."""
    parts = (data.train, data.validation)
    labels = [found for part in parts if (found := _labels(part, classes)) is not None]
    return baselines.train_classifier(torch.cat([part.tensor() for part in parts]), torch.cat(labels))


def _generation(
    run: Run,
    data: assemble.Data,
    inside: Images,
    *,
    classifier: baselines.Classifier,
    classes: Sequence[str],
    n: int,
) -> dict[str, Any]:
    settings = run.config.sampling
    made = sample(
        run.detector,
        assemble.outside(run.config, run.shape, data),
        seeds=range(_SEED, _SEED + n),
        steps=settings.steps,
        step_size=settings.step_size,
        chunk=250,
    )
    report = recognised(classifier, made.images)
    equal = min(n, len(inside))
    real = features(classifier, inside.tensor()[torch.randperm(len(inside), generator=_generator())[:equal]])
    distances = {
        name: kernel_distance(features(classifier, images[:equal]), real)
        for name, images in (("samples", made.images), ("starts", made.starts), ("training images", _some(data, equal)))
    }
    labels = _labels(inside, classes)
    accuracy = None if labels is None else baselines.accuracy(classifier, inside.tensor(), labels)
    return asdict(report) | {
        "classes": list(classes),
        "classifier_accuracy": accuracy,
        "kernel_distance": distances,
        "kernel_distance_n": equal,
        "passes_per_sample": made.passes,
        "steps": settings.steps,
        "step_size": settings.step_size,
    }


def _some(data: assemble.Data, n: int) -> Tensor:
    images = data.train.tensor()
    return images[torch.randperm(len(images), generator=_generator())[:n]]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
