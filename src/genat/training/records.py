"""What a training tells: each step, its end, and its failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True, slots=True)
class Step:
    """What one training step did; a callback receives one after each.

    Attributes:
        iteration: this step's number, from 1.
        loss: the maximin loss, R1 included.
        auroc: adversarial AUROC of the training batch: target (descended, where descent is on) against climbed outside.
        steps: ascent steps taken.
        inside, outside: mean logits of target and of climbed outside data.
        path: length of the ascents' way over steps x step_size; 1 is a free way; 0 is stuck,
            or no steps at all.
        gradient: L2 norm of the parameters' gradient, before clipping.
        seconds: time this step took.
        members: for a detector of several members (`networks.Together`) a step for each, NaN for those that have
            diverged; the numbers above are then the means over the others. Empty for one detector.
    """

    iteration: int
    loss: float
    auroc: float
    steps: int
    inside: float
    outside: float
    path: float
    gradient: float
    seconds: float
    members: "tuple[Step, ...]" = ()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained detector.

    Attributes:
        detector: the one to use: the running mean of the weights where one was kept, else the last weights; in eval
            mode.
        last: the last weights, on which training would go on.
        iterations: completed training steps.
        digest: SHA-256 over the weights of `last` and `detector`.
        diverged: of several members, which have diverged, and at what step; their weights are zero.
    """

    detector: nn.Module
    last: nn.Module
    iterations: int
    digest: str
    diverged: Mapping[int, int] = field(default_factory=dict)


class DivergenceError(FloatingPointError):
    """A value of the training is not finite any more."""
