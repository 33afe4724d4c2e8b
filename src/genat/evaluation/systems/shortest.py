"""How far an image is from one that the system accepts under a wrong label."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from genat.adversaries import check_attack
from genat.ascent import Rule, ascend, frozen
from genat.balls import Ball, L2Ball, distance, per_sample
from genat.decisions import System
from genat.evaluation.systems.ascents import check_labels, score_if_wrong


@dataclass(frozen=True, slots=True, eq=False)
class Shortest:
    """The nearest images found that are accepted under a wrong label.

    Attributes:
        images: `(N, *)` in the box; the image itself where there is none.
        kinds: `(N,)` int64, the classes aimed at.
        distances: `(N,)` float64, L2, in the input's units; infinite where there is none.
    """

    images: Tensor
    kinds: Tensor
    distances: Tensor

    @property
    def rate(self) -> float:
        """The share of images for which one was found."""
        return float(self.distances.isfinite().double().mean())

    @property
    def mean(self) -> float:
        """The mean distance where one was found; NaN where none was."""
        return float(self.distances[self.distances.isfinite()].mean())


def minimum_l2(
    system: System,
    images: Tensor,
    labels: Tensor,
    *,
    threshold: float | None,
    steps: int = 100,
    step_size: float = 0.1,
    shrink: float = 0.01,
    rule: Rule = "steepest",
    ball: Ball = L2Ball(),
    bisections: int = 20,
    penalty: float = 8.0,
    seed: int = 0,
    batch_size: int = 256,
) -> Shortest:
    r"""Look for the nearest image that the system accepts under a wrong label, toward a random class each.

    .. math:: \max_{x'} \; s_t(x') - c\, \|x' - x\|_2^2

    with :math:`s_t` what `System.toward` says of the target class t. A larger c holds the image nearer; the largest
    with which the ascent still succeeds is found by bisection of [0, penalty], sample by sample, beginning at 0. Of all
    successes the nearest counts. A success is any wrong label, not only t, with a score of the threshold or more.

    Distances are those of images that were found: the true minimum is at most that.

    Args:
        system: what decides.
        images: `(N, *)` floating point in [0, 1].
        labels: `(N,)` int64, the right ones.
        threshold: below which the system rejects; None where only the label counts.
        steps: of an ascent, at least 1.
        step_size: of its first step, or the learning rate of rule="adam".
        shrink: the last step's size over the first's, in (0, 1]; a normalised step cannot settle unless it shrinks.
        rule: as of `genat.ascend`.
        ball: where ascent may go, `L2Ball()` for anywhere in the box.
        bisections: how many ascents, at least 1.
        penalty: the largest c tried.
        seed: of the targets, at least 0.
        batch_size: how many images at a time, at least 1; none is left out, and the targets do not depend on it.

    Raises:
        ValueError: for arguments out of range, images outside [0, 1], labels of another shape or scores that are not
            finite.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri,
        Rohde, 2020) https://arxiv.org/abs/1905.11475
        Towards evaluating the robustness of neural networks (Carlini, Wagner, 2017) https://arxiv.org/abs/1608.04644

    Example:
        Two detectors, each of its own pixel: the second accepts from 0.8 on, and the way there is along its pixel.

        >>> from genat import Committee
        >>> from genat.decisions import Generative
        >>> from genat.networks.layers import Select
        >>> pixels = [torch.nn.Sequential(torch.nn.Flatten(), Select(k)) for k in (0, 1)]
        >>> found = minimum_l2(
        ...     Generative(Committee(pixels)), torch.tensor([[0.5, 0.3]]), torch.tensor([0]), threshold=0.8, steps=50
        ... )
        >>> found.rate, round(found.mean, 3)
        (1.0, 0.5)
    """
    check_attack(images, steps=steps, restarts=1, queries=0, others={}, seed=seed, batch_size=batch_size)
    check_labels(system, images, labels)
    if bisections < 1:
        raise ValueError(f"expected bisections to be at least 1, got {bisections}")
    if not (penalty > 0 and math.isfinite(penalty)):
        raise ValueError(f"expected penalty to be positive and finite, got {penalty}")
    images, labels = images.detach(), labels.to(images.device)
    generator = torch.Generator().manual_seed(seed)
    ahead = torch.randint(1, system.classes, (len(labels),), generator=generator).to(labels.device)
    kinds = (labels + ahead) % system.classes
    climb = partial(ascend, steps=steps, step_size=step_size, shrink=shrink, rule=rule, ball=ball, keep="best")
    accepted = -torch.inf if threshold is None else threshold
    parts = []
    with frozen(system), torch.inference_mode(mode=False):
        for rows in torch.split(torch.arange(len(images), device=images.device), batch_size):
            batch, aims, right = images[rows], kinds[rows], labels[rows]
            nearest = _bisected(
                system, climb, batch, aims, right, accepted=accepted, penalty=penalty, bisections=bisections
            )
            parts.append(nearest)
    points, distances = (torch.cat(all_) for all_ in zip(*parts, strict=True))
    return Shortest(points, kinds, distances)


def _bisected(
    system: System,
    climb: Callable[..., Tensor],
    images: Tensor,
    kinds: Tensor,
    labels: Tensor,
    *,
    accepted: float,
    penalty: float,
    bisections: int,
) -> tuple[Tensor, Tensor]:
    """Return the nearest successes of all weights tried on the distance, and how far they are."""
    points, distances = images.clone(), torch.full(labels.shape, torch.inf, dtype=torch.float64, device=images.device)
    low, rows = images.new_zeros(len(images)), torch.arange(len(images), device=images.device)
    high, weight = torch.full_like(low, penalty), low
    for _ in range(bisections):
        found = climb(partial(_held, system, kinds[rows], images[rows], weight), images[rows])
        scores = score_if_wrong(system, labels[rows], found)
        success = (scores > -torch.inf) & (scores >= accepted)
        far = distance(found.double(), images[rows].double(), L2Ball())
        nearer = success & (far < distances[rows])
        points[rows] = torch.where(per_sample(nearer, found), found, points[rows])
        distances[rows] = torch.where(nearer, far, distances[rows])
        low, high = torch.where(success, weight, low), torch.where(success, high, weight)
        left = high > 0  # what fails with no weight on the distance fails with any
        if not left.any():
            break
        rows, low, high = rows[left], low[left], high[left]
        weight = (low + high) / 2
    return points, distances


def _held(system: System, kinds: Tensor, centers: Tensor, weight: Tensor, points: Tensor) -> Tensor:
    away = (points - centers).square().flatten(1).sum(dim=1)
    return system.toward(points, kinds) - weight * away
