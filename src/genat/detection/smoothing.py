r"""The logit under Gaussian noise: its median, and what no perturbation of bounded length can make of it.

The smoothed logit of an image is the median of its logits under noise, :math:`g(x) = h_{1/2}(x)`, with :math:`h_p(x)`
the p-th percentile of :math:`f(x + \sigma z)`, :math:`z \sim N(0, I)`. Moving x by :math:`\delta`, no longer than
:math:`\epsilon` in L2, moves the law of the noisy image little:

.. math:: h_{\Phi(-\epsilon / \sigma)}(x) \le g(x + \delta) \le h_{\Phi(\epsilon / \sigma)}(x).

Percentiles are bounded by order statistics of finitely many draws, at a confidence over the noise. All of this holds
for any detector, whatever it was trained on, and says something of g, not of f. Noise leaves the box [0, 1] of images:
the detector takes it as it is.

References:
    Certified Adversarial Robustness via Randomized Smoothing (Cohen, Rosenfeld, Kolter, 2019)
    https://arxiv.org/abs/1902.02918
    Detection as Regression: Certified Object Detection by Median Smoothing (Chiang, Curry, Abdelkader, Kumar,
    Dickerson, Goldstein, 2020) https://arxiv.org/abs/2007.03764
"""

import hashlib
import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from genat.ascent import Detector
from genat.detection.calibration import Calibration
from genat.detection.scores import logits
from genat.ranking import auroc

CONFIDENCE = 0.999
_BLOCK = 64  # draws of noise at a time, however many the detector sees: so that noise depends on the image alone


class Bounds(NamedTuple):
    """Of the smoothed logit under every perturbation up to a radius.

    Attributes:
        lower, upper: `(N,)` float64.
    """

    lower: Tensor
    upper: Tensor


def noisy_logits(
    detector: Detector, images: Tensor, *, sigma: float, draws: int = 1000, seed: int = 0, batch_size: int = 256
) -> Tensor:
    r"""Return each image's logits under noise, :math:`f(x + \sigma z_1), \dots, f(x + \sigma z_n)`, sorted.

    An image's noise is seeded by its content and the seed: it depends on neither order nor company, equal images have
    equal logits, and the smoothed logit is one function of the image. Whoever knows the seed can search for an image
    with lucky noise: where someone may be attacking, keep it secret.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`.
        sigma: standard deviation of the noise in each entry, in the input's units.
        draws: of noise for each image, n >= 1.
        seed: of the noise, at least 0.
        batch_size: noisy images at a time.

    Returns:
        `(N, n)` float64, rising along each row, on the CPU.

    Raises:
        ValueError: where an argument is out of range, a logit is not finite, or as `logits`.

    Example:
        >>> values = noisy_logits(lambda x: x.sum(1), torch.zeros(2, 3), sigma=0.1, draws=500)
        >>> values.shape, torch.equal(values[0], values[1])
        (torch.Size([2, 500]), True)
    """
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"expected sigma to be positive and finite, got {sigma}")
    if draws < 1:
        raise ValueError(f"expected draws to be at least 1, got {draws}")
    if seed < 0:
        raise ValueError(f"expected seed to be at least 0, got {seed}")
    if not images.is_floating_point() or images.ndim < 2:
        raise ValueError(f"expected images (N, *), floating point, got {tuple(images.shape)} {images.dtype}")
    rows = torch.empty(len(images), draws, dtype=torch.float64)
    for row, image in zip(rows, images, strict=True):
        generator = torch.Generator().manual_seed(_content(image, seed))
        for first in range(0, draws, _BLOCK):
            noise = torch.randn(_BLOCK, *image.shape, generator=generator, dtype=image.dtype)[: draws - first]
            noisy = image + sigma * noise.to(image.device)
            row[first : first + _BLOCK] = logits(detector, noisy, batch_size=batch_size).cpu()
    if not rows.isfinite().all():
        raise ValueError("expected finite logits of noisy images, got some that are not")
    return rows.sort(1).values


def medians(noisy: Tensor) -> Tensor:
    """Return the smoothed logits, estimated: the lower median of each row.

    Args:
        noisy: `(N, n)` sorted, as `noisy_logits` returns them.

    Returns:
        `(N,)` float64. Of held-out images they make a `Calibration` of the smoothed logit.

    Example:
        >>> medians(torch.tensor([[1.0, 2.0, 4.0, 9.0]]))
        tensor([2.])
    """
    return noisy[:, _middle(noisy) - 1].contiguous()


def bounds(noisy: Tensor, *, sigma: float, radius: float, confidence: float = CONFIDENCE) -> Bounds:
    r"""Bound the smoothed logit under every perturbation up to a radius.

    Where the upper bound is below a threshold, no perturbation of an image that was rejected gets it accepted; where
    the lower is at or above, none of an accepted image gets it rejected: by the smoothed detector, the one that takes
    the median of infinitely many draws. Radius 0 gives a confidence interval of the median.

    Args:
        noisy: `(N, n)` sorted, as `noisy_logits` returns them.
        sigma: of that noise.
        radius: :math:`\epsilon \ge 0`, L2 over the flattened input, in the input's units.
        confidence: of an image's two bounds together, over its draws, in (0, 1).

    Raises:
        ValueError: where an argument is out of range, or the draws are too few for any bound.

    Example:
        >>> noisy = noisy_logits(lambda x: x.sum(1), torch.zeros(1, 4), sigma=0.1, draws=4000)
        >>> low, high = bounds(noisy, sigma=0.1, radius=0.1)
        >>> print(f"{low.item():.2f} {high.item():.2f}, exactly -0.20 0.20")
        -0.21 0.21, exactly -0.20 0.20
    """
    error = _error(confidence) / 2
    shift = _shift(sigma, radius)
    top = _rank_above(NormalDist().cdf(shift), noisy.shape[1], error, sigma=sigma, radius=radius)
    return Bounds(
        noisy[:, -top].contiguous(), noisy[:, top - 1].contiguous()
    )  # the law of the ranks is the same from below


def robust_p_values(
    calibration: Calibration, noisy: Tensor, *, sigma: float, radius: float, confidence: float = CONFIDENCE
) -> Tensor:
    r"""Return conformal p-values that hold for target data that someone has perturbed by up to a radius.

    For :math:`\tilde x` at most :math:`\epsilon` away from an x exchangeable with the calibration data,
    :math:`P(p(\tilde x) \le \alpha) \le \alpha`, over data and noise, for every :math:`\alpha`. The p-value counts
    the calibration images whose smoothed logit is at most an upper bound of x's, as seen from :math:`\tilde x`. That
    bound covers both errors of finitely many draws, x's own and :math:`\tilde x`'s, with probability `confidence`;
    what is missing to 1 is added to the p-value.

    Args:
        calibration: of `medians` of held-out target data, under noise of the same sigma and as many draws.
        noisy: `(N, n)` sorted, of the inputs.
        sigma, radius: as for `bounds`.
        confidence: of the bound, in (0, 1); no p-value is below 1 - confidence.

    Returns:
        `(N,)` float64 in (0, 1].

    Raises:
        ValueError: as `bounds`.

    References:
        Adversarially Robust Conformal Prediction (Gendler, Weng, Daniel, Romano, 2022)
        https://openreview.net/forum?id=9L1BsI4wP1H
        Provably Robust Conformal Prediction with Improved Efficiency (Yan, Romano, Weng, 2024)
        https://arxiv.org/abs/2404.19651

    Example:
        >>> held_out = torch.linspace(-1, 1, 99).view(-1, 1)
        >>> how = {"sigma": 0.1, "draws": 1000}
        >>> calibration = Calibration(medians(noisy_logits(lambda x: x[:, 0], held_out, **how)))
        >>> noisy = noisy_logits(lambda x: x[:, 0], torch.tensor([[0.0], [-3.0]]), **how)
        >>> print(calibration.p_values(medians(noisy)), robust_p_values(calibration, noisy, sigma=0.1, radius=0.2))
        tensor([0.5100, 0.0100], dtype=torch.float64) tensor([0.6310, 0.0110], dtype=torch.float64)
    """
    from scipy.special import betaincinv

    error = _error(confidence)
    n, middle = noisy.shape[1], _middle(noisy)
    own = float(betaincinv(middle, n + 1 - middle, 1 - error / 2))  # x's median is below this percentile of its law
    level = NormalDist().cdf(NormalDist().inv_cdf(own) + _shift(sigma, radius))
    top = _rank_above(level, n, error / 2, sigma=sigma, radius=radius)
    return (calibration.p_values(noisy[:, top - 1].contiguous()) + error).clamp_max(1.0)


def certified_auroc(
    inside: Tensor, outside: Tensor, *, sigma: float, radius: float, confidence: float = CONFIDENCE
) -> float:
    """Return the AUROC of the smoothed logit, at worst, where all outside data are perturbed by up to a radius.

    Inside data, which nobody touches, count by the lower end of their medians' confidence intervals, outside data by
    their upper bounds. A pair's two bounds fail with probability 1 - confidence at most: the smoothed detector's AUROC
    on these images under the worst attack is, on average over the noise, at least this less 1 - confidence.

    Args:
        inside, outside: `(N, n)` and `(M, n)` sorted, as `noisy_logits` returns them.
        sigma, radius: as for `bounds`.
        confidence: of an image's bounds.

    Raises:
        ValueError: as `bounds`.

    Example:
        >>> inside, outside = torch.tensor([[0.5], [1.5]]), torch.tensor([[0.0], [-1.0]])
        >>> noisy = [noisy_logits(lambda x: x[:, 0], x, sigma=0.5, draws=2000) for x in (inside, outside)]
        >>> certified_auroc(*noisy, sigma=0.5, radius=0.1), certified_auroc(*noisy, sigma=0.5, radius=0.7)
        (1.0, 0.75)
    """
    low, _ = bounds(inside, sigma=sigma, radius=0.0, confidence=confidence)
    _, high = bounds(outside, sigma=sigma, radius=radius, confidence=confidence)
    return auroc(low, high)


def _content(image: Tensor, seed: int) -> int:
    """Return a seed that is a function of the image's values, its type and the seed."""
    values = image.detach().cpu().contiguous().numpy()
    digest = hashlib.sha256(f"{seed} {values.dtype.str} {values.shape}".encode() + values.tobytes()).digest()
    return int.from_bytes(digest[:8]) >> 1


def _middle(noisy: Tensor) -> int:
    if noisy.ndim != 2 or noisy.shape[1] < 1:
        raise ValueError(f"expected noisy logits (N, n) with n >= 1, got {tuple(noisy.shape)}")
    return (noisy.shape[1] + 1) // 2


def _error(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"expected confidence in (0, 1), got {confidence}")
    return 1 - confidence


def _shift(sigma: float, radius: float) -> float:
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"expected sigma to be positive and finite, got {sigma}")
    if not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(f"expected radius to be at least 0 and finite, got {radius}")
    return radius / sigma


def _rank_above(level: float, n: int, error: float, *, sigma: float, radius: float) -> int:
    """Return the lowest u such that the u-th of n draws is at or above their law's percentile, but for an error.

    The u-th draw is below the percentile only where u draws are: with probability P(Bin(n, level) >= u) at most.
    """
    from scipy.stats import binom

    top = int(binom.ppf(1 - error, n, level)) + 1
    if top > n:
        needed = math.ceil(math.log(error) / math.log(level)) if 0 < level < 1 else None
        remedy = "a larger sigma" if needed is None or needed > 10**6 else f"{needed} draws or a larger sigma"
        raise ValueError(f"expected {remedy} to certify radius {radius} with sigma {sigma}, got {n} draws")
    return top
