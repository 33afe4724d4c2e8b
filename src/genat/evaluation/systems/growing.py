"""Whether an attack grows with the ball: where it does not, it is the attack that fails, not the system that holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from genat.adversaries import Best, budget, check_attack, seeded, start_anew
from genat.ascent import Detector
from genat.balls import Ball
from genat.decisions import System
from genat.detection import logits
from genat.evaluation.systems.ascents import Task, check_labels, score_if_wrong, share_of_errors
from genat.ranking import auroc


@dataclass(frozen=True, slots=True)
class Grown:
    """What attacks come to in one ball.

    Attributes:
        ball: where they may go.
        steps: of each; their sizes add up to four radii at least.
        figure: the share of errors, or the AUROC.
    """

    ball: Ball
    steps: int
    figure: float


def growing(
    system: System,
    images: Tensor,
    labels: Tensor,
    balls: Sequence[Ball],
    *,
    step_size: float,
    threshold: float | None = None,
    restarts: int = 1,
    targets: int = 3,
    seed: int = 0,
    batch_size: int = 256,
) -> tuple[Grown, ...]:
    """Return the share of errors of a system as ball and budget grow together.

    A larger ball holds all that a smaller one does, so that the share can only rise, and where the ball reaches every
    other image it is 1 if only the label counts. Each ball is attacked by itself, by the ascents of `attack_system`:
    where the share falls, or stays below 1, gradients are masked or steps too few, and no figure of the attack means
    much.

    Args:
        system: what decides.
        images: `(N, *)` floating point in [0, 1].
        labels: `(N,)` int64, the right ones.
        balls: of one norm, their radii ascending.
        step_size: for all balls; the number of steps grows with the radius.
        threshold: below which the system rejects; None where only the label counts.
        restarts: how often each ascent starts, at least 1.
        targets: how many of the other classes the targeted ascents try.
        seed: of all that is random, at least 0.
        batch_size: how many images at a time, at least 1.

    Returns:
        A row a ball.

    Raises:
        TypeError, ValueError: as `attack_system`, or where balls do not grow or step_size is not positive.

    References:
        Obfuscated gradients give a false sense of security (Athalye, Carlini, Wagner, 2018)
        https://arxiv.org/abs/1802.00420

    Example:
        >>> from genat import Committee, LinfBall
        >>> from genat.decisions import Generative
        >>> from genat.networks.layers import Select
        >>> pixels = [torch.nn.Sequential(torch.nn.Flatten(), Select(k)) for k in (0, 1)]
        >>> x, y = torch.tensor([[0.5, 0.4], [0.9, 0.1]]), torch.tensor([0, 0])
        >>> balls = [LinfBall(0.01), LinfBall(0.1), LinfBall(0.8)]
        >>> for row in growing(Generative(Committee(pixels)), x, y, balls, step_size=0.05):
        ...     print(row.ball.radius, row.steps, row.figure)
        0.01 1 0.0
        0.1 8 0.5
        0.8 64 1.0
    """
    check_attack(images, steps=1, restarts=restarts, queries=0, others={}, seed=seed, batch_size=batch_size)
    check_labels(system, images, labels)
    images, labels, rows = images.detach(), labels.to(images.device), []
    for ball, steps in zip(balls, _steps(balls, step_size), strict=True):
        parts = []
        with seeded(system, seed=seed) as generator:
            batches = torch.split(images, batch_size), torch.split(labels, batch_size)
            for batch, right in zip(*batches, strict=True):
                best = Best(partial(score_if_wrong, system, right), batch, ball)
                task = Task(system, batch, right, ball, steps, restarts, targets, generator, threshold=threshold)
                for name, points in task.ascents(step_size):
                    best.take(name, points)
                parts.append(best.values)
        rows.append(Grown(ball, steps, share_of_errors(torch.cat(parts), threshold)))
    return tuple(rows)


def growing_auroc(
    detector: Detector,
    inside: Tensor,
    outside: Tensor,
    balls: Sequence[Ball],
    *,
    step_size: float,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 256,
) -> tuple[Grown, ...]:
    """Return a detector's AUROC against attacked outside data as ball and budget grow together.

    It can only fall, down to 0 where the ball reaches what the detector likes best.

    Args:
        detector: `(N, *) -> (N,)`.
        inside: `(M, *)`, left as it is.
        outside: `(N, *)` floating point in [0, 1], attacked by `genat.ascend`.
        balls: as of `growing`.
        step_size: as of `growing`.
        restarts: how often an ascent starts, at least 1.
        seed: of the later starts, at least 0.
        batch_size: how many images at a time, at least 1.

    Raises:
        TypeError, ValueError: as `growing`.

    Example:
        >>> from genat import LinfBall
        >>> inside, outside = torch.full((2, 1), 0.8), torch.tensor([[0.5], [0.7]])
        >>> rows = growing_auroc(lambda x: x.sum(1), inside, outside, [LinfBall(0.2), LinfBall(0.4)], step_size=0.1)
        >>> [row.figure for row in rows]
        [0.5, 0.0]
    """
    check_attack(outside, steps=1, restarts=restarts, queries=0, others={}, seed=seed, batch_size=batch_size)
    within, outside, rows = logits(detector, inside, batch_size=batch_size), outside.detach(), []
    for ball, steps in zip(balls, _steps(balls, step_size), strict=True):
        parts = []
        with seeded(detector, seed=seed) as generator:
            for batch in torch.split(outside, batch_size):
                best = Best(partial(logits, detector), batch, ball)
                for start in range(restarts):
                    points = start_anew(
                        detector, batch, start, ball, steps=steps, step_size=step_size, generator=generator
                    )
                    best.take("steepest ascent", points)
                parts.append(best.values)
        rows.append(Grown(ball, steps, float(auroc(within, torch.cat(parts)))))
    return tuple(rows)


def _steps(balls: Sequence[Ball], step_size: float) -> list[int]:
    """Return how many steps each ball takes: twice across it and more."""
    if not (step_size > 0 and math.isfinite(step_size)):
        raise ValueError(f"expected step_size to be positive and finite, got {step_size}")
    sizes = [budget(ball) for ball in balls]
    radii = [radius for _, radius in sizes]
    if not sizes or len({norm for norm, _ in sizes}) > 1 or sorted(set(radii)) != radii:
        raise ValueError(f"expected balls of one norm, their radii ascending, got {list(balls)}")
    return [math.ceil(4 * radius / step_size - 1e-9) for radius in radii]
