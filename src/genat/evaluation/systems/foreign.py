"""The independent package's attacks, shown a system as a classifier that its label should leave.

Each is run once, not by the package's own loops over restarts and targets: those reseed the accelerators, leave alone
what is wrong already, and end a sample at its first success, where how sure the system is of its error counts here.
"""

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from genat import adversaries
from genat.adversaries import NORMS, Package, budget
from genat.balls import Ball
from genat.evaluation.systems.objectives import View, lead

_LEAD = 1000.0  # Square ends where the label is beaten, which it never is from here
_FEWEST = 4  # the targeted loss divides by a difference with the third and the fourth logit

# the package warns of gradients that are zero; who wants to hear of it listens here
_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())


def apgd(package: Package, view: View, images: Tensor, labels: Tensor, *, ball: Ball, steps: int) -> Tensor:
    """Return what one APGD on cross-entropy comes to; the view should be a softened one."""
    norm, radius = budget(ball)
    attack = package.apgd(_single(view, images), n_iter=steps, norm=NORMS[norm], eps=radius)
    points: Tensor = attack.perturb(images, labels, best_loss=True)
    return points


def targeted(
    package: Package, view: View, images: Tensor, labels: Tensor, kinds: Tensor, *, ball: Ball, steps: int
) -> Tensor:
    """Return what one APGD on the targeted DLR loss comes to, toward a class each, `(N,)`."""
    norm, radius = budget(ball)
    attack = package.targeted(_single(view, images), n_iter=steps, norm=NORMS[norm], eps=radius, logger=_log)
    attack.init_hyperparam(images)
    attack.y_target = kinds
    points: Tensor = attack.attack_single_run(images.float(), labels)[0]
    return points


def can_target(view: View, images: Tensor) -> bool:
    """Return whether a view has logits enough for the targeted loss: four."""
    with torch.no_grad():
        return view(images).shape[1] >= _FEWEST


def fab(
    package: Package,
    view: View,
    images: Tensor,
    labels: Tensor,
    *,
    ball: Ball,
    steps: int,
    targets: int,
    scattered: bool,
) -> Iterator[Tensor]:
    """Yield what FAB finds nearest to the images beyond the border to each of the best others; it may lie outside.

    What is wrong already stays as it is.

    Args:
        package: pyautoattack.
        view: of all of `images`, in their order.
        images: `(N, *)`.
        labels: `(N,)`.
        ball: the random starts' size.
        steps: of each target.
        targets: how many of the other classes, from the one with the largest logit on.
        scattered: start from points of half the ball's radius rather than from the images.
    """
    norm, radius = budget(ball)
    with torch.no_grad():
        right = _single(view, images)(images.float()).argmax(dim=1) == labels
    if not right.any():
        yield images
        return
    rows = right.nonzero()[:, 0]

    def predict(points: Tensor) -> Tensor:
        # FAB lets go of what is wrong already, where the view wants all
        if len(points) == len(images):
            return _single(view, images)(points)
        whole = images.to(points).index_copy(0, rows, points)
        return _single(view, images)(whole)[rows]

    for rank in range(2, targets + 2):
        attack = package.fab(predict, norm=NORMS[norm], n_iter=steps, eps=radius)
        attack.target_class = rank
        found: Tensor = attack.attack_single_run(images, labels, use_rand_start=scattered, is_targeted=True)
        yield found


def square(package: Package, view: View, images: Tensor, labels: Tensor, *, ball: Ball, queries: int) -> Tensor:
    """Return what Square comes to: it makes the label's lead over the best other small, also below zero."""

    def predict(points: Tensor) -> Tensor:
        behind = lead(view(points.to(images.dtype)), labels)
        return torch.stack([(_LEAD - behind).clamp(min=1), torch.zeros_like(behind)], dim=1).float()

    first = torch.zeros_like(labels)
    return adversaries.square(package.square, predict, images, first, ball=ball, queries=queries)


def _single(view: View, images: Tensor) -> View:
    """Return the view of points of any precision, in the package's own."""
    return lambda points: view(points.to(images.dtype)).float()
