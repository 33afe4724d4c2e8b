"""The figures of a simulation's table, and the one rule for what counts as a failure."""

import math

import torch
from torch import Tensor

from genat import ranking
from genat.evaluation import points
from genat.simulations.outcome import Row
from genat.simulations.trainers import Trained
from genat.simulations.watch import Watch, member_logits
from genat.sources.toy import Toy
from genat.training import step_generator

RESOLUTION = 1000  # cells a side of the lattice on which the support is compared
_CELLS = 64  # cells a side of the lattice on which coverage is counted
_HELD_OUT = 2500
_LATE_LOW, _LATE_HIGH = 0.05, 0.999


def measure(toy: Toy, trained: Trained, watch: Watch, *, seeds: tuple[int, ...], seconds: float) -> list[Row]:
    """Return a row of figures a seed.

    Every figure of generated points is against 2,500 fresh draws that no training has seen; those of the logit are
    against the exact support, on the cells inside the target's bounding box and 0.05 around it.

    Args:
        toy: what was learned.
        trained: all seeds.
        watch: what was noted on the way.
        seeds: of the members.
        seconds: the wall time of all seeds together.
    """
    held_out = toy.draw(_HELD_OUT, generator=step_generator(0, 0, f"held out {toy.name}"))
    shared = _Truth(toy, held_out)
    late = watch.late_aurocs()
    logits = member_logits(trained.detector, shared.cells)
    rows: list[Row] = []
    for member, seed in enumerate(seeds):
        row: Row = {"seed": seed, "passes": trained.passes, "seconds": seconds / len(seeds)}
        row["diverged"] = trained.diverged.get(member)
        finite = bool(torch.isfinite(logits[member]).all() and torch.isfinite(trained.samples[member]).all())
        if row["diverged"] is None and finite:
            row |= shared.of_logits(logits[member]) | shared.of_samples(trained.samples[member])
            row["late_auroc"] = late[member] if member < len(late) else None
        elif row["diverged"] is None:
            row["diverged"] = watch.iterations
        row["failure"] = failure(row, modes=None if toy.centers is None else len(toy.centers))
        rows.append(row)
    return rows


def failure(row: Row, *, modes: int | None) -> str | None:
    """Return why a training has failed, None where it has not: one rule for every trainer.

    It has failed where a value is not finite; where fewer than half of the modes (of the support's cells, for a law
    without modes) are found at the end; where the generated points are no nearer to the law than the starts, by
    energy distance; or where the adversarial AUROC (the discriminator's, for a GAN) over the last fifth is below .05
    or above .999: one player has won.

    Args:
        row: of one seed, as `measure` makes it.
        modes: how many the law has; None for one without.

    Example:
        >>> failure({"diverged": 17}, modes=8)
        'not finite'
        >>> row = {"diverged": None, "modes": 8, "energy_distance": 0.001, "starts_energy_distance": 0.2}
        >>> failure(row | {"late_auroc": 0.7}, modes=8), failure(row | {"late_auroc": 0.9999}, modes=8)
        (None, 'one player won')
    """
    if row["diverged"] is not None:
        return "not finite"
    found = _number(row["modes"]) / modes if modes is not None else _number(row["cells"])
    if found < 0.5:
        return "too few modes"
    if _number(row["energy_distance"]) >= _number(row["starts_energy_distance"]):
        return "no nearer than the starts"
    late = row.get("late_auroc")
    if late is not None and not _LATE_LOW <= _number(late) <= _LATE_HIGH:
        return "one player won"
    return None


def _number(value: float | int | str | None) -> float:
    return math.nan if value is None else float(value)


class _Truth:
    """What is known of a toy, computed once for all seeds."""

    def __init__(self, toy: Toy, held_out: Tensor) -> None:
        self.toy, self.held_out = toy, held_out
        dim = toy.shape[0]
        lattice = points.lattice(RESOLUTION, dim)
        self.cells = lattice[points.window(toy.target, lattice)]
        self.support = toy.inside(self.cells)
        coarse = points.lattice(_CELLS, dim)
        self.coarse_support = toy.inside(coarse)
        self.starts_distance = points.energy_distance(toy.outside, held_out)

    def of_logits(self, logits: Tensor) -> Row:
        best, threshold = points.best_iou(logits, self.support)
        area = ranking.auroc(logits[self.support], logits[~self.support])
        row: Row = {"iou": best, "iou_threshold": threshold, "auroc": area}
        if self.toy.shape == (1,) and self.toy.centers is not None:
            row |= _peaks(logits, self.cells[:, 0], self.toy.centers[:, 0])
        return row

    def of_samples(self, samples: Tensor) -> Row:
        generator = step_generator(0, 0, "directions")
        row: Row = {
            "inside": self.toy.inside(samples).double().mean().item(),
            "energy_distance": points.energy_distance(samples, self.held_out),
            "starts_energy_distance": self.starts_distance,
            "sliced_wasserstein": points.sliced_wasserstein(samples, self.held_out, generator=generator),
        }
        if self.toy.centers is not None and self.toy.radius is not None:
            row["modes"], row["high_quality"] = points.mode_report(samples, self.toy.centers, self.toy.radius)
        else:
            row["cells"] = points.cell_share(samples, self.coarse_support)
        return row


def _peaks(logits: Tensor, cells: Tensor, centers: Tensor) -> Row:
    """Return where the logit is highest among the cells nearest to each mode, the leftmost mode first."""
    nearest = (cells[:, None] - centers.sort().values).abs().argmin(dim=1)
    highest = [logits.masked_fill(nearest != mode, -math.inf).argmax() for mode in range(len(centers))]
    return {f"peak_{mode + 1}": cells[cell].item() for mode, cell in enumerate(highest)}


def box_row(toy: Toy) -> float:
    """Return the IoU of the target's solid bounding box with the support: what knowing nothing but the box gives."""
    lattice = points.lattice(RESOLUTION, toy.shape[0])
    lattice = lattice[points.window(toy.target, lattice)]
    return points.box_iou(toy.target, lattice, toy.inside(lattice))
