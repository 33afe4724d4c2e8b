"""What attacks on a system raise: each a number a sample, high where the system is near to being wrong or is so."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from genat.decisions import Integrated, System

View: TypeAlias = Callable[[Tensor], Tensor]
"""Points `(N, *)`, of one batch and in its order, to logits `(N, C)`; sample i is wrong where its label's is beaten."""

_FOOLED = 2.0**30  # lifts the second stage above the first, and leaves float64 2e-7 to tell its values apart
_GAP = 5.0  # the softmax of logits so far apart is neither flat nor blind


def lead(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return :math:`\max_{i \ne y} z_i - z_y`, by how much the label's logit is beaten, `(N,)`.

    Example:
        >>> lead(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    return best_other(logits, labels) - logits.gather(1, labels[:, None])[:, 0]


def best_other(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Return :math:`\max_{i \ne y} z_i`, `(N,)`, whatever the logits' size.

    Example:
        >>> best_other(torch.tensor([[3.0, -2e5]]), torch.tensor([0]))
        tensor([-200000.])
    """
    return logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def naming(system: System) -> View:
    """Return the logits whose largest is the label: the margins, or an integrated system's classifier."""
    return system.classifier if isinstance(system, Integrated) else system.margins


def leaving(system: System, labels: Tensor, *, threshold: float | None, lower: bool = False) -> View:
    r"""Return the system as K logits, of which another than the label's is the largest where the label is wrong.

    Without a threshold those are what `naming` has. With one they are the rejecting system's K + 1, r, in which
    rejection takes the label's side: a rejected sample is no success, and a mere rejection would be one among K + 1.

    .. math:: z_y = \max(r_y, r_K), \qquad z_i = r_i \quad (i \ne y)

    The maximum keeps the decision exactly; a log-sum-exp of the two would shift it by up to log 2, which counts for
    more or less by the logits' scale.

    Args:
        system: what decides.
        labels: `(N,)`, of the points that the view is of.
        threshold: of rejection; None for none.
        lower: with a threshold, append the lower of the two, which is never the largest, for losses that take more
            logits than there may be classes.
    """
    if threshold is None:
        return naming(system)

    def merged(points: Tensor) -> Tensor:
        logits = system.rejecting(points, threshold=threshold)
        own, rejection = logits.gather(1, labels[:, None]), logits[:, -1:]
        kept = logits[:, :-1].scatter(1, labels[:, None], torch.maximum(own, rejection))
        return torch.cat([kept, torch.minimum(own, rejection)], dim=1) if lower else kept

    return merged


def softened(view: View, labels: Tensor, images: Tensor, neighbours: Tensor) -> View:
    r"""Return a view in units in which cross-entropy is not blind, whatever the logits' scale.

    .. math:: \frac{5\, z(x)}{c_i}, \qquad c_i = \max\bigl(|\ell_i(x_i)|,\ \mathrm{mean}_j |\ell_j(x_j)|,\
              \mathrm{mean}_j |\ell_j(x_j + u_j) - \ell_j(x_j)|\bigr)

    with the `lead` :math:`\ell`. Where the label leads by hundreds, cross-entropy and its gradient vanish in float32,
    and the system looks robust because the attack is blind.

    Args:
        view: of `images` and of what replaces them, in their order.
        labels: `(N,)`.
        images: `(N, *)`.
        neighbours: `(N, *)`, points of the ball.

    Example:
        >>> huge = lambda x: 1e4 * x
        >>> x = torch.tensor([[3.0, 1.0]])
        >>> softened(huge, torch.tensor([0]), x, x)(x)
        tensor([[7.5000, 2.5000]])
    """
    with torch.no_grad():
        here, there = (lead(view(points), labels) for points in (images, neighbours))
        unit = torch.maximum(here.abs(), torch.maximum(here.abs().mean(), (there - here).abs().mean())) / _GAP
        unit = torch.where(unit > 0, unit, 1.0)[:, None]
    return lambda points: view(points) / unit


def cross_entropy(view: View, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the cross-entropy of a view, which should be a `softened` one."""
    return lambda points: nn.functional.cross_entropy(view(points), labels, reduction="none")


def combined(system: Integrated, labels: Tensor) -> Callable[[Tensor], Tensor]:
    r"""Return the papers' objective in two stages: first to fool the classifier z, then the detectors h.

    .. math:: \max_{i \ne y} z_i - z_y \ \text{ where the classifier is right}, \qquad
              \max_{i \ne y} h_i \ \text{ where it is not}

    Which holds is asked anew at every point. The second stage ranks above the first, so that the best point of an
    ascent is one of the second wherever one was met. `System.wrong` differs in the second stage: there it is the
    detector of the class that the classifier says, which is the one that judges.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri,
        Rohde, 2020) https://arxiv.org/abs/1905.11475
    """

    def objective(points: Tensor) -> Tensor:
        behind = lead(system.classifier(points), labels).double()
        detected = best_other(system.committee.classify(points), labels).double()
        return torch.where(behind > 0, detected + _FOOLED, behind)

    return objective


def combined_margin(system: Integrated, labels: Tensor) -> Callable[[Tensor], Tensor]:
    r"""Return the margin of a classifier with a logit for rejection.

    .. math:: \max_{i \ne y} z_i - \max(z_y, r), \qquad r = \bigl(1 - \max_{j \ne y} h_j\bigr) \max_i z_i

    with the classifier's logits z and the detectors' h.

    References:
        As `combined`.
    """

    def objective(points: Tensor) -> Tensor:
        logits, detected = system.classifier(points), system.committee.classify(points)
        rejection = (1 - best_other(detected, labels)) * logits.amax(dim=1)
        own = torch.maximum(logits.gather(1, labels[:, None])[:, 0], rejection)
        return best_other(logits, labels) - own

    return objective
