"""`genat evaluate`: what a run is worth, measured on data that nothing was chosen on."""

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genat import assemble, baselines, checkpoints, detection, networks
from genat.balls import L2Ball
from genat.baselines import Classifier
from genat.evaluation import generated, judge, peer
from genat.evaluation.families import families, seen
from genat.evaluation.fidelity import Extractor
from genat.evaluation.ood import OodTable, as_dicts, ood_table
from genat.generation import Climbing, sample
from genat.provenance import provenance
from genat.runs import Run
from genat.sources import Images
from genat.training import Crew

if TYPE_CHECKING:
    from lightning_fabric import Fabric

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
    crew: Crew | None = None,
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
        crew: the processes that share samples and attacks; None is one, or as many as torchrun has started. The figures
            are those of one but for rounding.
        command: what a person typed, for the record.
        say: called with a line as each part begins, in the first process.

    Returns:
        What `evaluation/figures.json` holds; nothing in the processes that do not lead.

    Raises:
        ImportError: where pyautoattack is not installed, or what the features need that were asked for.
        ValueError: where the images have another shape than the detector's or are training images; where the features
            do not fit; where there cannot be a GAN.
        DivergenceError: where the GAN's weights do not stay finite.
    """
    began, crew = time.monotonic(), crew or Crew()
    data = assemble.target(run.config)
    inside, part = assemble.measured(run.config, data, run.shape, images)
    outside = families(inside, n=n_outside)
    known = (data.train,) if part == "validation" else (data.train, data.validation)
    classes = _classes(known)
    kind = generated.kind(features, channels=run.shape[0], labelled=len(classes) > 1)
    cache = run.folder / FOLDER / CACHE if cache is None else cache
    required = gan or features is not None
    task = _Task(run, data, inside, known, classes, n_samples, kind, required=required, cache=cache)
    device = assemble.device(run.config)
    # what is refused is refused before the attacks, which take minutes, and what the first process trains it trains
    # before there are others, which would wait for it
    judges = task.judges(device, say) if crew.leads else None
    rival = peer.gan(run, data.train, n=n_samples, device=device, say=say) if gan and crew.leads else None
    fabric = crew.launch(device) if crew.several else None
    device, say = (device if fabric is None else fabric.device), (say if crew.leads else _silent)
    judges = judges or task.judges(device, say)
    detector = networks.Hosted(copy.deepcopy(run.detector), device)
    figures: dict[str, Any] = {
        "inside": {"n": len(inside), "part": part, "name": inside.name},
        "outside_of_training": [part.kind for part in run.config.outside],
    }
    measured, pictures = task.generation(detector, judges, rival, fabric=fabric, leads=crew.leads, say=say)
    figures |= measured
    say(f"detection: {len(inside)} target images against {n_outside} of each of {', '.join(outside)}")
    balls = [L2Ball(radius) for radius in radii]
    measure = partial(_detection, run, inside.tensor(), outside, balls=balls, steps=attack_steps, fabric=fabric)
    table = measure(detector, check_convergence=True)
    figures["detection"] = as_dicts(table.rows)
    if judges.classifier is not None:
        say("baseline: the classifier's energy score")
        energy = networks.Hosted(baselines.energy_detector(judges.classifier), device)
        figures["baseline"] = as_dicts(measure(energy, check_convergence=False).rows)
    if not crew.leads:
        return {}
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


class _Judges(NamedTuple):
    """What samples are measured by; where there are no features, why."""

    classifier: Classifier | None
    extractor: Extractor | None
    missing: str


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is evaluated, and on what."""

    run: Run
    data: assemble.Data
    inside: Images
    known: Sequence[Images]
    classes: Sequence[str]
    n: int
    kind: str
    _: KW_ONLY
    required: bool
    cache: Path

    def judges(self, device: torch.device, say: Callable[[str], None]) -> _Judges:
        """Return the classifier and the features, trained or read.

        Raises:
            ImportError, TooFewError: where there must be features and cannot be.
        """
        classifier, half = None, assemble.half(self.run.config)
        if len(self.classes) > 1:
            classifier = judge.classifier(
                self.known, self.classes, folder=self.cache, device=device, half=half, say=say
            )
        train = self.data.train.tensor()
        try:
            extractor = generated.extractor(
                self.kind, classifier=classifier, train=train, n_samples=self.n, n_real=len(self.inside)
            )
        except (ImportError, generated.TooFewError) as error:
            if self.required:
                raise
            return _Judges(classifier, None, str(error))
        return _Judges(classifier, extractor, "")

    def generation(
        self,
        detector: networks.Hosted,
        judges: _Judges,
        rival: peer.Peer | None,
        *,
        fabric: "Fabric | None",
        leads: bool,
        say: Callable[[str], None],
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return the sections `generation` and `fidelity`, each where it can be measured, and the latter's pictures."""
        figures: dict[str, Any] = {"fidelity_missing": judges.missing} if judges.missing else {}
        if judges.classifier is None and judges.extractor is None:
            return figures, {}
        say(f"generation: {self.n} samples")
        how = self.run.climbing()
        made = sample(
            detector,
            assemble.outside(self.run.config, self.run.shape, self.data),
            seeds=range(_SEED, _SEED + self.n),
            rejection=self.run.rejection(),
            fabric=fabric,
            **Climbing(**{**how, "chunk": 250}),
        )
        if not leads:
            return figures, {}
        real, train = self.inside.tensor(), self.data.train.tensor()
        if judges.classifier is not None:
            labels = judge.indices(self.inside, self.classes)
            figures["generation"] = generated.recognition(judges.classifier, made, real, train, labels=labels)
            figures["generation"] |= {"classes": list(self.classes), "passes_per_sample": made.passes}
            figures["generation"] |= {name: how[name] for name in ("steps", "step_size", "shrink", "rule")}
            figures["generation"] |= {"tries": self.run.config.sampling.tries, "climbs": made.climbs}
        if judges.extractor is None:
            return figures, {}
        say(f"fidelity: on {judges.extractor.name} features")
        chosen = generated.some_of(real, 2 * self.n)
        close, found = generated.closeness(
            made, chosen, train, extractor=judges.extractor, peer=rival, cache=self.cache
        )
        of_samples = detection.logits(detector, made.images)
        shown = generated.pictures(made.images, found, train, logits=of_samples)
        captions = {f"{FOLDER}/{name}": caption for name, (_, caption) in shown.items()}
        if rival is not None:
            captions[f"{peer.FOLDER}/{peer.GRID}"] = rival.caption
        figures["fidelity"] = close | {"pictures": captions}
        return figures, {name: png for name, (png, _) in shown.items()}


def _detection(
    run: Run,
    inside: Tensor,
    outside: dict[str, Tensor],
    detector: nn.Module,
    *,
    balls: Sequence[L2Ball],
    steps: int,
    check_convergence: bool,
    fabric: "Fabric | None",
) -> OodTable:
    """Return a detector's figures: one protocol for every one, the same images, budgets and seeds."""
    return ood_table(
        detector,
        inside,
        outside,
        balls=balls,
        seen=seen(run.config.outside) & set(outside),
        steps=steps,
        check_convergence=check_convergence,
        fabric=fabric,
    )


def _silent(_: str) -> None:
    pass


def _classes(known: Sequence[Images]) -> list[str]:
    """Return the names of the target's classes that have images; the configuration may have left some out."""
    labels = {label for part in known for label in _indices(part)}
    return [known[0].classes[label] for label in sorted(labels)]


def _indices(images: Images) -> list[int]:
    return [] if images.labels is None else images.labels.tolist()
