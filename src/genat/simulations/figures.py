r"""The pictures of the simulations: functions of outcomes and toys that return the bytes of a PNG, one those of a GIF.

A surface is :math:`\sigma(logit)` in the colours of inferno, black at 0. All surfaces of a figure share one scale
that ends at the greatest value among them. A logit that is no number is grey, and a line has a gap there.

Example:
    >>> from genat.evaluation.points import lattice
    >>> from genat.simulations.outcome import Outcome
    >>> from genat.sources.toy import ring
    >>> toy = ring()
    >>> logits = 2 - 100 * torch.cdist(lattice(40), toy.centers).amin(dim=1)
    >>> outcome = Outcome(
    ...     toy="ring",
    ...     trainer="gat",
    ...     seeds=(0,),
    ...     rows=[{}],
    ...     history=[],
    ...     logits=logits[None],
    ...     samples=toy.target[None],
    ...     moments=torch.tensor([1, 50]),
    ...     surfaces=torch.stack([-logits, logits]),
    ...     areas=torch.tensor([[0.99], [0.01]]),
    ...     trajectory=torch.stack([toy.outside[:9], toy.target[:9]]),
    ... )
    >>> pictures = [overview([outcome], {"ring": toy}), samples([outcome], {"ring": toy}), trajectories(outcome, toy)]
    >>> pictures += [surfaces(outcome), areas([outcome], share=0.003), ablation({"steps": {"25": outcome}})]
    >>> {picture[1:4] for picture in pictures}
    {b'PNG'}
    >>> animation(outcome)[:6]
    b'GIF89a'
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import fill
from typing import Any

import torch
from torch import Tensor

from genat.simulations import panels
from genat.simulations.animation import gif
from genat.simulations.outcome import Outcome
from genat.sources.toy import Toy

_ROUNDING = 1e-9  # of an interval's ends
_TITLE = 18  # letters in a line above a narrow panel


def overview(outcomes: Sequence[Outcome], toys: Mapping[str, Toy], *, seed: int = 0) -> bytes:
    r"""Return the data sets above and what was learned of each below, on the same axes.

    Above: positives blue, outside points red. Below: :math:`\sigma(logit)`.

    Args:
        outcomes: in the plane, a column each.
        toys: by name, each outcome's among them.
        seed: which of an outcome's seeds is shown, counted from 0.

    Returns:
        A PNG.

    Raises:
        ValueError: where there are no outcomes, one is not in the plane, its toy is missing or it has no such seed.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri
        and Rohde, 2020) https://arxiv.org/abs/1905.11475
    """
    _check(outcomes, dim=2)
    found = [_toy(outcome, toys) for outcome in outcomes]
    logits = [_of_seed(outcome.logits, seed) for outcome in outcomes]
    top = panels.brightest(logits)
    figure, axes = panels.sheet(2, len(outcomes), width=2.35 * len(outcomes) + 0.75, height=4.75)
    for column, (toy, values) in enumerate(zip(found, logits, strict=True)):
        panels.scatter(axes[0, column], toy.outside, color=panels.OUTSIDE, size=2)
        panels.scatter(axes[0, column], toy.target, color=panels.TARGET, size=2)
        panels.square(axes[0, column])
        image = panels.surface(axes[1, column], values, top=top)
        panels.caption(axes[0, column], title=toy.name)
    panels.caption(axes[0, 0], y="data")
    panels.caption(axes[1, 0], y="\u03c3(logit)")
    for panel in axes.flat:
        panel.label_outer()
    panels.scale(axes[1, -1], image, top=top)
    return panels.png(figure)


def strip(outcome: Outcome, toy: Toy) -> bytes:
    r"""Return the story of a toy on the line, in four panels.

    From left to right: the training points; the first seed's :math:`\sigma(logit)` at some moments, over the support;
    its density estimate :math:`e^{logit}`, normalised on the lattice as the true density is; and the estimate at the
    second mode over that at the first against iterations, the first seed strong, with the true ratio and the 1 of an
    optimum, which is flat on the support.

    Args:
        outcome: on the line; its records hold `ratio`.
        toy: its data set, a mixture of two Gaussians.

    Returns:
        A PNG.

    Raises:
        ValueError: where the outcome is not on the line, its toy is another or of other than two modes, or
            no record holds a ratio.
    """
    _check([outcome], dim=1)
    _toy(outcome, {toy.name: toy})
    if toy.centers is None or len(toy.centers) != 2:
        raise ValueError(f"expected a toy of two modes, got {toy.name}")
    records = [record for record in outcome.history if "ratio" in record]
    if not records:
        raise ValueError(f"expected records with a ratio, got none among {len(outcome.history)}")
    figure, axes = panels.sheet(1, 4, width=11.4, height=2.75)
    panels.crowd(axes[0, 0], toy)
    panels.sinking(axes[0, 1], outcome, _moments(outcome, 4), toy)
    panels.estimate(axes[0, 2], outcome.logits[0], toy)
    panels.ratios(axes[0, 3], records, toy)
    return panels.png(figure)


def trajectories(outcome: Outcome, toy: Toy, *, count: int = 60) -> bytes:
    """Return the ways of the first seed's ascents over its surface: from rings at the starts to discs at the ends.

    Args:
        outcome: in the plane.
        toy: its data set, whose support, or high-quality discs, are outlined.
        count: ways to draw, evenly chosen, at least 1; those that are not finite are left out.

    Returns:
        A PNG.

    Raises:
        ValueError: where the outcome is not in the plane, its toy is another or it has no ascents.
    """
    _check([outcome], dim=2)
    _toy(outcome, {toy.name: toy})
    n = outcome.trajectory.shape[1]
    if n == 0 or count < 1:
        raise ValueError(f"expected at least one ascent to draw, got {min(n, count)} of {outcome.trainer}")
    way = outcome.trajectory[:, panels.evenly(n, count)]
    figure, axes = panels.sheet(1, 1, width=5.6, height=5.3)
    panel, logits = axes[0, 0], outcome.logits[0]
    top = panels.brightest([logits])
    image = panels.surface(panel, logits, top=top)
    panels.outline(panel, toy)
    panels.paths(panel, way[:, torch.isfinite(way).all(dim=2).all(dim=0)])
    panels.caption(panel, title=f"{outcome.toy}, {outcome.trainer}")
    panels.scale(panel, image, top=top)
    return panels.png(figure)


def surfaces(outcome: Outcome, *, count: int = 6) -> bytes:
    """Return the first seed's surface at some moments of the training, the first and the last among them.

    Args:
        outcome: in the plane.
        count: moments to show, evenly chosen among those kept, at least 1.

    Returns:
        A PNG.

    Raises:
        ValueError: where the outcome is not in the plane, it kept no surface or the count is below 1.
    """
    _check([outcome], dim=2)
    shown = _moments(outcome, count)
    columns = len(shown) if len(shown) < 4 else -(-len(shown) // 2)
    rows = -(-len(shown) // columns)
    top = panels.brightest(outcome.surfaces[shown])
    figure, axes = panels.sheet(rows, columns, width=2.6 * columns + 0.7, height=2.75 * rows)
    for panel, moment in zip(axes.flat, shown, strict=False):
        image = panels.surface(panel, outcome.surfaces[moment], top=top)
        panels.caption(panel, title=f"iteration {int(outcome.moments[moment]):,}")
        panel.label_outer()
    for panel in axes.flat[len(shown) :]:
        panels.blank(panel)
    panels.scale(axes[0, -1], image, top=top)
    return panels.png(figure)


def areas(outcomes: Sequence[Outcome], *, share: float | None = None) -> bytes:
    """Return the share of cells in the half level set against iterations: a line each, the mean over seeds.

    The band runs from the least to the greatest seed. An area of zero is drawn at half a cell.

    Args:
        outcomes: of any dimension.
        share: what the support takes of the box, in (0, 1], drawn as a dotted line; None draws none.

    Returns:
        A PNG.

    Raises:
        ValueError: where there are no outcomes or the share is no share.
    """
    _check(outcomes)
    _check_share(share)
    figure, axes = panels.sheet(1, 1, width=5.6, height=3.5)
    panel = axes[0, 0]
    panels.area_lines(panel, zip(_names(outcomes), outcomes, strict=True), share)
    panels.chart(panel, x="iteration", y="share of the box with logit \u2265 0")
    figure.legend(fontsize=panels.TICK, frameon=False, loc="outside upper center", ncols=5)
    return panels.png(figure)


def samples(outcomes: Sequence[Outcome], toys: Mapping[str, Toy], *, seed: int = 0) -> bytes:
    """Return generated points, a row a data set and a column a trainer: blue where they are as good as the data.

    Grey is the support or, of a mixture, the discs of high quality. Every other point is red, and those out of the
    picture, which ends .1 beyond the positives, lie on its edge.

    Args:
        outcomes: in the plane; a pair of data set and trainer that is not among them leaves its place empty.
        toys: by name, each outcome's among them.
        seed: which of an outcome's seeds is shown, counted from 0.

    Returns:
        A PNG.

    Raises:
        ValueError: where there are no outcomes, two are of one data set and trainer, one is not in the plane, its toy
            is missing or it has no such seed.
    """
    _check(outcomes, dim=2)
    points = {(outcome.toy, outcome.trainer): _of_seed(outcome.samples, seed) for outcome in outcomes}
    if len(points) < len(outcomes):
        raise ValueError(f"expected one outcome a data set and trainer, got {len(outcomes)} of {len(points)}")
    found = {outcome.toy: _toy(outcome, toys) for outcome in outcomes}
    trainers = list(dict.fromkeys(outcome.trainer for outcome in outcomes))
    figure, axes = panels.sheet(len(found), len(trainers), width=2 * len(trainers) + 0.2, height=2 * len(found) + 0.2)
    for row, (name, toy) in zip(axes, found.items(), strict=True):
        panels.caption(row[0], y=name)
        for panel, trainer in zip(row, trainers, strict=True):
            if (name, trainer) in points:
                panels.generated(panel, toy, points[name, trainer])
            else:
                panels.blank(panel)
    for panel, trainer in zip(axes[0], trainers, strict=True):
        panels.caption(panel, title=trainer)
    return panels.png(figure, colors=256)


def ablation(families: Mapping[str, Mapping[str, Outcome]], *, share: float | None = None) -> bytes:
    """Return what one setting after the other does: a row a family, a column a setting, and their areas at the right.

    A panel is the first seed's surface with the ends of its ascents, and the mean of the seeds' `iou` where their rows
    have one. Its title has the colour of its line at the right, which is drawn as in `areas`.

    Args:
        families: by the name of what varies, the outcomes by setting, all in the plane.
        share: what the support takes of the box, in (0, 1], drawn as a dotted line; None draws none.

    Returns:
        A PNG.

    Raises:
        ValueError: where there are no families, one is empty, an outcome is not in the plane or the share is no share.
    """
    _check([outcome for family in families.values() for outcome in family.values()], dim=2)
    _check_share(share)
    for name, family in families.items():
        if not family:
            raise ValueError(f"expected at least one outcome of {name!r}, got none")
    columns = max(len(family) for family in families.values())
    top = panels.brightest(outcome.logits[0] for family in families.values() for outcome in family.values())
    width, height = 1.75 * columns + 2.7, 2.05 * len(families) + 0.2
    figure, axes = panels.sheet(len(families), columns + 1, width=width, height=height, ratios=[1.0] * columns + [1.4])
    for row, (name, family) in zip(axes, families.items(), strict=True):
        for index, (panel, (label, outcome)) in enumerate(zip(row, family.items(), strict=False)):
            panels.setting(panel, outcome, top=top)
            panels.caption(panel, title=fill(label, _TITLE))
            panel.title.set(color=panels.line_color(index), fontweight="bold")
        for panel in row[len(family) : -1]:
            panels.blank(panel)
        panels.caption(row[0], y=name)
        panels.area_lines(row[-1], family.items(), share)
        panels.chart(row[-1])
    panels.caption(axes[0, -1], title="share with logit \u2265 0")
    panels.caption(axes[-1, -1], x="iteration")
    return panels.png(figure)


def failures(table: Sequence[Mapping[str, Any]]) -> bytes:
    """Return which share of the trainings failed, a block a trainer and a line a learning rate, with intervals.

    Args:
        table: rows with `trainer`; `rate`, the learning rate; `failures` among `runs`, which is at least 1; and `low`
            and `high`, an interval of their share, in [0, 1]. A trainer's rows are drawn in their order.

    Returns:
        A PNG.

    Raises:
        ValueError: where there are no rows or no runs, or a share does not lie in its interval.

    Example:
        >>> failures([dict(trainer="gat", rate=1e-3, failures=0, runs=40, low=0.0, high=0.088)])[1:4]
        b'PNG'
    """
    if not table:
        raise ValueError("expected at least one row, got none")
    for row in table:
        if row["runs"] < 1:
            raise ValueError(f"expected runs to be at least 1, got {row['runs']}")
        order = pairwise((0, row["low"], row["failures"] / row["runs"], row["high"], 1))
        if not all(left <= right + _ROUNDING for left, right in order):
            raise ValueError(f"expected shares 0 <= low <= failures / runs <= high <= 1, got {dict(row)}")
    blocks: dict[str, list[Mapping[str, Any]]] = {}
    for row in table:
        blocks.setdefault(row["trainer"], []).append(row)
    figure, axes = panels.sheet(len(blocks), 1, width=5.6, height=0.24 * len(table) + 0.22 * len(blocks) + 0.6)
    for index, (panel, (trainer, rows)) in enumerate(zip(axes.flat, blocks.items(), strict=True)):
        panels.intervals(panel, rows, color=panels.line_color(index))
        panels.caption(panel, x="share of trainings that failed, by learning rate", y=trainer)
        panel.yaxis.label.set(rotation=0, horizontalalignment="right", verticalalignment="center")
        panel.label_outer()
    figure.align_ylabels()
    return panels.png(figure)


def animation(outcome: Outcome, *, frames: int = 40, side: int = 200) -> bytes:
    """Return the first seed's surface through training, the iteration above it; the last frame stays for a while.

    Args:
        outcome: in the plane.
        frames: at most so many moments, evenly chosen among those kept, at least 1.
        side: of the surface, in pixels, at least 1.

    Returns:
        A GIF.

    Raises:
        ValueError: where the outcome is not in the plane, it kept no surface or frames or side is below 1.
    """
    _check([outcome], dim=2)
    shown = _moments(outcome, frames)
    labels = [f"iteration {int(outcome.moments[moment]):,}" for moment in shown]
    return gif(outcome.surfaces[shown], labels, side=side)


def _check(outcomes: Sequence[Outcome], *, dim: int | None = None) -> None:
    if not outcomes:
        raise ValueError("expected at least one outcome, got none")
    for outcome in outcomes:
        if dim not in (None, outcome.dim):
            raise ValueError(f"expected outcomes of dimension {dim}, got {outcome.toy} of dimension {outcome.dim}")


def _check_share(share: float | None) -> None:
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"expected share in (0, 1], got {share}")


def _toy(outcome: Outcome, toys: Mapping[str, Toy]) -> Toy:
    if outcome.toy not in toys:
        raise ValueError(f"expected the toy {outcome.toy}, got {', '.join(toys) or 'none'}")
    return toys[outcome.toy]


def _of_seed(values: Tensor, seed: int) -> Tensor:
    if not 0 <= seed < len(values):
        raise ValueError(f"expected seed in 0 .. {len(values) - 1}, got {seed}")
    return values[seed]


def _moments(outcome: Outcome, count: int) -> list[int]:
    """Return at most `count` places among the moments kept, evenly chosen, the first and the last among them."""
    kept = len(outcome.moments)
    if kept == 0 or count < 1:
        raise ValueError(f"expected at least one surface to show, got {min(kept, count)} of {kept} kept")
    return panels.evenly(kept, count).tolist()


def _names(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what tells outcomes apart: trainer, data set or both."""
    if len({outcome.toy for outcome in outcomes}) == 1:
        return [outcome.trainer for outcome in outcomes]
    if len({outcome.trainer for outcome in outcomes}) == 1:
        return [outcome.toy for outcome in outcomes]
    return [f"{outcome.toy}, {outcome.trainer}" for outcome in outcomes]
