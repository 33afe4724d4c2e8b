"""The figures of one training, and the one rule for what counts as a failure."""

import math
from collections.abc import Mapping

from genat.simulations.outcome import Row
from genat.stability.watch import Watch

_LATE_LOW, _LATE_HIGH = 0.05, 0.999


def measure(watch: Watch, *, diverged: bool, references: Mapping[str, float]) -> Row:
    """Return the figures of a training that has ended.

    Args:
        watch: what was noted on the way.
        diverged: whether a value was not finite.
        references: as of `genat.stability.ruler.Ruler`.
    """
    row: Row = {
        "passes": watch.spent,
        "iterations": watch.iteration,
        "diverged": watch.iteration if diverged else None,
        "distance": None if diverged else watch.curve[-1]["distance"],
        "starts": references["starts"],
        "means": references["means"],
        "late_auroc": None if diverged else watch.late_auroc,
    }
    return row | {"failure": failure(row)}


def failure(row: Row) -> str | None:
    """Return why a training has failed, None where it has not: one rule for every method.

    It has failed where a value is not finite; where its images at the end are no nearer to held-out ones, by Fréchet
    distance, than ten pictures are, the mean of each class; or where the adversarial AUROC (the discriminator's, for a
    GAN; against the chains' ends, for an energy model) over the last fifth of its iterations is below .05 or above
    .999: one player has won.

    The distance stands where the rule for toy distributions (see `genat.simulations.measure.failure`) counts modes and
    asks to be nearer than the starts. It sees both images that are poor and images of too few kinds, and its level
    belongs to the data and to no method. A share of the starts' distance would not do: ascents of a detector that has
    hardly been trained come to half of it, with images that a classifier does not recognise, while a GAN's and an
    energy model's images begin as noise, which is farther away.

    Args:
        row: of one training, as `measure` makes it.

    Example:
        >>> failure({"diverged": 17})
        'not finite'
        >>> row = {"diverged": None, "distance": 3.0, "means": 5.0, "late_auroc": 0.7}
        >>> failure(row), failure(row | {"distance": 5.0}), failure(row | {"late_auroc": 0.9999})
        (None, 'no nearer than class means', 'one player won')
    """
    if row["diverged"] is not None:
        return "not finite"
    if not _number(row["distance"]) < _number(row["means"]):
        return "no nearer than class means"
    if not _LATE_LOW <= _number(row["late_auroc"]) <= _LATE_HIGH:
        return "one player won"
    return None


def _number(value: float | int | str | None) -> float:
    return math.nan if value is None else float(value)
