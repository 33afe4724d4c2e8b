"""How often each trainer fails, at its own learning rate and a decade below and above."""

import math
from collections.abc import Sequence
from typing import Any

from genat.simulations.outcome import Outcome
from genat.simulations.trainers import Trainer

FACTORS = (0.1, 1.0, 10.0)


def decades(trainers: dict[str, Trainer]) -> dict[str, Trainer]:
    """Return each trainer at a tenth, once and ten times its learning rate, named after it and the rate."""
    return {
        f"{name}@{trainer.rate * factor:g}": trainer.with_rate(trainer.rate * factor)
        for name, trainer in trainers.items()
        for factor in FACTORS
    }


def count(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the failures of each trainer and rate over all data sets and seeds, with a 95 % Wilson interval.

    Args:
        outcomes: of the trainers of `decades`.

    Returns:
        A row for each trainer and rate: `trainer`, `rate`, `runs`, `failures`, `low`, `high`, `reasons`.
    """
    groups: dict[str, list[str | None]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.trainer, []).extend(
            None if row["failure"] is None else str(row["failure"]) for row in outcome.rows
        )
    rows = []
    for name, found in groups.items():
        trainer, _, rate = name.rpartition("@")
        rows.append({"trainer": trainer, "rate": float(rate)} | tally(found))
    return rows


def tally(found: Sequence[str | None]) -> dict[str, Any]:
    """Return how many of some trainings failed, with a 95 % Wilson interval of the share, and why.

    Args:
        found: a reason for each that failed, None for each that did not; at least one.

    Returns:
        `runs`, `failures`, `low`, `high`, and `reasons` with how often each.

    Example:
        >>> row = tally([None, "not finite", None, "not finite"])
        >>> row["failures"], row["runs"], row["reasons"]
        (2, 4, {'not finite': 2})
    """
    reasons = [reason for reason in found if reason is not None]
    low, high = wilson(len(reasons), len(found))
    each = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
    return {"runs": len(found), "failures": len(reasons), "low": low, "high": high, "reasons": each}


def wilson(failures: int, runs: int) -> tuple[float, float]:
    r"""Return the 95 % score interval of a share, :math:`z = 1.96`.

    .. math:: \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4 n^2}}{1 + z^2 / n}

    Raises:
        ValueError: where the failures are not between 0 and the runs, or there are no runs.

    References:
        Probable Inference, the Law of Succession, and Statistical Inference (Wilson, 1927)
        https://doi.org/10.1080/01621459.1927.10502953

    Example:
        >>> low, high = wilson(0, 120)
        >>> print(f"{low:.3f} {high:.3f}")
        0.000 0.031
    """
    if runs < 1 or not 0 <= failures <= runs:
        raise ValueError(f"expected failures between 0 and runs >= 1, got {failures} of {runs}")
    z, share = 1.959963984540054, failures / runs
    centre = share + z * z / (2 * runs)
    half = z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    scale = 1 + z * z / runs
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
