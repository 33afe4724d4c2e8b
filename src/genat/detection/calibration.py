"""Reading the logit: a score, a threshold for a true positive rate, and a p-value that holds its word."""

from dataclasses import dataclass

import torch
from torch import Tensor

from genat.ascent import Detector, frozen
from genat.ranking import threshold_for_tpr


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a calibrated detector says of N inputs.

    Attributes:
        score: `(N,)` float64 OOD score, the negated logit: high out of distribution.
        p_value: `(N,)` float64 in (0, 1]: how unusual the score would be for target data; small is out of distribution.
        in_distribution: `(N,)` bool, the logit reaches the threshold.
    """

    score: Tensor
    p_value: Tensor
    in_distribution: Tensor


@dataclass(frozen=True, eq=False)
class Calibration:
    r"""Logits of held-out target data, and what follows from them.

    Args:
        logits: `(n,)` of target data that training never saw, in any order.
        tpr: the share of target data to accept, in (0, 1].

    Raises:
        ValueError: where the logits are empty or not finite, or tpr is out of range.

    Example:
        >>> calibration = Calibration(torch.arange(1.0, 20.0), tpr=0.9)
        >>> calibration.threshold
        2.0
        >>> calibration.p_values(torch.tensor([0.0, 1.0, 30.0]))
        tensor([0.0500, 0.1000, 1.0000], dtype=torch.float64)
    """

    logits: Tensor
    tpr: float = 0.95

    def __post_init__(self) -> None:
        threshold_for_tpr(self.logits, tpr=self.tpr)
        object.__setattr__(self, "logits", self.logits.detach().cpu().double().sort().values)

    @property
    def threshold(self) -> float:
        """The highest logit that accepts at least the share `tpr` of the calibration data."""
        return threshold_for_tpr(self.logits, tpr=self.tpr)

    def p_values(self, logits: Tensor) -> Tensor:
        r"""Return split-conformal p-values, :math:`p = (1 + \#\{i : f(x_i) \le f(x)\}) / (n + 1)`.

        For an x exchangeable with the calibration data :math:`P(p \le \alpha) \le \alpha` for every :math:`\alpha`,
        whatever the detector and the distribution: calling x out of distribution where :math:`p \le \alpha` is wrong
        about target data at most :math:`\alpha` of the time, on average over calibration sets.

        Args:
            logits: `(N,)`, finite.

        Returns:
            `(N,)` float64, at least 1 / (n + 1).

        Raises:
            ValueError: where a logit is not finite.

        References:
            Algorithmic Learning in a Random World (Vovk, Gammerman, Shafer, 2005)
            Testing for Outliers with Conformal p-values (Bates, Candès, Lei, Romano, Sesia, 2023)
            https://arxiv.org/abs/2104.08279
        """
        if not torch.isfinite(logits).all():
            raise ValueError("expected finite logits, got some that are not")
        at_most = torch.searchsorted(self.logits, logits.detach().cpu().double(), right=True)
        return (1 + at_most).double() / (len(self.logits) + 1)

    def predict(self, logits: Tensor) -> Prediction:
        """Return score, p-value and verdict of `(N,)` logits."""
        values = logits.detach().cpu().double()
        return Prediction(-values, self.p_values(values), values >= self.threshold)


def logits(detector: Detector, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Return the detector's logits, batch by batch, in eval mode and without gradients.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`.
        batch_size: how many at a time, at least 1.

    Returns:
        `(N,)` float64, so that what follows ranks and sums without rounding.

    Raises:
        ValueError: where images are not floating point, batch_size is below 1, or the detector's output is not `(N,)`.

    Example:
        >>> logits(lambda x: x.sum(1), torch.eye(3), batch_size=2)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    if not images.is_floating_point() or images.ndim < 2:
        raise ValueError(f"expected images (N, *), floating point, got {tuple(images.shape)} {images.dtype}")
    if batch_size < 1:
        raise ValueError(f"expected batch_size to be at least 1, got {batch_size}")
    with frozen(detector), torch.no_grad():
        values = torch.cat([detector(batch).double() for batch in torch.split(images, batch_size)])
    if values.shape != images.shape[:1]:
        raise ValueError(f"expected the detector to return shape {(len(images),)}, got {tuple(values.shape)}")
    return values


def ood_score(detector: Detector, images: Tensor, *, batch_size: int = 256) -> Tensor:
    """Return the out-of-distribution score, the negated logit: high out of distribution.

    Args:
        detector: `(N, *) -> (N,)`.
        images: `(N, *)`.
        batch_size: how many at a time, at least 1.

    Returns:
        `(N,)` float64.

    Raises:
        ValueError: as `logits`.

    Example:
        >>> ood_score(lambda x: x.sum(1), torch.eye(2))
        tensor([-1., -1.], dtype=torch.float64)
    """
    return -logits(detector, images, batch_size=batch_size)


def calibrate(detector: Detector, held_out: Tensor, *, tpr: float = 0.95, batch_size: int = 256) -> Calibration:
    """Return the calibration of a detector on target data that training never saw.

    Args:
        detector: `(N, *) -> (N,)`.
        held_out: `(n, *)` validation images of the target; never test data.
        tpr: the share of target data to accept.
        batch_size: how many at a time.

    Raises:
        ValueError: as `Calibration` and `logits`.

    Example:
        >>> calibrate(lambda x: x.sum(1), torch.arange(20.0).view(-1, 1)).threshold
        1.0
    """
    return Calibration(logits(detector, held_out, batch_size=batch_size), tpr=tpr)
