"""What a threshold accepts, counted exactly at every step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genat.decisions.systems import Decision
from genat.ranking import threshold_for_tpr

_SLACK = 1e-9  # below any step of a share: the same share as a sum of others may differ in its last bits


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """What each threshold accepts, of clean data and of perturbed.

    Attributes:
        thresholds: `(T,)` float64, ascending.
        tpr: `(T,)` float64, the share of clean data accepted, rightly labelled or not.
        fpr: `(T,)` float64, the share of perturbed data accepted with a wrong label.
        accuracy: `(T,)` float64, the share of clean data accepted and rightly labelled.
        error: `(T,)` float64, the share of perturbed data accepted with a wrong label: `fpr`, as classification calls
            it. A perturbed input that is rejected counts as handled.
    """

    thresholds: Tensor
    tpr: Tensor
    fpr: Tensor
    accuracy: Tensor
    error: Tensor


def rates(
    clean: Decision, clean_labels: Tensor, wrong_scores: Tensor, *, thresholds: Tensor | Sequence[float] | None = None
) -> Rates:
    r"""Return what each threshold accepts of clean and perturbed data.

    .. math:: TPR(T) = P(s(x) \ge T), \quad acc(T) = P(s(x) \ge T,\ \hat y(x) = y), \quad
        err(T) = FPR(T) = P(\max_{x' : \hat y(x') \ne y} s(x') \ge T)

    With the highest score a sample that any attack got accepted with a wrong label, the error is the worst case
    sample by sample, at every threshold at once.

    Args:
        clean: the decision on clean data.
        clean_labels: `(N,)` int64, the true ones.
        wrong_scores: `(M,)`, of each perturbed sample the highest score with a wrong label, minus infinity where no
            attack got one: it counts at no threshold.
        thresholds: where to count, `(T,)`, finite, in any order; None takes every score at which a rate steps: between
            two of them it is that at the upper one, and above the last 0.

    Raises:
        ValueError: where shapes are not as above, something is empty, or a number is not as above.

    Example:
        >>> clean = Decision(torch.tensor([0, 1, 1]), torch.tensor([3.0, 2.0, 1.0]))
        >>> curve = rates(clean, torch.tensor([0, 1, 0]), torch.tensor([1.5, -math.inf]))
        >>> curve.thresholds.tolist(), curve.error.tolist()
        ([1.0, 1.5, 2.0, 3.0], [0.5, 0.5, 0.0, 0.0])
        >>> [round(share, 4) for share in curve.accuracy.tolist()]
        [0.6667, 0.6667, 0.6667, 0.3333]
    """
    right = _right(clean, clean_labels)
    scores, wrong = clean.scores.detach().cpu().double(), wrong_scores.detach().cpu().double()
    if len(scores) == 0 or not scores.isfinite().all():
        raise ValueError(f"expected at least one clean score and all of them finite, got {_few(scores)}")
    if wrong.ndim != 1 or len(wrong) == 0 or not (wrong < math.inf).all():
        raise ValueError(f"expected wrong_scores (M,), M >= 1, finite or minus infinity, got {_few(wrong)}")
    if thresholds is None:
        levels = torch.unique(torch.cat([scores, wrong[wrong.isfinite()]]))
    else:
        levels = torch.as_tensor(thresholds, dtype=torch.float64).detach().cpu()
        if levels.ndim != 1 or len(levels) == 0 or not levels.isfinite().all():
            raise ValueError(f"expected thresholds (T,), T >= 1, all finite, got {_few(levels)}")
        levels = levels.sort().values
    error = _share(wrong, levels, of=len(wrong))
    return Rates(
        thresholds=levels,
        tpr=_share(scores, levels, of=len(scores)),
        fpr=error,
        accuracy=_share(scores[right.cpu()], levels, of=len(scores)),
        error=error,
    )


def wrong_scores(decision: Decision, labels: Tensor) -> Tensor:
    """Return the scores where the label is wrong and minus infinity where it is right, `(N,)` float64.

    The elementwise maximum over several attacks is what `rates` takes.

    Args:
        decision: on perturbed data.
        labels: `(N,)` int64, the true ones.

    Raises:
        ValueError: where there is not a label for each input.

    Example:
        >>> wrong_scores(Decision(torch.tensor([0, 1]), torch.tensor([3.0, 2.0])), torch.tensor([0, 0]))
        tensor([-inf, 2.], dtype=torch.float64)
    """
    return decision.scores.double().masked_fill(_right(decision, labels), -math.inf)


def error_at_accuracy(rates: Rates, accuracy: float) -> float:
    """Return the error at the largest threshold that keeps the accuracy: what is accepted and right of clean data.

    Args:
        rates: of which the thresholds are the ones to choose from.
        accuracy: to keep, in (0, 1].

    Raises:
        ValueError: where accuracy is out of range, or no threshold keeps it.

    Example:
        >>> clean = Decision(torch.tensor([0, 1, 1]), torch.tensor([3.0, 2.0, 1.0]))
        >>> curve = rates(clean, torch.tensor([0, 1, 1]), torch.tensor([1.5, -math.inf]))
        >>> error_at_accuracy(curve, 0.6), error_at_accuracy(curve, 1.0)
        (0.0, 0.5)
    """
    if not 0 < accuracy <= 1:
        raise ValueError(f"expected accuracy in (0, 1], got {accuracy}")
    kept = (rates.accuracy >= accuracy - _SLACK).nonzero()[:, 0]
    if len(kept) == 0:
        most = float(rates.accuracy.max())
        raise ValueError(f"expected an accuracy that some threshold keeps, at most {most:g}, got {accuracy}")
    return float(rates.error[kept[-1]])


def threshold(decision: Decision, *, tpr: float = 0.95) -> float:
    """Return the highest threshold that accepts at least a share of the data: `ranking.threshold_for_tpr`.

    Args:
        decision: on validation data, never on test data.
        tpr: the share to accept, in (0, 1].

    Raises:
        ValueError: where scores are empty or not finite, or tpr is out of range.

    Example:
        >>> threshold(Decision(torch.tensor([0, 1, 1]), torch.tensor([3.0, 2.0, 1.0])), tpr=0.6)
        2.0
    """
    return threshold_for_tpr(decision.scores, tpr=tpr)


def _right(decision: Decision, labels: Tensor) -> Tensor:
    if labels.shape != decision.labels.shape:
        raise ValueError(f"expected a label an input, {tuple(decision.labels.shape)}, got {tuple(labels.shape)}")
    return decision.labels == labels.to(decision.labels.device)


def _share(scores: Tensor, levels: Tensor, *, of: int) -> Tensor:
    """Return how many scores are at or above each level, as a share, `(T,)` float64."""
    return (len(scores) - torch.searchsorted(scores.sort().values, levels)).double() / of


def _few(values: Tensor) -> str:
    bad = int((~values.isfinite()).sum())
    return f"shape {tuple(values.shape)} with {bad} that {'is' if bad == 1 else 'are'} not finite"
