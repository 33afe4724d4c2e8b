"""What held-out target data say of a logit: a threshold, and a p-value that holds its word."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genat import checkpoints
from genat.ranking import threshold_for_tpr


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a calibrated detector says of N inputs.

    Attributes:
        score: `(N,)` float64 OOD score, the negated logit: high out of distribution.
        p_value: `(N,)` float64 in (0, 1]: how unusual the score would be for target data; small is out of distribution.
        in_distribution: `(N,)` bool, the logit reaches the threshold; with a level, the p-value is above it.
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

    def threshold_at(self, alpha: float) -> float:
        r"""Return the logit below which :math:`p \le \alpha`: the k-th smallest, :math:`k = \lfloor\alpha(n+1)\rfloor`.

        Calling out of distribution what lies below it is wrong about new target data with probability k / (n + 1) where
        logits have no ties, and at most that with them: on average over calibration sets, the one promise that needs no
        assumption but exchangeability. How often it is wrong with this very set is `false_alarm_interval`'s matter.

        Args:
            alpha: the level, in (0, 1).

        Raises:
            ValueError: where alpha is out of range, or the logits too few ever to reject: n < 1 / alpha - 1.

        Example:
            >>> calibration = Calibration(torch.arange(1.0, 20.0))
            >>> calibration.threshold_at(0.1)
            2.0
            >>> calibration.threshold_at(0.01)
            Traceback (most recent call last):
            ValueError: expected at least 99 held-out images to reject at level 0.01, got 19
        """
        return self.logits[self._rank(alpha) - 1].item()

    def false_alarm_interval(self, alpha: float, *, level: float = 0.95) -> tuple[float, float]:
        r"""Return where the share of target data lies that this calibration set rejects at a level.

        Given the calibration set that share is a fixed number, which nobody knows. Over calibration sets it has the
        law :math:`\mathrm{Beta}(k, n + 1 - k)` with :math:`k = \lfloor\alpha(n+1)\rfloor`, whatever the detector and
        the distribution, where logits have no ties; with ties it is stochastically smaller: the upper end holds.

        Args:
            alpha: the level, in (0, 1).
            level: of the interval, in (0, 1), between equal tails.

        Returns:
            The lower and the upper end.

        Raises:
            ValueError: as `threshold_at`, or where level is out of range.

        References:
            Conditional validity of inductive conformal predictors (Vovk, 2012) https://arxiv.org/abs/1209.2673

        Example:
            >>> low, high = Calibration(torch.arange(1.0, 200.0)).false_alarm_interval(0.05)
            >>> print(f"{low:.4f} to {high:.4f}")
            0.0244 to 0.0841
        """
        if not 0 < level < 1:
            raise ValueError(f"expected level in (0, 1), got {level}")
        from scipy.special import betaincinv

        k = self._rank(alpha)
        low, high = betaincinv(k, len(self.logits) + 1 - k, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def predict(self, logits: Tensor, *, alpha: float | None = None) -> Prediction:
        """Return score, p-value and verdict of `(N,)` logits.

        Args:
            logits: `(N,)`, finite.
            alpha: judge by `threshold_at` this level; None judges by `threshold`.

        Raises:
            ValueError: where a logit is not finite, or as `threshold_at`.
        """
        threshold = self.threshold if alpha is None else self.threshold_at(alpha)
        values = logits.detach().cpu().double()
        return Prediction(-values, self.p_values(values), values >= threshold)

    def _rank(self, alpha: float) -> int:
        """Return how many of the values 1 / (n + 1), ..., n / (n + 1) are at most alpha, as floats compare."""
        if not 0 < alpha < 1:
            raise ValueError(f"expected alpha in (0, 1), got {alpha}")
        n = len(self.logits)
        near = math.floor(alpha * (n + 1))  # in binary 0.29 * 100 is 28.999999999999996, and 29 / 100 is 0.29
        k = max(k for k in (0, near - 1, near, near + 1) if k <= n and k / (n + 1) <= alpha)
        if k < 1:
            near = math.ceil(1 / alpha - 1)
            least = min(m for m in (near - 1, near, near + 1) if m >= 1 and 1 / (m + 1) <= alpha)
            raise ValueError(f"expected at least {least} held-out images to reject at level {alpha}, got {n}")
        return k


def keep(calibration: Calibration, path: Path, *, digest: str) -> None:
    """Write a calibration as JSON, with the digest of the weights that it is of.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "calibration.json"
        ...     keep(Calibration(torch.arange(4.0), tpr=0.5), path, digest="ab")
        ...     kept(path, digest="ab").logits, kept(path, digest="cd")
        (tensor([0., 1., 2., 3.], dtype=torch.float64), None)
    """
    content = {"tpr": calibration.tpr, "digest": digest, "logits": calibration.logits.tolist()}
    checkpoints.write_text(path, json.dumps(content) + "\n")


def kept(path: Path, *, digest: str) -> Calibration | None:
    """Return the calibration of the weights of this digest; None where there is none, or it is that of others.

    Raises:
        ValueError: where the file cannot be read as one: one line that names it.
    """
    if not path.exists():
        return None
    content = checkpoints.read_json(path, what="a calibration")
    try:
        if content["digest"] != digest:
            return None
        return Calibration(torch.tensor(content["logits"], dtype=torch.float64), tpr=content["tpr"])
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path}: expected a calibration, got a file that cannot be read as one: {error}") from None
