"""The training step on a line, small enough to see what each of its parts does.

A step of GAT climbs the outside data and then lowers the detector where they arrive, as if the ends of the climbs did
not depend on the detector. When that is right, what it leaves out, and what the starts and the length of the climbs
decide: docs/theory.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genat.ascent import Detector, Rule, ascend
from genat.balls import Ball, L2Ball
from genat.curriculum import Curriculum
from genat.objectives import maximin
from genat.ranking import auroc
from genat.theory.dynamics import gradient_play
from genat.theory.flows import Vector
from genat.theory.games import Game

PEAKS, SPREADS = (0.4, 0.6), (0.01, 0.005)
"""Means and standard deviations of the line's target, one half each (Yin, Kolouri, Rohde, 2020)."""

FLANKS = ((0.1, 0.3), (0.7, 0.9))
"""Where its outside data is, uniformly."""

_DIFFERENCE = 1e-6  # of finite differences
_WIDTH = 0.04  # of the kernels: what is learned at x says next to nothing 0.15 away
_CENTERS = torch.linspace(0.0, 1.0, 51, dtype=torch.float64)
_OVERLAP = math.sqrt(2 * math.pi) * _WIDTH * (len(_CENTERS) - 1)  # the height of all kernels together
_LEVEL = 1.0  # of the untrained detector: it takes everything for target
_ITERATIONS, _BATCH, _RATE = 80, 32, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class InnerGradients:
    """Derivatives by the heights of two bumps and by the first one's place, `(3,)` each.

    Attributes:
        end: where the climb ends.
        used: what training uses: the logit's derivative at the end, the end held fixed.
        of_steps: of the logit at the end, the end moving as the climb moves it.
        below, above: one-sided, of the highest logit in the ball; equal where that has a derivative.
    """

    end: float
    used: Tensor
    of_steps: Tensor
    below: Tensor
    above: Tensor


def inner_gradients(
    parameters: Sequence[float],
    start: float,
    *,
    steps: int,
    step_size: float,
    ball: Ball = L2Ball(),
    rule: Rule = "steepest",
) -> InnerGradients:
    r"""Return the gradient that training takes through the inner maximum, beside the ones it may be taken for.

    The detector is :math:`f(x) = h_1 b(x - c) + h_2 b(x - 0.7)` on [0, 1] with :math:`b(t) = \exp(-t^2 / 0.02)`. All
    but `used` are finite differences.

    Args:
        parameters: the heights :math:`h_1, h_2` and the first bump's place c.
        start: where the climb starts, in [0, 1].
        steps: of the climb.
        step_size: of the climb.
        ball: around the start, of the climb and of the maximum.
        rule: of the climb, as in `genat.ascend`.

    References:
        The theory of max-min, with applications (Danskin, 1966) https://doi.org/10.1137/0114053

    Example:
        The climb ends half a step from the top, and what is used is nearly the maximum's gradient.

        >>> found = inner_gradients((1.0, 0.8, 0.3), 0.05, steps=20, step_size=0.02)
        >>> print(f"{found.end:.2f}", found.used[:2].numpy().round(2), found.above[:2].numpy().round(2))
        0.29 [1. 0.] [1. 0.]
    """
    at = torch.tensor(parameters, dtype=torch.float64)
    radius = 1.0 if ball.radius is None else ball.radius
    within = torch.linspace(max(0.0, start - radius), min(1.0, start + radius), 100_001, dtype=torch.float64)

    def climbed(values: Tensor) -> Tensor:  # every detector its own climb, all in one
        starts = torch.full((len(values), 1), start, dtype=torch.float64)
        return ascend(
            lambda x: _bumps(values, x[:, 0]), starts, steps=steps, step_size=step_size, ball=ball, rule=rule
        )[:, 0]

    def highest(values: Tensor) -> Tensor:
        return torch.stack([_bumps(each[None], within).max() for each in values])

    leaf = at[None].clone().requires_grad_()
    end = climbed(at[None])
    (used,) = torch.autograd.grad(_bumps(leaf, end).sum(), leaf)
    of_steps = _one_sided(lambda values: _bumps(values, climbed(values)), at)
    below, above = _one_sided(highest, at)
    return InnerGradients(end.item(), used[0], torch.stack(of_steps).mean(dim=0), below, above)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a training on the line starts and climbs.

    Attributes:
        steps: of the climbs, a number or a curriculum.
        step_size: of the climbs.
        starts: intervals from which they start, uniformly.
    """

    steps: Curriculum | int
    step_size: float = 0.01
    starts: tuple[tuple[float, float], ...] = FLANKS


SETTINGS = {
    "growing climbs, 0 to 30 steps of .01": Setting(Curriculum(0, 30, gate=None)),
    "long climbs throughout, 30 steps of .01": Setting(30),
    "short climbs throughout, 5 steps of .01": Setting(5),
    "growing climbs of large steps, 0 to 3 steps of .1": Setting(Curriculum(0, 3, gate=None), step_size=0.1),
    "growing climbs from starts .03 to .07 beside the peaks": Setting(
        Curriculum(0, 30, gate=None), starts=((0.33, 0.37), (0.63, 0.67))
    ),
}
"""What the documentation shows; the last four are the first one with one thing wrong."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a training on the line has taught.

    Attributes:
        peaks: mean logit at the two peaks; 0 is d = 1/2.
        elsewhere: mean logit where the outside data is.
        highest: the highest logit where the outside data is.
        arrived: share of fresh climbs, 120 steps of .005 from outside data, that end within .03 of a peak.
        auroc: adversarial AUROC of the training's last fifth, mean.
    """

    peaks: float
    elsewhere: float
    highest: float
    arrived: float
    auroc: float


def train_on_line(setting: Setting, *, generator: torch.Generator) -> Lesson:
    r"""Train a detector on the line by GAT and return what it has learned.

    .. math:: f(x) = \sum_k \theta_k \exp\bigl(-(x - c_k)^2 / 2w^2\bigr), \qquad w = 0.04

    It takes 80 steps of plain gradient descent on the maximin loss, of 32 target and 32 outside samples each, from a
    detector that is 1 but near the ends of [0, 1]. The kernels are so narrow that what the detector thinks of a place
    is what training has taught it there.

    Args:
        setting: how it starts and climbs.
        generator: of the samples.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> lesson = train_on_line(SETTINGS["short climbs throughout, 5 steps of .01"], generator=generator)
        >>> print(f"{lesson.elsewhere:.0f} elsewhere, {lesson.peaks:.0f} at the peaks, {lesson.arrived:.1f} arrive")
        -4 elsewhere, 4 at the peaks, 0.1 arrive
    """
    plan = setting.steps if isinstance(setting.steps, Curriculum) else Curriculum(setting.steps, setting.steps)
    progress = plan.start(iterations=_ITERATIONS)
    weights = torch.full_like(_CENTERS, _LEVEL / _OVERLAP)
    areas = []
    for _ in range(_ITERATIONS):
        starts = _uniform(setting.starts, generator)
        ends = ascend(_kernels(weights), starts, steps=progress.steps, step_size=setting.step_size)
        leaf = weights.clone().requires_grad_()
        inside, outside = _kernels(leaf)(_target(generator)), _kernels(leaf)(ends)
        (gradient,) = torch.autograd.grad(maximin(inside, outside), leaf)
        weights = weights - _RATE * gradient
        areas.append(auroc(inside.detach(), outside.detach()))
        progress.observe(auroc=areas[-1])
    return _examine(_kernels(weights), areas, generator)


def play_on_line(radii: Sequence[float], *, rounds: int, rate: float = 0.5, level: float = 0.0) -> tuple[Game, Vector]:
    """Play the finite game of the line as the reach grows, the detector by gradient against the best adversary.

    41 states on [0, 1], the target at the two peaks, the outside data on the flanks. Each radius is played in turn,
    from the detector that the one before has left.

    Args:
        radii: how far outside data may be carried, one game each.
        rounds: of `gradient_play` a game.
        rate: of the detector.
        level: the logit with which it begins, the same everywhere.

    Returns:
        The last game and the detector `(41,)` after it.

    Example:
        >>> game, detector = play_on_line([0.0, 1.0], rounds=10)
        >>> game.reach.shape, detector.shape
        ((41, 41), (41,))
    """
    places = np.linspace(0, 1, 41)
    target = np.isclose(places[:, None], PEAKS).any(axis=1) / len(PEAKS)
    outside = np.any([(places > low - 1e-9) & (places < high + 1e-9) for low, high in FLANKS], axis=0)
    distances = np.abs(places[:, None] - places)
    logits = np.full(len(places), level)
    for radius in radii:
        game = Game(target, outside / outside.sum(), distances <= radius + 1e-9)
        plays = gradient_play(
            game, rounds, rates=(rate, math.inf), first="adversary", start=(logits, np.zeros(distances.shape))
        )
        d = plays.detectors[-1]
        logits = np.log(d) - np.log1p(-d)
    return game, d


def _one_sided(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the partial derivatives from below and from above of a function `(N, 3) -> (N,)`, by differences."""
    shifts = _DIFFERENCE * torch.eye(len(at), dtype=at.dtype)
    found = function(torch.cat([at[None], at - shifts, at + shifts]))
    here, behind, ahead = found[0], found[1 : 1 + len(at)], found[1 + len(at) :]
    return (here - behind) / _DIFFERENCE, (ahead - here) / _DIFFERENCE


def _bumps(values: Tensor, x: Tensor) -> Tensor:
    """Return the logits at x, `(N,)`, of the detectors of parameters `(N, 3)`, or of one, `(1, 3)`."""
    first, second, place = values.T.unbind()
    return first * torch.exp(-((x - place) ** 2) / 0.02) + second * torch.exp(-((x - 0.7) ** 2) / 0.02)


def _kernels(weights: Tensor) -> Detector:
    return lambda x: torch.mv(torch.exp(-((x - _CENTERS) ** 2) / (2 * _WIDTH**2)), weights)


def _target(generator: torch.Generator) -> Tensor:
    """Return a batch of target samples, of the two peaks in turn."""
    which = torch.arange(_BATCH) % len(PEAKS)
    mean, spread = torch.tensor([PEAKS, SPREADS], dtype=torch.float64)[:, which]
    return torch.addcmul(mean, spread, torch.randn(_BATCH, generator=generator, dtype=torch.float64))[:, None]


def _uniform(intervals: Sequence[tuple[float, float]], generator: torch.Generator) -> Tensor:
    """Return a batch of samples, uniform in the intervals in turn."""
    low, high = torch.tensor(intervals, dtype=torch.float64)[torch.arange(_BATCH) % len(intervals)].T
    return torch.lerp(low, high, torch.rand(_BATCH, generator=generator, dtype=torch.float64))[:, None]


def _examine(detector: Detector, areas: Sequence[float], generator: torch.Generator) -> Lesson:
    peaks = torch.tensor(PEAKS, dtype=torch.float64)
    ends = ascend(detector, torch.cat([_uniform(FLANKS, generator) for _ in range(8)]), steps=120, step_size=0.005)
    flanks = torch.cat([torch.linspace(low, high, 41, dtype=torch.float64) for low, high in FLANKS])
    outside = detector(flanks[:, None])
    last = areas[-len(areas) // 5 :]
    return Lesson(
        detector(peaks[:, None]).mean().item(),
        outside.mean().item(),
        outside.max().item(),
        ((ends - peaks).abs() <= 0.03).any(dim=1).double().mean().item(),
        sum(last) / len(last),
    )
