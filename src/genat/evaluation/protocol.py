"""`genat evaluate`: what a run is worth, measured on data that nothing was chosen on."""

import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genat import assemble, baselines, checkpoints, detection, networks
from genat.balls import L2Ball
from genat.baselines import Classifier
from genat.evaluation import generated, judge, peer
from genat.evaluation.families import families, seen
from genat.evaluation.ood import OodTable, as_dicts, ood_table
from genat.generation import Climbing, sample
from genat.provenance import provenance
from genat.runs import Run
from genat.sources import Images

FOLDER, FIGURES, LOGITS, CACHE = "evaluation", "figures.json", "logits.safetensors", "features"
_SEED = 2**31  # of the evaluation's samples: far from the seeds a person looks at


def evaluate(
    run: Run,
    *,
    images: Images | None = None,
    n_samples: int = 1000,
    n_outside: int = 500,
    radii: Sequence[float] = (0.5, 1.0),
    attack_steps: int = 100,
    features: str | None = None,
    gan: bool = False,
    cache: Path | None = None,
    command: str = "genat evaluate",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a run's generation and its detection, clean and under attack; write both into the run folder.

    Samples are measured by `genat.evaluation.fidelity`, each figure beside that of the starts that the ascents began
    from and that of real images, and where asked beside that of a GAN. Where the target has two classes or more, a
    plain classifier says how many samples it recognises and how evenly they cover the classes.

    Detection is measured on the target's test images against noise, dead leaves, the inverted target and the target
    with its patches shuffled, clean and at each L2 radius, beside the energy score of the classifier.

    Networks compute on the configured device.

    Args:
        run: as `genat.load` gives it.
        images: test images of the target; None takes the data set's own, or the validation images where it has none.
        n_samples: how many to generate; seeds from 2**31 on.
        n_outside: images of each outside family.
        radii: of the attacks, L2 in pixels of [0, 1].
        attack_steps: of each attack; the convergence check takes twice as many.
        features: that samples are compared with real images by, as in `genat.evaluation.generated.kind`; None
            chooses, and says where nothing can be measured: where an extra is missing, or images are too few.
        gan: compare with a GAN that is trained for as many passes as the run, see `genat.evaluation.peer.gan`.
        cache: a folder that keeps the classifier and the real images' features for evaluations to come, of other runs
            on the same data, too; None keeps them in the run's.
        command: what a person typed, for the record.
        say: called with a line as each part begins.

    Returns:
        What `evaluation/figures.json` holds.

    Raises:
        ImportError: where pyautoattack is not installed, or what the features need that were asked for.
        ValueError: where the images have another shape than the detector's or are training images; where the features
            do not fit; where there cannot be a GAN.
        DivergenceError: where the GAN's weights do not stay finite.
    """
    began = time.monotonic()
    data = assemble.target(run.config)
    inside, part = assemble.measured(run.config, data, run.shape, images)
    outside = families(inside, n=n_outside)
    known = (data.train,) if part == "validation" else (data.train, data.validation)
    classes = _classes(known)
    kind = generated.kind(features, channels=run.shape[0], labelled=len(classes) > 1)
    device = assemble.device(run.config)
    detector = networks.Hosted(copy.deepcopy(run.detector), device)
    half = assemble.half(run.config)
    cache = run.folder / FOLDER / CACHE if cache is None else cache
    classifier = None
    if len(classes) > 1:
        classifier = judge.classifier(known, classes, folder=cache, device=device, half=half, say=say)
    figures: dict[str, Any] = {
        "inside": {"n": len(inside), "part": part, "name": inside.name},
        "outside_of_training": [part.kind for part in run.config.outside],
    }
    # before the attacks, which take minutes: what is refused is refused here
    measured, pictures = _generation(
        run,
        data,
        inside,
        detector=detector,
        classes=classes,
        classifier=classifier,
        n=n_samples,
        kind=kind,
        required=gan or features is not None,
        gan=gan,
        cache=cache,
        say=say,
    )
    figures |= measured
    say(f"detection: {len(inside)} target images against {n_outside} of each of {', '.join(outside)}")
    measure = _Measure(inside.tensor(), outside, [L2Ball(radius) for radius in radii], run, attack_steps)
    table = measure(detector, check_convergence=True)
    figures["detection"] = as_dicts(table.rows)
    if classifier is not None:
        say("baseline: the classifier's energy score")
        energy = networks.Hosted(baselines.energy_detector(classifier), device)
        baseline = measure(energy, check_convergence=False)
        figures["baseline"] = as_dicts(baseline.rows)
    figures["made"] = provenance(command) | {"seconds": round(time.monotonic() - began, 1)}
    folder = run.folder / FOLDER
    folder.mkdir(exist_ok=True)
    for name, png in pictures.items():
        (folder / name).write_bytes(png)
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


def _generation(
    run: Run,
    data: assemble.Data,
    inside: Images,
    *,
    detector: networks.Hosted,
    classes: Sequence[str],
    classifier: Classifier | None,
    n: int,
    kind: str,
    required: bool,
    gan: bool,
    cache: Path,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the sections `generation` and `fidelity`, each where it can be measured, and the latter's pictures."""
    real, train = inside.tensor(), data.train.tensor()
    figures: dict[str, Any] = {}
    extractor, pictures = None, dict[str, bytes]()
    try:
        extractor = generated.extractor(kind, classifier=classifier, train=train, n_samples=n, n_real=len(real))
    except (ImportError, generated.TooFewError) as error:
        if required:
            raise
        figures["fidelity_missing"] = str(error)
    if extractor is None and classifier is None:
        return figures, pictures
    rival = peer.gan(run, data.train, n=n, device=detector.device, say=say) if gan else None
    say(f"generation: {n} samples")
    how = run.climbing()
    made = sample(
        detector,
        assemble.outside(run.config, run.shape, data),
        seeds=range(_SEED, _SEED + n),
        rejection=run.rejection(),
        **Climbing(**{**how, "chunk": 250}),
    )
    if classifier is not None:
        labels = judge.indices(inside, classes)
        figures["generation"] = generated.recognition(classifier, made, real, train, labels=labels)
        figures["generation"] |= {"classes": list(classes), "passes_per_sample": made.passes}
        figures["generation"] |= {name: how[name] for name in ("steps", "step_size", "shrink", "rule")}
        figures["generation"] |= {"tries": run.config.sampling.tries, "climbs": made.climbs}
    if extractor is not None:
        say(f"fidelity: on {extractor.name} features")
        chosen = generated.some_of(real, 2 * n)
        close, found = generated.closeness(made, chosen, train, extractor=extractor, peer=rival, cache=cache)
        of_samples = detection.logits(detector, made.images)
        shown = generated.pictures(made.images, found, train, logits=of_samples)
        pictures = {name: png for name, (png, _) in shown.items()}
        captions = {f"{FOLDER}/{name}": caption for name, (_, caption) in shown.items()}
        if rival is not None:
            captions[f"{peer.FOLDER}/{peer.GRID}"] = rival.caption
        figures["fidelity"] = close | {"pictures": captions}
    return figures, pictures


def _classes(known: Sequence[Images]) -> list[str]:
    """Return the names of the target's classes that have images; the configuration may have left some out."""
    labels = {label for part in known for label in _indices(part)}
    return [known[0].classes[label] for label in sorted(labels)]


def _indices(images: Images) -> list[int]:
    return [] if images.labels is None else images.labels.tolist()
