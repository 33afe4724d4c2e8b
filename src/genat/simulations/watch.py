"""What is noted while the seeds of a simulation train: curves, and the surface at some moments."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genat.evaluation.points import lattice
from genat.networks import Together
from genat.sources.toy import Toy

MOMENTS = 30
RECORDS = 300
SCATTERED = 256
RESOLUTION = {1: 1000, 2: 200}  # cells a side of the lattice that pictures are drawn on, by dimension
_LATE = 0.8  # where the last fifth of a training begins


@torch.no_grad()
def member_logits(detector: Together, points: Tensor, *, chunk: int = 20_000) -> Tensor:
    """Return every member's logits of the same points, `(M, N)` on the CPU.

    Example:
        >>> from genat.networks import mlp
        >>> member_logits(Together([mlp(2, hidden=()), mlp(2, hidden=())]), torch.zeros(5, 2)).shape
        torch.Size([2, 5])
    """
    device = next(detector.parameters()).device
    blocks = [detector(block.to(device).repeat(detector.members, 1)) for block in torch.split(points, chunk)]
    return torch.cat([block.reshape(detector.members, -1).cpu() for block in blocks], dim=1)


def resting(detector: Together) -> Tensor:
    """Return which members have diverged, `(M,)` bool on the CPU: those with no weight but 0.

    Example:
        >>> from genat.networks import mlp
        >>> both = Together([mlp(2, hidden=()), mlp(2, hidden=())])
        >>> with torch.no_grad():
        ...     for weights in both.parameters():
        ...         weights[1] = 0
        >>> resting(both)
        tensor([False,  True])
    """
    return ~torch.stack([weights.detach().flatten(1).any(dim=1) for weights in detector.parameters()]).any(dim=0).cpu()


@dataclass
class Watch:
    """Called by the trainers after each step; keeps what the figures need.

    Of a seed that has diverged, whose weights are 0, NaN is noted.

    Args:
        toy: what is learned.
        iterations: of the training.
        say: called with a line of progress at each moment.
        show: called with the first seed's logits on the lattice at each moment.
        scatter: called after it with points that the first seed generates as it is then; None generates none.

    Attributes:
        history: a record for each of about 300 steps.
        moments, surfaces, areas: as in `Outcome`, at about 30 steps.
        late: sum of each seed's adversarial AUROCs over the last fifth, and their number.
    """

    toy: Toy
    iterations: int
    say: Callable[[str], None] = field(default=lambda _: None)
    show: Callable[[Tensor], None] = field(default=lambda _: None)
    scatter: Callable[[Tensor], None] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    surfaces: list[Tensor] = field(default_factory=list)
    areas: list[Tensor] = field(default_factory=list)
    late: tuple[Tensor | float, int] = (0.0, 0)
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        dim = self.toy.shape[0]
        self.lattice = lattice(RESOLUTION[dim], dim)

    def __call__(
        self,
        iteration: int,
        *,
        detector: Together,
        losses: Sequence[float],
        aurocs: Sequence[float],
        steps: int,
        points: Callable[[int], Tensor] | None = None,
    ) -> None:
        """Take note of a step; `points` generates so many from the first seed, `(n, d)`."""
        if iteration > _LATE * self.iterations:
            self.late = (self.late[0] + _doubles(aurocs), self.late[1] + 1)
        if iteration % max(1, self.iterations // RECORDS) == 0 or iteration == self.iterations:
            values = {"loss": _doubles(losses), "auroc": _doubles(aurocs)}
            if self.toy.shape == (1,) and self.toy.centers is not None:
                left, right = member_logits(detector, self.toy.centers).T
                values["ratio"] = (right - left).exp()
            gone = resting(detector)
            kept = {name: value.masked_fill(gone, torch.nan).tolist() for name, value in values.items()}
            self.history.append({"iteration": iteration, "steps": steps, **kept})
        if iteration % max(1, self.iterations // MOMENTS) == 0 or iteration == self.iterations:
            self._look(iteration, detector, aurocs, steps)
            if self.scatter is not None and points is not None:
                self.scatter(points(SCATTERED))

    def _look(self, iteration: int, detector: Together, aurocs: Sequence[float], steps: int) -> None:
        gone = resting(detector)
        logits = member_logits(detector, self.lattice).masked_fill(gone[:, None], torch.nan)
        self.moments.append(iteration)
        self.surfaces.append(logits[0])
        self.areas.append((logits >= 0).float().mean(dim=1).masked_fill(gone, torch.nan))
        self.show(logits[0])
        seconds = time.perf_counter() - self.began
        left = seconds / iteration * (self.iterations - iteration)
        mean, area = _doubles(aurocs)[~gone].mean().item(), self.areas[-1][~gone].mean().item()
        self.say(
            f"{self.toy.name}  step {iteration}/{self.iterations}  ascent steps {steps}  AUROC {mean:.3f}  "
            f"half level set {area:.3f} of the box  {left:.0f} s left"
        )

    def late_aurocs(self) -> list[float]:
        """Return each seed's mean adversarial AUROC over the last fifth of the training."""
        total, count = self.late
        return (torch.as_tensor(total) / max(count, 1)).reshape(-1).tolist()


def _doubles(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
