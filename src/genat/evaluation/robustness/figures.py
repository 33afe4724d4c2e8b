"""The figures of whole systems under attack."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from genat import decisions
from genat.adversaries import budget
from genat.balls import Ball, L2Ball, LinfBall
from genat.decisions import Decision, Rates, System
from genat.evaluation.keeping import Kept, each_of
from genat.evaluation.robustness.cells import SEED
from genat.evaluation.robustness.scales import Scale
from genat.evaluation.systems import growing, minimum_l2
from genat.evaluation.systems.ascents import share_of_errors

TRANSFER = "transfer"
LEVELS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
"""Of clean accepted accuracy, to compare errors at."""

_TPR = 0.95
_AT_ONCE = 256
_CURVE = 200  # points of a curve, at most
_MEAN_SHRINK = 0.2  # the mean of steps that shrink to a hundredth, over the first of them
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the ball's radius, where ball and budget grow together


def measured(
    systems: Mapping[str, System],
    levels: Mapping[str, float],
    cells: Mapping[str, Kept],
    images: Tensor,
    labels: Tensor,
) -> list[dict[str, Any]]:
    """Return each system's figures, attacked by what was made against the others too."""
    rows = []
    for name, system in systems.items():
        clean, level = decide(system, images), levels[name]
        each = each_of(cells[name])
        unmoved = decisions.wrong_scores(clean, labels)
        transferred = [
            decisions.wrong_scores(decide(system, cells[other].tensors["images"]), labels)
            for other in systems
            if other != name
        ]
        if transferred:
            each[TRANSFER] = torch.stack([unmoved, *transferred]).amax(0)
        worst = torch.stack(list(each.values())).amax(0)
        curve = decisions.rates(clean, labels, worst)
        at = decisions.rates(clean, labels, worst, thresholds=[level])
        mislabelled = share_of_errors(worst, None)
        right = (clean.labels == labels).double().mean().item()
        shown = torch.linspace(0, len(curve.thresholds) - 1, min(_CURVE, len(curve.thresholds))).long()
        rows.append(
            {
                "system": name,
                "threshold": level,
                "accuracy": right,
                "tpr": at.tpr.item(),
                "accepted_accuracy": at.accuracy.item(),
                "error": at.error.item(),
                "error_without_rejection": mislabelled,
                "clean_error": decisions.rates(clean, labels, unmoved, thresholds=[level]).error.item(),
                "each": {attack: share_of_errors(values, level) for attack, values in each.items()},
                "each_without_rejection": {attack: share_of_errors(values, None) for attack, values in each.items()},
                "evaluations": cells[name].made["evaluations"] + len(transferred),
                "seconds": round(cells[name].made["seconds"], 1),
                "curve": {
                    "accuracy": [right, *curve.accuracy[shown].tolist()],
                    "error": [mislabelled, *curve.error[shown].tolist()],
                },
                "at": {str(accuracy): _at(curve, accuracy) for accuracy in LEVELS},
            }
        )
    return rows


def thresholds(systems: Mapping[str, System], held_out: Tensor) -> dict[str, float]:
    """Return each system's threshold, that accepts 95 % of validation images."""
    return {name: decisions.threshold(decide(system, held_out), tpr=_TPR) for name, system in systems.items()}


def compared(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every system's error at the same clean accepted accuracies, None where it does not reach one."""
    return [{"accuracy": level, "errors": {one["system"]: one["at"][str(level)] for one in rows}} for level in LEVELS]


def decide(system: System, images: Tensor) -> Decision:
    """Return a system's decision on images, some at a time."""
    parts = [system.decide(batch) for batch in torch.split(images, _AT_ONCE)]
    return Decision(torch.cat([part.labels for part in parts]), torch.cat([part.scores for part in parts]))


def _at(curve: Rates, accuracy: float) -> float | None:
    """Return the error where so much of the clean data is accepted and right; None where no threshold keeps it."""
    return decisions.error_at_accuracy(curve, accuracy) if float(curve.accuracy.max()) >= accuracy else None


def grown(system: System, images: Tensor, labels: Tensor, ball: Ball, *, scale: Scale) -> list[dict[str, Any]]:
    """Return the share of errors, rejection left out, as ball and budget grow together, up to the box's own size."""
    norm, radius = budget(ball)
    kind = L2Ball if norm == "l2" else LinfBall
    diameter = math.sqrt(math.prod(images.shape[1:])) if norm == "l2" else 1.0
    radii = [radius * factor for factor in _FACTORS if radius * factor < diameter]
    balls = [kind(one) for one in (*radii, diameter)]
    rows = growing(system, images, labels, balls, step_size=4 * radius / scale.steps, targets=scale.targets, seed=SEED)
    return [{"radius": one.ball.radius, "steps": one.steps, "error": one.figure} for one in rows]


def nearest(system: System, images: Tensor, labels: Tensor, *, threshold: float, scale: Scale) -> dict[str, Any]:
    """Return how far the nearest accepted errors are in L2, on average; the shrinking steps can cross half the box."""
    reach = math.sqrt(math.prod(images.shape[1:])) / 2
    size = reach / (scale.steps * _MEAN_SHRINK)
    found = minimum_l2(
        system, images, labels, threshold=threshold, steps=scale.steps, step_size=size, bisections=10, seed=SEED
    )
    return {"n": len(images), "mean": found.mean if found.rate else None, "rate": found.rate, "threshold": threshold}
