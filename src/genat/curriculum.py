"""How many ascent steps when: starts near the target teach little, far ones too much at once."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Curriculum:
    r"""A plan for the number of ascent steps: :math:`K = first, first + 1, \dots, last`, a stage each.

    A stage ends after `stage_iterations`, or early when the mean of the last `window` adversarial AUROCs passes
    `gate`: the detector separates what ascents of this length reach, so they may be longer. The last stage ends with
    the training.

    Args:
        first: steps in the first stage, at least 0.
        last: steps in the last stage, at least `first`.
        stage_iterations: iterations a stage may take; None spreads the training's iterations evenly over the stages,
            the last taking what is left over.
        gate: AUROC in (0.5, 1] above which a stage ends early; None never ends one early.
        window: how many AUROCs the mean is taken over; a stage shorter than this ends by its iterations alone.

    Raises:
        ValueError: for values out of range.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568
        The gate's 0.8 and the window's 100 are the authors' defaults.

    Example:
        >>> plan = Curriculum(0, 2, stage_iterations=2, gate=None)
        >>> progress = plan.start(iterations=7)
        >>> steps = []
        >>> for _ in range(7):
        ...     steps.append(progress.steps)
        ...     _ = progress.observe(auroc=1.0)
        >>> steps
        [0, 0, 1, 1, 2, 2, 2]
    """

    first: int
    last: int
    stage_iterations: int | None = None
    gate: float | None = 0.8
    window: int = 100

    def __post_init__(self) -> None:
        if self.first < 0:
            raise ValueError(f"expected first to be at least 0, got {self.first}")
        if self.last < self.first:
            raise ValueError(f"expected last to be at least first={self.first}, got {self.last}")
        if self.stage_iterations is not None and self.stage_iterations < 1:
            raise ValueError(f"expected stage_iterations to be None or at least 1, got {self.stage_iterations}")
        if self.gate is not None and not 0.5 < self.gate <= 1:
            raise ValueError(f"expected gate to be None or in (0.5, 1], got {self.gate}")
        if self.window < 1:
            raise ValueError(f"expected window to be at least 1, got {self.window}")

    def start(self, *, iterations: int) -> "Progress":
        """Return the beginning of a training of so many iterations."""
        length = self.stage_iterations or max(1, iterations // (self.last - self.first + 1))
        return Progress(self, length, self.first)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that has ended.

    Attributes:
        steps: its number of ascent steps.
        iterations: how many it took.
        auroc: mean of its last adversarial AUROCs, at most a window of them.
        passed: whether the gate ended it; else its iterations did.
    """

    steps: int
    iterations: int
    auroc: float
    passed: bool


@dataclass
class Progress:
    """Where in its curriculum a training stands; part of every checkpoint.

    Attributes:
        steps: the number of ascent steps now.
        iteration: iterations spent in this stage.
    """

    plan: Curriculum
    stage_iterations: int
    steps: int
    iteration: int = 0
    recent: deque[float] = field(default_factory=deque)

    def observe(self, *, auroc: float) -> Stage | None:
        """Take note of one iteration's adversarial AUROC and go on to the next stage where it is time.

        Returns:
            The stage that this iteration ended, None within a stage.
        """
        self.iteration += 1
        self.recent.append(auroc)
        if len(self.recent) > self.plan.window:
            self.recent.popleft()
        passed = self._passed()
        if self.steps == self.plan.last or not (passed or self.iteration >= self.stage_iterations):
            return None
        ended = Stage(self.steps, self.iteration, sum(self.recent) / len(self.recent), passed)
        self.steps += 1
        self.iteration = 0
        self.recent.clear()
        return ended

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON can hold it."""
        return {"steps": self.steps, "iteration": self.iteration, "recent": list(self.recent)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where `state` was taken.

        Raises:
            ValueError: where the state does not fit the plan.
        """
        steps = int(state["steps"])
        if not self.plan.first <= steps <= self.plan.last:
            raise ValueError(f"expected {self.plan.first} to {self.plan.last} steps in the curriculum, got {steps}")
        recent = deque(float(value) for value in state["recent"])
        if len(recent) > self.plan.window:
            raise ValueError(f"expected at most window={self.plan.window} recent AUROCs, got {len(recent)}")
        self.steps, self.iteration, self.recent = steps, int(state["iteration"]), recent

    def _passed(self) -> bool:
        gate = self.plan.gate
        full = len(self.recent) == self.plan.window
        return gate is not None and full and sum(self.recent) / self.plan.window > gate
