"""`genat evaluate`: what a run is worth, measured on data that nothing was chosen on."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
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
    target has classes. Generation is measured by that classifier: how many samples it recognises, how evenly they
    cover the classes, and the kernel distance of its features to those of real test images.

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
    data = assemble.data(run.config)
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
    if data.train.labels is not None:
        say("baseline: a plain classifier and its energy score")
        classifier = _classifier(data)
        baseline = measure(baselines.energy_detector(classifier), check_convergence=False)
        figures["baseline"] = as_dicts(baseline.rows)
        say(f"generation: {n_samples} samples")
        figures["generation"] = _generation(run, data, inside, classifier, n_samples)
    figures["made"] = provenance(command) | {"seconds": round(time.monotonic() - began, 1)}
    folder = run.folder / FOLDER
    folder.mkdir(exist_ok=True)
    save_file(table.logits, folder / LOGITS)
    checkpoints.write_text(folder / FIGURES, json.dumps(figures, indent=1) + "\n")
    return figures


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return an evaluation's figures and logits from a run folder, None where it has none.

    Raises:
        ValueError: where the figures are not JSON.
    """
    path = Path(folder) / FOLDER / FIGURES
    if not path.exists():
        return None
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from None
    return figures, load_file(path.with_name(LOGITS))


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


def _classifier(data: assemble.Data) -> baselines.Classifier:
    """Return a plain classifier of all of the target's images but the test's; it had no part in the detector."""
    parts = (data.train, data.validation)
    labels = [part.labels for part in parts if part.labels is not None]
    return baselines.train_classifier(torch.cat([part.tensor() for part in parts]), torch.cat(labels))


def _generation(
    run: Run, data: assemble.Data, inside: Images, classifier: baselines.Classifier, n: int
) -> dict[str, Any]:
    settings = run.config.sampling
    made = sample(
        run.detector,
        assemble.outside(run.config, data),
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
    accuracy = None
    if inside.labels is not None:
        accuracy = baselines.accuracy(classifier, inside.tensor(), inside.labels)
    return asdict(report) | {
        "classes": list(data.train.classes),
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
