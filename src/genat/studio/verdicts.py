"""What a calibrated run says of logits, one by one."""

import math
from typing import NamedTuple

from torch import Tensor

from genat.detection import Calibration


class Verdict(NamedTuple):
    """What is said of an image.

    Attributes:
        logit: the detector's.
        p_value, inside: None where the run is not calibrated.
    """

    logit: float
    p_value: float | None
    inside: bool | None

    def refused(self, name: str) -> str:
        """Return why nothing can be said of an image of that name, else nothing.

        Example:
            >>> Verdict(math.nan, None, None).refused("a.png"), Verdict(1.0, None, None).refused("a.png")
            ("expected a finite logit of 'a.png', got nan", '')
        """
        return "" if math.isfinite(self.logit) else f"expected a finite logit of {name!r}, got {self.logit}"


def verdicts(logits: Tensor, calibration: Calibration | None, *, alpha: float | None = None) -> list[Verdict]:
    """Return the verdicts on `(N,)` logits; what is said of one that is not finite means nothing.

    Args:
        logits: floating point.
        calibration: of the run, None where it has none.
        alpha: judge by the p-value, out where it is at most this; None judges by the run's threshold.

    Raises:
        ValueError: where alpha is refused.

    Example:
        >>> import torch
        >>> verdicts(torch.tensor([0.5]), None)
        [Verdict(logit=0.5, p_value=None, inside=None)]
    """
    if calibration is None:
        return [Verdict(logit, None, None) for logit in logits.tolist()]
    known = calibration.predict(logits.nan_to_num(), alpha=alpha)
    columns = (logits.tolist(), known.p_value.tolist(), known.in_distribution.tolist())
    return [Verdict(*one) for one in zip(*columns, strict=True)]
