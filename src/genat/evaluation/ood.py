"""How well a detector tells the target from outside data, clean and attacked to look like the target."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genat.adversaries import Norm, budget, worst_case
from genat.ascent import Detector
from genat.balls import Ball
from genat.detection import logits
from genat.ranking import aupr, auroc, auroc_interval, fpr_at_tpr
from genat.training.devices import shared

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, slots=True)
class OodRow:
    """One family of outside data against the target's, clean or under one attack budget.

    Attributes:
        family: the outside data's name.
        seen: training had it, or a variant of it, as outside data: its figures say little about other data.
        n_inside: samples of the target, always clean.
        n_outside: samples of the family.
        radius: of the attack on the family, in the input's units; None is clean.
        norm: of the radius; None is clean.
        auroc: of the logits.
        low: lower end of the 95 % bootstrap interval of `auroc`.
        high: upper end.
        fpr95: share of the family accepted at the threshold that accepts 95 % of the target.
        aupr_in: average precision with the target's samples as the positives.
        aupr_out: with the family's, ranked by the negated logit; chance is their share of all samples.
        evaluations: passes the attacks spent on each sample; 0 is clean.
        each: AUROC under each attack alone, by name; `auroc` is under the strongest of them, sample by sample. Empty
            is clean.
        doubled: AUROC where the attacks take twice the steps. Far below `auroc` the attack had not converged, and
            neither figure is the worst case. None where it was not asked for, or clean.
    """

    family: str
    seen: bool
    n_inside: int
    n_outside: int
    radius: float | None
    norm: Norm | None
    auroc: float
    low: float
    high: float
    fpr95: float
    aupr_in: float
    aupr_out: float
    evaluations: int
    each: dict[str, float]
    doubled: float | None

    @property
    def attacks(self) -> tuple[str, ...]:
        """Whose strongest it is; empty is clean."""
        return tuple(self.each)


@dataclass(frozen=True, slots=True, eq=False)
class OodTable:
    """Rows, and the logits behind them.

    Attributes:
        rows: for each family its clean row and one row a ball.
        logits: float64, by name: "target", the family's name clean, and "noise, L2 0.5" under attack (see `label`).
    """

    rows: tuple[OodRow, ...]
    logits: dict[str, Tensor]


def label(family: str, norm: Norm | None, radius: float | None) -> str:
    """Return the name of a row's logits.

    Example:
        >>> label("noise", None, None), label("noise", "l2", 0.5)
        ('noise', 'noise, L2 0.5')
    """
    if norm is None or radius is None:
        return family
    return f"{family}, {norm.capitalize()} {radius:g}"


def ood_table(
    detector: Detector,
    inside: Tensor,
    families: Mapping[str, Tensor],
    *,
    balls: Sequence[Ball],
    seen: Collection[str] = (),
    steps: int = 100,
    restarts: int = 1,
    seed: int = 0,
    check_convergence: bool = True,
    fabric: "Fabric | None" = None,
    callback: Callable[[int, int], None] | None = None,
) -> OodTable:
    """Measure how well the logit ranks the target above each family of outside data, clean and under attack.

    The adversary changes outside data to look like the target, by `genat.adversaries.worst_case`; the target's data is
    clean, as in the paper. Any score that is high in distribution can be measured, not this library's detectors alone.

    Args:
        detector: `(N, *) -> (N,)`.
        inside: `(N, *)` test data of the target, in [0, 1].
        families: `(M, *)` outside data in [0, 1], by name.
        balls: the attack budgets, each with a positive radius; none gives clean rows alone.
        seen: the families that training had as outside data, or variants of them.
        steps: of each attack.
        restarts: of the attack that starts at random.
        seed: of the attacks and the intervals; every row begins anew from it.
        check_convergence: attack again with twice the steps, at twice the cost.
        fabric: a launched Lightning Fabric, whose processes share the rows; each returns all of them, those of one
            process on the same machine but for rounding.
        callback: called with (rows done, rows in all) after each row that this process makes.

    Returns:
        Rows and logits: for each family in order its clean row and one row a ball.

    Raises:
        ImportError: where there are balls and pyautoattack is not installed.
        TypeError, ValueError: as `worst_case`, or where families are none, empty or not the shape of the inside data,
            or `seen` names one that is not there.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568

    Example:
        >>> from genat.balls import LinfBall
        >>> inside, outside = torch.linspace(0.5, 1, 20).view(-1, 1), torch.linspace(0, 0.6, 20).view(-1, 1)
        >>> table = ood_table(lambda x: x[:, 0], inside, {"low": outside}, balls=[LinfBall(0.2)], steps=10)
        >>> for one in table.rows:
        ...     print(one.family, one.radius, f"{one.auroc:.4f} [{one.low:.4f}, {one.high:.4f}]", one.doubled)
        low None 0.9750 [0.9250, 1.0000] None
        low 0.2 0.8363 [0.6949, 0.9450] 0.83625
    """
    _check(inside, families, balls=balls, seen=seen)
    of_inside = logits(detector, inside)
    cells: list[tuple[str, Ball | None]] = [(family, ball) for family in families for ball in (None, *balls)]
    done = 0

    def make(family: str, ball: Ball | None) -> tuple[OodRow, Tensor]:
        nonlocal done
        outside = families[family]
        scored = partial(row, of_inside, family=family, seen=family in seen, seed=seed)
        attack = partial(worst_case, detector, outside, restarts=restarts, seed=seed)
        if ball is None:
            values = logits(detector, outside)
            made = scored(values)
        else:
            attacked = attack(ball=ball, steps=steps)
            again = attack(ball=ball, steps=2 * steps).logits if check_convergence else None
            values = attacked.logits
            made = scored(values, ball=ball, each=attacked.each, evaluations=attacked.evaluations, doubled=again)
        done += 1
        if callback is not None:
            callback(done, len(cells))
        return made, values

    found = shared([partial(make, *cell) for cell in cells], fabric)
    kept = {"target": of_inside} | {label(made.family, made.norm, made.radius): values for made, values in found}
    return OodTable(tuple(made for made, _ in found), kept)


def row(
    of_inside: Tensor,
    of_outside: Tensor,
    *,
    family: str,
    seen: bool = False,
    ball: Ball | None = None,
    each: Mapping[str, Tensor] | None = None,
    evaluations: int = 0,
    doubled: Tensor | None = None,
    seed: int = 0,
) -> OodRow:
    """Return the figures of one family's logits.

    Args:
        of_inside: `(N,)` logits of the target.
        of_outside: `(M,)` logits of the family, clean or the highest that the attacks came to.
        family, seen, evaluations: as in `OodRow`.
        ball: of the attacks; None is clean.
        each: `(M,)` logits by attack.
        doubled: `(M,)` logits where the attacks took twice the steps.
        seed: of the interval.

    Raises:
        TypeError, ValueError: where logits are not finite or not `(N,)`, or the ball has no positive radius.

    Example:
        >>> found = row(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]), family="noise")
        >>> found.auroc, found.fpr95, round(found.aupr_in, 4), round(found.aupr_out, 4)
        (0.75, 0.5, 0.8333, 0.8333)
    """
    low, high = auroc_interval(of_inside, of_outside, generator=torch.Generator().manual_seed(seed))
    norm, radius = (None, None) if ball is None else budget(ball)
    return OodRow(
        family=family,
        seen=seen,
        n_inside=len(of_inside),
        n_outside=len(of_outside),
        radius=radius,
        norm=norm,
        auroc=auroc(of_inside, of_outside),
        low=low,
        high=high,
        fpr95=fpr_at_tpr(of_inside, of_outside),
        aupr_in=aupr(of_inside, of_outside),
        aupr_out=aupr(-of_outside, -of_inside),
        evaluations=evaluations,
        each={name: auroc(of_inside, values) for name, values in (each or {}).items()},
        doubled=None if doubled is None else auroc(of_inside, doubled),
    )


def as_dicts(rows: Sequence[OodRow]) -> list[dict[str, Any]]:
    """Return rows as what JSON can hold, one dictionary each.

    Example:
        >>> inside, outside = torch.ones(2, 1), torch.zeros(2, 1)
        >>> as_dicts(ood_table(lambda x: x[:, 0], inside, {"zeros": outside}, balls=[]).rows)[0]["auroc"]
        1.0
    """
    return [asdict(row) for row in rows]


def _check(inside: Tensor, families: Mapping[str, Tensor], *, balls: Sequence[Ball], seen: Collection[str]) -> None:
    if not families:
        raise ValueError("expected at least one family of outside data, got none")
    unknown = sorted(set(seen) - set(families))
    if unknown:
        raise ValueError(f"expected seen to name families ({', '.join(families)}), got {', '.join(unknown)}")
    for ball in balls:
        budget(ball)
    for name, images in (("inside", inside), *families.items()):
        if len(images) == 0 or images.shape[1:] != inside.shape[1:]:
            expected = f"(N, {', '.join(map(str, inside.shape[1:]))})"
            raise ValueError(f"expected {name} of shape {expected}, N >= 1, got {tuple(images.shape)}")
        low, high = torch.stack(images.aminmax()).tolist()
        if balls and not (low >= 0 and high <= 1):  # an attack on the last family must not fail after hours
            raise ValueError(f"expected {name} in [0, 1], got values from {low:.6g} to {high:.6g}")
