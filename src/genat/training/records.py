"""What a training tells: each step, its end, and its failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import nn

Action: TypeAlias = Literal["continue", "stop", "back-off"]
Kind: TypeAlias = Literal["non_finite", "gate", "stuck", "wins", "loses"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one training step did; a callback receives one after each.

    Attributes:
        iteration: this step's number, from 1.
        loss: what was minimised: the maximin loss, R1 and the weighted cross-entropy included.
        auroc: adversarial AUROC of the training batch: target (descended, where descent is on) against climbed outside.
        steps: ascent steps of a climb; with `fit(replay=)` an iteration takes a burst of them.
        inside, outside: mean logits of target and of climbed outside data.
        path: length of the ascents' way over steps x step_size; 1 is a free way; 0 is stuck,
            or no steps at all.
        gradient: L2 norm of the parameters' gradient, before clipping.
        seconds: time this step took.
        members: for a detector of several members (`networks.Together`) a step for each, NaN for those that have
            diverged; the numbers above are then the means over the others. Empty for one detector.
        cross_entropy: of attacked target samples, where a joint network learns its classes (`fit(classify=)`), else
            None.
        clean_accuracy, adversarial_accuracy: share of these samples that were classified rightly, before and after
            the attack, likewise.
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
    cross_entropy: float | None = None
    clean_accuracy: float | None = None
    adversarial_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """What the watch over a training saw, and what was done about it.

    Attributes:
        iteration: the step that it was seen in, from 1.
        kind: the setting of `Health` that it falls under.
        text: what was seen, with the figures.
        action: what was done. Of several members one that has diverged rests, and the training continues.
        member: of several, the one that it is about; None where it is about all.
        value: the figure that was judged; None where there is none.
        level: what it was judged by, likewise.
        back_to: the iteration that was returned to; None where that was not done.
        rate: what the learning rate is multiplied by from then on, likewise.

    Example:
        >>> print(Incident(730, "loses", "the detector loses", "back-off", back_to=500, rate=0.25))
        step 730: the detector loses; back to step 500, learning rate x 0.25
    """

    iteration: int
    kind: Kind
    text: str
    action: Action = "continue"
    member: int | None = None
    value: float | None = None
    level: float | None = None
    back_to: int | None = None
    rate: float | None = None

    def __str__(self) -> str:
        seen = f"step {self.iteration}: {self.text}"
        return seen if self.back_to is None else f"{seen}; back to step {self.back_to}, learning rate x {self.rate:g}"


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
        incidents: all that the watch saw, in order, before a resume and on ways that were given up too.
    """

    detector: nn.Module
    last: nn.Module
    iterations: int
    digest: str
    diverged: Mapping[int, int] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()


class DivergenceError(FloatingPointError):
    """A training has stopped at what its watch saw: a value that is not finite, or what it was told to stop at."""


class StoppedError(Exception):
    """A training was asked to stop, and has, between two steps.

    Attributes:
        iteration: completed steps.
        saved: whether there is a checkpoint of just that iteration.
    """

    def __init__(self, iteration: int, *, saved: bool) -> None:
        super().__init__(f"stopped after step {iteration}" + (", which is saved" if saved else ", which is not saved"))
        self.iteration, self.saved = iteration, saved
