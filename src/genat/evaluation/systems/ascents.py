"""Our own attacks on a system: `genat.ascend` on one objective after another."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from genat.adversaries import start_anew
from genat.ascent import UNIT_BOX
from genat.balls import Ball
from genat.decisions import Integrated, System, wrong_scores
from genat.evaluation.systems import objectives
from genat.evaluation.systems.objectives import View, lead, softened


@dataclass
class Passes:
    """Counts the samples that pass through what it is told to watch.

    Example:
        >>> passes = Passes()
        >>> _ = passes.through(lambda x: x)(torch.zeros(3, 2))
        >>> passes.samples
        3
    """

    samples: int = 0

    def through(self, view: View) -> View:
        """Return the function, counted."""

        def counted(points: Tensor) -> Tensor:
            self.samples += len(points)
            return view(points)

        return counted


@dataclass
class Task:
    """A batch to be attacked, and with what effort."""

    system: System
    images: Tensor
    labels: Tensor
    ball: Ball
    steps: int
    restarts: int
    targets: int
    generator: torch.Generator
    passes: Passes = field(default_factory=Passes)
    threshold: float | None = None

    @property
    def logits(self) -> View:
        """What says the label."""
        return self.passes.through(objectives.naming(self.system))

    @cached_property
    def neighbours(self) -> Tensor:
        """A point of the ball about each image, `(N, *)`."""
        return self.ball.random_start(self.images, generator=self.generator).clamp(*UNIT_BOX)

    @cached_property
    def rivals(self) -> Tensor:
        """The other classes of highest margins at the images, the highest first, `(N, T)` int64."""
        with torch.no_grad():
            margins = self.passes.through(self.system.margins)(self.images)
        margins = margins.scatter(1, self.labels[:, None], -torch.inf)
        return margins.topk(min(self.targets, self.system.classes - 1), dim=1).indices

    def softened(self, view: View) -> View:
        """Return a view of the batch that cross-entropy can climb."""
        return softened(view, self.labels, self.images, self.neighbours)

    def ascents(self, step_size: float) -> Iterator[tuple[str, Tensor]]:
        """Yield the attacks by name, and the points each comes to."""
        for name, objective in self._objectives():
            for start in range(self.restarts):
                points = start_anew(
                    objective,
                    self.images,
                    start,
                    self.ball,
                    steps=self.steps,
                    step_size=step_size,
                    generator=self.generator,
                )
                yield name, points

    def _objectives(self) -> Iterator[tuple[str, View]]:
        system, labels, through = self.system, self.labels, self.passes.through
        yield "wrong", through(lambda points: system.wrong(points, labels))
        for kinds in self.rivals.T:
            yield "targeted", through(partial(_toward, system, kinds))
        logits = self.logits
        yield "margin", lambda points: lead(logits(points), labels)
        yield "cross-entropy", objectives.cross_entropy(self.softened(logits), labels)
        if self.threshold is not None:
            merged = through(objectives.leaving(system, labels, threshold=self.threshold))
            yield "accepted", lambda points: lead(merged(points), labels)
        if isinstance(system, Integrated):
            yield "combined", through(objectives.combined(system, labels))
            yield "combined margin", through(objectives.combined_margin(system, labels))


def score_if_wrong(system: System, labels: Tensor, points: Tensor) -> Tensor:
    """Return the system's scores where it labels points wrongly, else minus infinity, `(N,)` float64."""
    return wrong_scores(system.decide(points), labels)


def share_of_errors(wrong: Tensor, threshold: float | None) -> float:
    """Return the share of scores with a wrong label that are accepted.

    Example:
        >>> wrong = torch.tensor([-torch.inf, 1.0, 2.0, 3.0])
        >>> share_of_errors(wrong, 2.0), share_of_errors(wrong, None)
        (0.5, 0.75)
    """
    accepted = (wrong > -torch.inf) & (wrong >= (-torch.inf if threshold is None else threshold))
    return float(accepted.double().mean())


def check_labels(system: System, images: Tensor, labels: Tensor) -> None:
    """Check that there is a label an image, and of the system's.

    Raises:
        ValueError: where that is not so.
    """
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(f"expected a label an image, ({len(images)},) int64, got {tuple(labels.shape)} {labels.dtype}")
    system.decide(images[:1])  # since a classifier may show its classes by running only
    low, high = (int(end) for end in labels.aminmax())
    if not 0 <= low <= high < system.classes:
        raise ValueError(f"expected labels from 0 to {system.classes - 1}, got {low} to {high}")


def _toward(system: System, kinds: Tensor, points: Tensor) -> Tensor:
    return system.toward(points, kinds)
