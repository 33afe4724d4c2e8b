"""The kernel distance of two sets of features."""

import torch
from torch import Tensor

from genat.evaluation.fidelity.checks import Estimate, check_features

_ROWS = 1024  # n x m at once may not fit


def kernel_distance(features_a: Tensor, features_b: Tensor) -> float:
    r"""Return the kernel distance of two sets of features, the unbiased squared MMD under a cubic kernel.

    .. math::
        \frac{\sum_{i \ne j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(b_i, b_j)}{m (m - 1)}
        - \frac{2}{n m} \sum_{i, j} k(a_i, b_j), \qquad k(x, y) = \Bigl(\frac{x^\top y}{d} + 1\Bigr)^3

    This is the Kernel Inception Distance only where the features are Inception's; with other features it is comparable
    under the same features alone. Every sample is used, in float64: there are no random subsets, and the sets may
    differ in size.

    Args:
        features_a: `(n, d)`, n >= 2.
        features_b: `(m, d)`, m >= 2.

    Returns:
        Around 0, on either side of it, for two sets from one distribution, since it is unbiased.

    Raises:
        ValueError: where features are not of these shapes or not finite.

    References:
        Demystifying MMD GANs (Bińkowski, Sutherland, Arbel, Gretton, 2018) https://arxiv.org/abs/1801.01401

    Example:
        >>> a, b = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.0], [0.0]])
        >>> kernel_distance(a, b)
        7.0
    """
    check_features(features_a=features_a, features_b=features_b)
    a, b = features_a.detach().double(), features_b.detach().double()
    return (_mean_apart(_own(a)) + _mean_apart(_own(b)) - 2 * _sums(a, b).mean() / len(b)).item()


def kernel_estimate(features_a: Tensor, features_b: Tensor) -> Estimate:
    """Return `kernel_distance` and its standard error by the delete-one jackknife of both sets.

    Exact and without subsets, from the same kernel sums. Where both sets come from one distribution the error is too
    large rather than too small, by up to a factor of the root of 2.

    Args:
        features_a: `(n, d)`, n >= 3.
        features_b: `(m, d)`, m >= 3.

    Raises:
        ValueError: where features are not of these shapes or not finite.

    References:
        The Jackknife Estimate of Variance (Efron and Stein, 1981) https://doi.org/10.1214/aos/1176345462

    Example:
        >>> a = torch.linspace(0, 1, 50).unsqueeze(1)
        >>> estimate = kernel_estimate(a, a + 0.5)
        >>> print(f"{estimate.value:.3f} {estimate.error:.3f}")
        3.389 0.873
    """
    check_features(least=3, features_a=features_a, features_b=features_b)
    a, b = features_a.detach().double(), features_b.detach().double()
    own_a, own_b, across = _own(a), _own(b), _sums(a, b)
    variance = _jackknife(own_a, across, len(b)) + _jackknife(own_b, _sums(b, a), len(a))
    value = _mean_apart(own_a) + _mean_apart(own_b) - 2 * across.mean() / len(b)
    return Estimate(value.item(), variance.sqrt().item())


def _jackknife(own: Tensor, across: Tensor, others: int) -> Tensor:
    """Return the variance that one set's rows bring, from the sums of each row's kernels with both sets."""
    n = len(own)
    within = (own.sum() - 2 * own) / ((n - 1) * (n - 2))
    between = (across.sum() - across) / ((n - 1) * others)
    return (within - 2 * between).var() * (n - 1) ** 2 / n


def _mean_apart(own: Tensor) -> Tensor:
    """Return the mean kernel over pairs of two different rows."""
    return own.sum() / (len(own) * (len(own) - 1))


def _own(x: Tensor) -> Tensor:
    """Return for each row the sum of its kernels with the other rows of its set."""
    return _sums(x, x) - (x.square().sum(dim=1) / x.shape[1] + 1).pow(3)


def _sums(x: Tensor, y: Tensor) -> Tensor:
    """Return for each row of x the sum of its kernels with all rows of y."""
    return torch.cat([(block @ y.T / x.shape[1] + 1).pow(3).sum(dim=1) for block in torch.split(x, _ROWS)])
