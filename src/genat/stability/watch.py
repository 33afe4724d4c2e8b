"""What is noted while a training runs: its AUROCs, and how good its images are at a few moments."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genat.training import DivergenceError

MOMENTS = 4
"""How often images are looked at, evenly over the passes; the last time is the end."""
_RECORDS, _LINES = 200, 10
_LATE = 0.8  # where the last fifth of the iterations begins


@dataclass
class Watch:
    """Called by a method after each of its iterations.

    What it does changes nothing in the training: images are made in eval mode and from noise of their own.

    Args:
        name: of the training, in lines of progress.
        passes, iterations: of the whole training.
        measure: the distance of generated images to held-out ones.
        say: called with a line of progress now and then.

    Attributes:
        iteration, spent: where the training stands.
        curve: `passes` spent and the `distance` then, at each moment.
        history: `iteration`, `passes` and `auroc` at about 200 iterations.
        images: the last ones looked at, `(n, *)` on the CPU.
    """

    name: str
    passes: int
    iterations: int
    measure: Callable[[Tensor], float]
    say: Callable[[str], None] = field(default=lambda _: None)
    iteration: int = 0
    spent: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    images: Tensor | None = None
    late: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def __call__(self, iteration: int, *, spent: int, auroc: float, draw: Callable[[], Tensor]) -> None:
        """Take note of an iteration.

        Args:
            iteration: its number, from 1.
            spent: passes up to here.
            auroc: of target data against what the method sets against it.
            draw: makes images with the networks as they are.

        Raises:
            DivergenceError: where the images are not finite.
        """
        before, self.iteration, self.spent = self.spent, iteration, spent
        if iteration > _LATE * self.iterations:
            self.late.append(auroc)
        if iteration % max(1, self.iterations // _RECORDS) == 0 or iteration == self.iterations:
            self.history.append({"iteration": iteration, "passes": spent, "auroc": auroc})
        if self._crossed(MOMENTS, before):
            self._look(draw())
        if self._crossed(_LINES, before):
            self._speak(auroc)

    @property
    def late_auroc(self) -> float | None:
        """The mean AUROC of the last fifth of the iterations; None where none of it was reached."""
        return sum(self.late) / len(self.late) if self.late else None

    def _crossed(self, parts: int, before: int) -> bool:
        return self.spent * parts // self.passes > before * parts // self.passes

    def _look(self, images: Tensor) -> None:
        images = images.detach().cpu()
        if not torch.isfinite(images).all():
            raise DivergenceError(f"iteration {self.iteration}: expected finite images, got some that are not")
        self.images = images
        self.curve.append({"passes": self.spent, "distance": self.measure(images)})

    def _speak(self, auroc: float) -> None:
        seconds = time.perf_counter() - self.began
        left = seconds / self.spent * (self.passes - self.spent)
        distance = f"  distance {self.curve[-1]['distance']:.2f}" if self.curve else ""
        self.say(f"{self.name}  {self.spent:,}/{self.passes:,} passes  AUROC {auroc:.3f}{distance}  {left:.0f} s left")
