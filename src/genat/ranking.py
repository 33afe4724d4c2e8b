"""How well a logit ranks in-distribution data above outside data: rank statistics in float64, never through a sigmoid.

A sigmoid saturates float32 at logits of about 17 and turns perfect separation into ties; ranks do not care for scale.
"""

import math

import torch
from torch import Tensor


def auroc(inside: Tensor, outside: Tensor) -> float:
    r"""Return the area under the ROC curve, :math:`P(f(x_{in}) > f(x_{out})) + \tfrac12 P(f(x_{in}) = f(x_{out}))`.

    Args:
        inside: `(N,)` logits of in-distribution data, any finite size.
        outside: `(M,)` logits of outside data.

    Returns:
        A number in [0, 1]; 1 is perfect separation, 1/2 is chance.

    Raises:
        ValueError: where either is empty, not one-dimensional or not finite.

    References:
        The meaning and use of the area under a receiver operating characteristic (ROC) curve (Hanley and McNeil, 1982)
        https://doi.org/10.1148/radiology.143.1.7063747

    Example:
        >>> auroc(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0]))
        0.9166666666666666
        >>> auroc(torch.tensor([1e4 + 1.0]), torch.tensor([1e4]))
        1.0
    """
    _check(inside, outside)
    return auroc_tensor(inside, outside).item()


def auroc_tensor(inside: Tensor, outside: Tensor) -> Tensor:
    """Return `auroc` as a float64 scalar on the inputs' device, unchecked and without waiting for the device.

    Example:
        >>> auroc_tensor(torch.tensor([2.0]), torch.tensor([1.0, 3.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    return _wins(inside, outside).mean()


def auroc_interval(
    inside: Tensor, outside: Tensor, *, generator: torch.Generator, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Return a bootstrap percentile interval of the AUROC; both samples are drawn anew each time.

    Args:
        inside: `(N,)` logits of in-distribution data.
        outside: `(M,)` logits of outside data.
        generator: a CPU generator.
        level: coverage, in (0, 1).
        resamples: how many times to draw.

    Returns:
        The lower and the upper end. With perfect separation both are 1: the bootstrap cannot see past the sample.

    Raises:
        ValueError: where logits are empty or not finite, or level or resamples are out of range.

    References:
        An Introduction to the Bootstrap (Efron and Tibshirani, 1993), chapter 13

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> inside, outside = torch.arange(50.0) + 20, torch.arange(50.0)
        >>> low, high = auroc_interval(inside, outside, generator=generator)
        >>> print(f"{low:.3f} {auroc(inside, outside):.3f} {high:.3f}")
        0.732 0.820 0.894
    """
    _check(inside, outside)
    if not 0 < level < 1:
        raise ValueError(f"expected level in (0, 1), got {level}")
    if resamples < 1:
        raise ValueError(f"expected resamples to be at least 1, got {resamples}")
    inside, outside = inside.detach().cpu(), outside.detach().cpu()
    areas = torch.empty(resamples, dtype=torch.float64)
    for i in range(resamples):
        draw_in = inside[torch.randint(len(inside), (len(inside),), generator=generator)]
        draw_out = outside[torch.randint(len(outside), (len(outside),), generator=generator)]
        areas[i] = auroc_tensor(draw_in, draw_out)
    low, high = areas.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return low, high


def fpr_at_tpr(inside: Tensor, outside: Tensor, *, tpr: float = 0.95) -> float:
    """Return the share of outside data accepted at the highest threshold that accepts at least `tpr` of the inside.

    Args:
        inside: `(N,)` logits of in-distribution data.
        outside: `(M,)` logits of outside data.
        tpr: the share of inside data to accept, in (0, 1].

    Returns:
        A number in [0, 1]; 0 is best.

    Raises:
        ValueError: where logits are empty or not finite, or tpr is out of range.

    Example:
        >>> fpr_at_tpr(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 1.0, 2.5]), tpr=0.75)
        0.3333333333333333
    """
    _check(inside, outside)
    level = threshold_for_tpr(inside, tpr=tpr)
    return (outside.double() >= level).double().mean().item()


def threshold_for_tpr(inside: Tensor, *, tpr: float = 0.95) -> float:
    """Return the highest logit t such that at least the share `tpr` of the inside data has a logit of t or more.

    Args:
        inside: `(N,)` logits of in-distribution data, from validation and never from test data.
        tpr: the share to accept, in (0, 1].

    Raises:
        ValueError: where logits are empty or not finite, or tpr is out of range.

    Example:
        >>> threshold_for_tpr(torch.tensor([4.0, 1.0, 3.0, 2.0]), tpr=0.75)
        2.0
    """
    _check(inside, inside)
    if not 0 < tpr <= 1:
        raise ValueError(f"expected tpr in (0, 1], got {tpr}")
    ordered = inside.double().sort().values
    accepted = math.ceil(tpr * len(ordered) - 1e-9)  # in binary 0.07 * 100 is 7.000000000000001, and means 7
    return ordered[-max(1, accepted)].item()


def aupr(inside: Tensor, outside: Tensor) -> float:
    r"""Return the average precision with in-distribution data as the positives, :math:`\sum_t (R_t - R_{t-1}) P_t`.

    Args:
        inside: `(N,)` logits of in-distribution data.
        outside: `(M,)` logits of outside data.

    Returns:
        A number in (0, 1]; chance is N / (N + M).

    Raises:
        ValueError: where either is empty, not one-dimensional or not finite.

    Example:
        >>> round(aupr(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0])), 4)
        0.8333
    """
    _check(inside, outside)
    ordered_in, ordered_out = inside.double().sort().values, outside.double().sort().values
    true = len(inside) - torch.searchsorted(ordered_in, ordered_in)
    false = len(outside) - torch.searchsorted(ordered_out, ordered_in)
    return float((true.double() / (true + false)).mean())  # each inside sample is one step of recall


def _wins(inside: Tensor, outside: Tensor) -> Tensor:
    ordered = outside.detach().double().sort().values
    values = inside.detach().double()
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above).double() / (2 * len(ordered))


def _check(inside: Tensor, outside: Tensor) -> None:
    for name, logits in (("inside", inside), ("outside", outside)):
        if logits.ndim != 1 or len(logits) == 0:
            raise ValueError(f"expected {name} to be logits of shape (N,) with N >= 1, got {tuple(logits.shape)}")
        if not torch.isfinite(logits).all():
            bad = int((~torch.isfinite(logits)).sum())
            raise ValueError(f"expected {name} to be finite, got {bad} values of {len(logits)} that are not")
