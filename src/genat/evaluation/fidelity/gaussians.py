"""The Fréchet distance of two sets of features, each taken as a Gaussian."""

import torch
from torch import Tensor

from genat.evaluation.fidelity.checks import Estimate, check_features


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    r"""Return the Fréchet distance of two sets of features, as the field uses the word: the square.

    `gaussian_distance` of their means and unbiased covariances, in float64. Under the published Inception network this
    is the FID; under other features it is comparable under the same features alone.

    With n <= d rows a covariance is singular whatever the distribution, and the figure says more about n than about
    the images: that is refused. With more it is still biased upwards, roughly by a term in 1/n, so that figures are
    compared at equal n only, and beside the distance of two sets of real images of that n. Where images are too few for
    their features, use fewer: `principal_features`.

    Args:
        features_a: `(n, d)`, n > d.
        features_b: `(m, d)`, m > d.

    Returns:
        A number of 0 or more, in the squared unit of the features.

    Raises:
        ValueError: where features are too few, not of these shapes or not finite.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel, Ramsauer,
        Unterthiner, Nessler, Hochreiter, 2017) https://arxiv.org/abs/1706.08500

    Example:
        >>> a = torch.tensor([[0.0], [2.0]])
        >>> frechet_distance(a, 3 * a + 1)  # means 1 and 4, deviations s and 3 s with s squared = 2
        17.0
    """
    _check_count(features_a, features_b)
    (mean_a, covariance_a), (mean_b, covariance_b) = moments(features_a), moments(features_b)
    return _distance(mean_a - mean_b, covariance_a, covariance_b, _shared(covariance_a, covariance_b)).item()


def frechet_estimate(features_a: Tensor, features_b: Tensor) -> Estimate:
    r"""Return `frechet_distance` and its standard error by the infinitesimal jackknife.

    To first order the distance moves with a row x of a by

    .. math:: 2 (\mu_a - \mu_b)^\top z + z^\top (I - T) z, \qquad z = x - \mu_a,

    with :math:`T` the linear map that transports a's Gaussian onto b's, and with a row of b likewise. The error is how
    far the sums of these over independent rows spread; where n is only a few d it is some tens of per cent too large.
    It says nothing of the bias upwards, for which the distance of two sets of real images stands.

    Args:
        features_a: `(n, d)`, n > d.
        features_b: `(m, d)`, m > d.

    Raises:
        ValueError: as `frechet_distance`.

    References:
        The Infinitesimal Jackknife (Jaeckel, 1972); An Introduction to the Bootstrap (Efron and Tibshirani, 1993),
        chapter 21

    Example:
        >>> a = torch.linspace(-1, 1, 101).unsqueeze(1)
        >>> estimate = frechet_estimate(a, a + 3)
        >>> print(f"{estimate.value:.4f} {estimate.error:.4f}")
        9.0000 0.4948
    """
    _check_count(features_a, features_b)
    (mean_a, covariance_a), (mean_b, covariance_b) = moments(features_a), moments(features_b)
    (root_a, inverse_a), (root_b, inverse_b) = _root(covariance_a), _root(covariance_b)
    left, shared, right = torch.linalg.svd(root_a.T @ root_b, full_matrices=False)
    value = _distance(mean_a - mean_b, covariance_a, covariance_b, shared)
    variance = torch.zeros_like(value)
    for features, mean, other, axes in (
        (features_a, mean_a, mean_b, inverse_a @ left),
        (features_b, mean_b, mean_a, inverse_b @ right.T),
    ):
        apart = features.detach().double() - mean
        moved = (apart @ axes).square() @ shared  # z' T z
        influence = 2 * apart @ (mean - other) + apart.square().sum(dim=1) - moved
        variance += influence.var() / len(features)
    return Estimate(value.item(), variance.sqrt().item())


def gaussian_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    r"""Return the squared Fréchet (Wasserstein-2) distance of two Gaussians.

    .. math::
        \|\mu_a - \mu_b\|^2 + \mathrm{tr}\,\Sigma_a + \mathrm{tr}\,\Sigma_b
        - 2\,\mathrm{tr}\,(\Sigma_a \Sigma_b)^{1/2}

    The last trace is the sum of the singular values of :math:`R_a^\top R_b` for any :math:`R R^\top = \Sigma`; with R
    from a symmetric eigendecomposition no root of a product is taken, and singular covariances lose no digits.

    Args:
        mean_a: `(d,)`.
        covariance_a: `(d, d)`, symmetric, no eigenvalue below 0.
        mean_b: `(d,)`.
        covariance_b: `(d, d)`, as the other.

    Returns:
        A number of 0 or more, computed in float64.

    Raises:
        ValueError: where shapes do not fit, values are not finite, or a covariance is none.

    References:
        The Fréchet distance between multivariate normal distributions (Dowson and Landau, 1982)
        https://doi.org/10.1016/0047-259X(82)90077-X

    Example:
        >>> zero, one = torch.zeros(2), torch.eye(2)
        >>> gaussian_distance(zero, one, zero + 1, 9 * one)
        10.0
    """
    dimension = len(mean_a)
    for name, mean, covariance in (("a", mean_a, covariance_a), ("b", mean_b, covariance_b)):
        if mean.shape != (dimension,) or covariance.shape != (dimension, dimension):
            got = f"{tuple(mean.shape)} and {tuple(covariance.shape)}"
            wanted = f"shapes ({dimension},) and ({dimension}, {dimension})"
            raise ValueError(f"expected mean and covariance {name} of {wanted}, got {got}")
        _check_covariance(name, mean, covariance.detach().double())
    apart = mean_a.detach().double() - mean_b.detach().double()
    covariance_a, covariance_b = covariance_a.detach().double(), covariance_b.detach().double()
    return _distance(apart, covariance_a, covariance_b, _shared(covariance_a, covariance_b)).item()


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean `(d,)` and the unbiased covariance `(d, d)` of features `(n, d)`, n >= 2, in float64.

    Example:
        >>> moments(torch.tensor([[0.0], [2.0]]))
        (tensor([1.], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    check_features(features=features)
    rows = features.detach().double()
    mean = rows.mean(dim=0)
    apart = rows - mean
    return mean, apart.T @ apart / (len(rows) - 1)


def _distance(apart: Tensor, covariance_a: Tensor, covariance_b: Tensor, shared: Tensor) -> Tensor:
    spread = covariance_a.trace() + covariance_b.trace() - 2 * shared.sum()
    return (apart.square().sum() + spread).clamp_min(0)  # rounding alone can bring it below


def _shared(covariance_a: Tensor, covariance_b: Tensor) -> Tensor:
    """Return the eigenvalues of the root of the covariances' product."""
    shared: Tensor = torch.linalg.svdvals(_root(covariance_a)[0].T @ _root(covariance_b)[0])
    return shared


def _root(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return R `(d, r)` with R R' the covariance, r its rank, and its inverse on that range, transposed."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    scale, axes = values[kept].sqrt(), vectors[:, kept]
    return axes * scale, axes / scale


def _check_count(features_a: Tensor, features_b: Tensor) -> None:
    check_features(features_a=features_a, features_b=features_b)
    count, dimension = min(len(features_a), len(features_b)), features_a.shape[1]
    if count <= dimension:
        raise ValueError(
            f"expected more rows than the features' {dimension} dimensions, got {count}: "
            "take more images, or principal_features of fewer dimensions"
        )


def _check_covariance(name: str, mean: Tensor, covariance: Tensor) -> None:
    if not (torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
        raise ValueError(f"expected mean and covariance {name} to be finite, got values that are not")
    scale = covariance.abs().max()
    if (covariance - covariance.T).abs().max() > 1e-6 * scale:
        raise ValueError(f"expected covariance {name} to be symmetric, got one that is not")
    lowest = torch.linalg.eigvalsh(covariance)[0].item()
    if lowest < -1e-6 * scale:
        raise ValueError(f"expected covariance {name} without eigenvalues below 0, got {lowest:.6g}")
