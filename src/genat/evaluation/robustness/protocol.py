"""The protocol: what is attacked, by what, on which images."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genat import adversaries, assemble, checkpoints, detection, networks
from genat.adapters import _pytorch_ood
from genat.adversaries import budget, worst_case
from genat.balls import Ball
from genat.baselines.exposure import within
from genat.decisions import Confident, Generative, Integrated, System
from genat.evaluation import rivals
from genat.evaluation.keeping import each_of, read_table, state, with_names, write_table
from genat.evaluation.ood import row
from genat.evaluation.robustness.cells import SEED, Found, attacked, cell
from genat.evaluation.robustness.figures import compared, grown, measured, nearest, thresholds
from genat.evaluation.robustness.scales import SCALES, Scale
from genat.evaluation.robustness.synthesis import synthesis
from genat.evaluation.scores import post_hoc
from genat.networks import Committee
from genat.provenance import provenance
from genat.runs import Run
from genat.sources import Images

FOLDER, TABLE, CELLS = "robustness", "table.json", "cells"
COMMITTEE, INTEGRATED = "committee", "classifier and committee"
PEERS = ("plain", "madry", "trades")
"""Classifiers that are trained beside the committee, see `genat.baselines.exposure.within`."""

_THRESHOLDS = 2000  # validation images at most that thresholds are chosen on
_FITTED = 10_000  # training images at most that a classifier's scores are fitted to


def robustness(
    run: Run,
    *,
    images: Images | None = None,
    against: Sequence[str] = PEERS,
    scale: Scale = SCALES["quick"],
    ball: Ball | None = None,
    command: str = "genat evaluate RUN robustness",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure how a committee detects and classifies under attack, detector by detector and as a whole.

    Each detector is to tell clean images of its class from images of the other classes that attacks moved towards it:
    the strongest of APGD, Square and our ascent from several starts, image by image.

    The systems are the committee alone (the largest logit names the class and is the score); the plain classifier's
    label with that class's detector as the score; the classifiers by their largest softmax probability, and the plain
    one by its energy and by Mahalanobis. Each may reject, and is attacked as a whole by all of
    `evaluation.systems.attack_system`, and by the images that were made against the others. An image counts as an error
    at a threshold where any attack got it accepted with a wrong label. Thresholds are chosen on validation images.

    The classifiers have the run's network with a logit a class, its training images and, where they are trained under
    attack, its ball, and take as many passes as the committee did. Trainings and attacks are kept in the run's folder
    under what they depend on, so that an evaluation that was cut off goes on.

    Args:
        run: of a committee, as `genat.load` gives it; it has been trained to its end.
        images: labelled test images; None takes the data set's own, or the validation images where it has none.
        against: of `PEERS`; the systems that need another are left out.
        scale: see `SCALES`.
        ball: of the attacks; None is the training's.
        command: what a person typed, for the record.
        say: called with lines of progress.

    Returns:
        What `robustness/table.json` holds.

    Raises:
        ImportError: where pyautoattack, or with the plain classifier pytorch-ood, is not installed.
        ValueError: where the run is of no committee, an argument is refused, or a kept file cannot be read; one line.
        DivergenceError: where a classifier's loss is not finite.
    """
    if not isinstance(run.detector, Committee):
        raise ValueError(f"{run.folder}: expected a run of a committee, got one of another detector")
    unknown = [name for name in against if name not in PEERS]
    if unknown:
        raise ValueError(f"expected peers among {', '.join(PEERS)}, got {', '.join(unknown)}")
    ball = run.config.ball.build() if ball is None else ball
    if ball.radius is None:
        raise ValueError("expected a radius to attack in, as the committee was trained without one, got none")
    budget(ball)
    adversaries.package()  # what is missing is missed here, not after hours
    if "plain" in against:
        _pytorch_ood.detectors()
    data = assemble.target(run.config)
    whole, part = assemble.measured(run.config, data, run.shape, images)
    labels = _labels(whole, run)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(SEED))
    device = assemble.device(run.config)
    committee = _hosted(run.detector, device)
    folder = run.folder / FOLDER
    say(f"{len(whole)} {part} images of {whole.name}")
    detectors = _detectors(committee, whole, labels, order, ball, scale=scale, folder=folder / CELLS, say=say)
    systems, classifiers, trained = _systems(run, committee, data, against, ball, device=device, say=say)
    chosen, right = whole.take(order[: scale.n]).tensor(), labels[order[: scale.n]]
    levels = thresholds(systems, _validation(data))
    cells = attacked(systems, levels, chosen, right, ball, scale=scale, folder=folder / CELLS, say=say)
    rows = measured(systems, levels, cells, chosen, right)
    few, their = chosen[: scale.few], right[: scale.few]
    say("growing balls, the nearest errors, and what each detector makes")
    plain = classifiers.get("plain")
    figures = {
        "inside": {"n": len(chosen), "part": part, "name": whole.name, "classes": list(run.classes)},
        "ball": dict(zip(("norm", "radius"), budget(ball), strict=True)),
        "scale": asdict(scale),
        "detectors": detectors,
        "systems": rows,
        "compared": compared(rows),
        "growing": grown(systems[COMMITTEE], few, their, ball, scale=scale),
        "nearest": nearest(systems[COMMITTEE], few, their, threshold=levels[COMMITTEE], scale=scale),
        "synthesis": synthesis(run, data.train, classifier=plain, folder=folder),
        "peers": trained,
        "made": provenance(command),
    }
    write_table(folder / TABLE, figures)
    return figures


def read(folder: str | Path) -> dict[str, Any] | None:
    """Return the figures of a run folder, None where it has none.

    Raises:
        ValueError: where the file cannot be read: one line that names it.
    """
    return read_table(Path(folder) / FOLDER / TABLE)


def _labels(images: Images, run: Run) -> Tensor:
    """Return test images' labels by the run's classes, which theirs must be."""
    if images.labels is None:
        raise ValueError(f"expected labelled test images, got {images.name!r} without labels")
    if images.classes != run.classes:
        raise ValueError(f"expected test images of classes {', '.join(run.classes)}, got {', '.join(images.classes)}")
    return images.labels


def _hosted(committee: Committee, device: torch.device) -> Committee:
    """Return a committee that computes on a device and is spoken to from the CPU, as foreign attacks do."""
    if device.type == "cpu":
        return committee
    return Committee([networks.Hosted(detector, device) for detector in committee], classes=committee.classes)


def _detectors(
    committee: Committee,
    images: Images,
    labels: Tensor,
    order: Tensor,
    ball: Ball,
    *,
    scale: Scale,
    folder: Path,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Return, for every class, how its detector tells clean images of it from others that are moved towards it."""
    rows: list[dict[str, Any]] = []
    for kind, name in enumerate(committee.classes):
        detector = committee[kind].eval()
        own = images.take(order[labels[order] == kind][: scale.each]).tensor()
        others = images.take(order[labels[order] != kind][: scale.each]).tensor()
        of_own, clean = detection.logits(detector, own), detection.logits(detector, others)
        record = {
            "format": 1,
            "detector": checkpoints.digest(state(detector)),
            "images": checkpoints.digest({"images": others}),
            "ball": repr(ball),
            "scale": asdict(scale),
        }

        def attack(detector: nn.Module = detector, others: Tensor = others) -> Found:
            how: dict[str, Any] = {"ball": ball, "restarts": scale.restarts, "seed": SEED}
            found = worst_case(detector, others, steps=scale.steps, queries=scale.queries, **how)
            again = worst_case(detector, others, steps=2 * scale.steps, own=False, **how)
            return with_names(found.each) | {"doubled": again.logits}, found.evaluations

        before = cell(folder, f"detector {name}", record, attack)
        each = each_of(before)
        worst = torch.stack(list(each.values())).amax(0)
        cost, doubled = before.made["evaluations"], torch.maximum(worst, before.tensors["doubled"])
        found = row(of_own, worst, family=name, ball=ball, each=each, evaluations=cost, doubled=doubled)
        rows.append({"class": name, "clean": asdict(row(of_own, clean, family=name)), "worst": asdict(found)})
        say(f"detector {name}: AUROC {rows[-1]['clean']['auroc']:.4f} clean, {found.auroc:.4f} under attack")
    return rows


def _systems(
    run: Run,
    committee: Committee,
    data: assemble.Data,
    against: Sequence[str],
    ball: Ball,
    *,
    device: torch.device,
    say: Callable[[str], None],
) -> tuple[dict[str, System], dict[str, nn.Module], dict[str, dict[str, Any]]]:
    """Return the systems by name, the classifiers, and how they were trained."""
    systems: dict[str, System] = {COMMITTEE: Generative(committee)}
    classifiers: dict[str, nn.Module] = {}
    trained: dict[str, dict[str, Any]] = {}
    ways = within(ball)
    for name in against:
        cap = {"epochs": rivals.EPOCHS} if name == "plain" else {"epochs": None}
        known = name if name == "plain" else f"{name}-{'-'.join(map(str, budget(ball)))}"  # another ball is another one
        rival = rivals.rival(run, data, known, how=ways[name], device=device, say=say, **cap)
        trained[name], classifiers[name] = rival.made, rival.classifier
        classifier = networks.Hosted(rival.classifier, device)
        systems[name] = Confident(classifier, classes=len(run.classes))
        if name == "plain":
            labels = data.train.labels
            assert labels is not None, "checked when the committee was trained"
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))[:_FITTED]
            scores = post_hoc(rival.classifier, data.train.take(order).tensor(), labels[order])
            for score in ("energy", "mahalanobis"):
                same = Committee([networks.Hosted(scores[score], device)] * len(run.classes))
                systems[f"plain, {score}"] = Integrated(classifier, same)
            systems[INTEGRATED] = Integrated(classifier, committee)
    return systems, classifiers, trained


def _validation(data: assemble.Data) -> Tensor:
    """Return held-out images to choose thresholds on, a random share where there are many."""
    order = torch.randperm(len(data.validation), generator=torch.Generator().manual_seed(SEED))
    return data.validation.take(order[:_THRESHOLDS]).tensor()
