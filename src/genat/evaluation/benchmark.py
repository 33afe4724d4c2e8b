"""`genat evaluate RUN ood`: a detector and what else one would use, each attacked on its own score, in one table."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genat import adversaries, assemble, checkpoints, detection, networks
from genat.adapters import _pytorch_ood
from genat.adversaries import budget, worst_case
from genat.balls import Ball, L2Ball
from genat.baselines.exposure import EXPOSURES
from genat.evaluation import families, rivals
from genat.evaluation.keeping import Kept, each_of, keep, kept, place, read_table, state, with_names, write_table
from genat.evaluation.ood import OodRow, label, row
from genat.evaluation.scores import Confidence, post_hoc
from genat.provenance import provenance
from genat.runs import Run
from genat.sources import Images

FOLDER, TABLE, CELLS = "ood", "table.json", "cells"
OWN, TRANSFER = "genat", "transfer"
_SEED = 123  # of the choice of images: the papers'


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        n: images of the target, and of each family.
        steps: of APGD and of ascent; the check takes twice as many of APGD's.
        restarts: of both.
        queries: of Square.
    """

    n: int
    steps: int
    restarts: int
    queries: int


SCALES: Mapping[str, Scale] = {"quick": Scale(256, 50, 1, 200), "full": Scale(1024, 100, 5, 1000)}
"""`full` has the numbers of Yin, Li and Rohde (2022)."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One score on one family in one ball.

    Attributes:
        images: `(M, C, H, W)`, the strongest that the attacks made.
        each: `(M,)` logits by attack.
        doubled: `(M,)` logits of APGD with twice the steps.
        evaluations: passes spent on an image, the check's left out.
        seconds: all of it took.
    """

    images: Tensor
    each: dict[str, Tensor]
    doubled: Tensor
    evaluations: int
    seconds: float


def benchmark(
    run: Run,
    *,
    images: Images | None = None,
    outside: Sequence[str] | None = None,
    against: Sequence[str] = tuple(EXPOSURES),
    scale: Scale = SCALES["quick"],
    balls: Sequence[Ball] = (L2Ball(1.0),),
    command: str = "genat evaluate RUN ood",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure how well a run, and classifiers trained on its data, tell the target from outside data that attacks.

    The scores are the run's logit, called `genat`; of the plain classifier those of `scores.post_hoc`; and of each of
    the other `EXPOSURES` its maximum softmax probability, on which their authors judge them. Every score is attacked by
    itself: by APGD, Square and our ascent, and by the images that were made against all the other scores; what counts
    is the highest logit of an image. An attack changes the outside image alone.

    Every training and every attack is kept in the run's folder, under what it depends on, so that an evaluation that
    was cut off goes on, and another family, peer or ball costs itself alone.

    Args:
        run: as `genat.load` gives it; it has been trained to its end.
        images: test images of the target; None takes the data set's own, or the validation images where it has none.
        outside: families, see `families.family`; None takes all that are `available` and that training has not seen.
        against: of `EXPOSURES`; none compares with nothing.
        scale: see `SCALES`.
        balls: of the attacks, each with a positive radius.
        command: what a person typed, for the record.
        say: called with lines of progress.

    Returns:
        What `ood/table.json` holds: `rows` of every score, family and ball, clean and attacked; `means` over the
        families that training has not seen; how the peers were trained; how long all trainings and attacks took, those
        of earlier goes too; how it was made.

    Raises:
        ImportError: where pyautoattack, or with peers pytorch-ood, is not installed.
        ValueError: where the images have another shape, a family or a peer is unknown or cannot be made, or a kept file
            cannot be read; one line.
        DivergenceError: where a peer's loss is not finite.
    """
    rivals.check_names(against)
    for ball in balls:
        budget(ball)
    if not balls:
        raise ValueError("expected at least one ball to attack in, got none")
    adversaries.package()  # what is missing is missed here, not after hours
    if "plain" in against:
        _pytorch_ood.detectors()
    data = assemble.target(run.config)
    whole, part = assemble.measured(run.config, data, run.shape, images)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SEED))
    inside = whole.take(order[: scale.n])
    known = families.seen(run.config.outside)
    names = [name for name in families.available(whole) if name not in known] if outside is None else list(outside)
    if not names:
        raise ValueError("expected at least one family of outside data, got none")
    made = {families.title(name): families.family(name, whole, n=scale.n, seed=_SEED) for name in names}
    if len(made) < len(names):
        raise ValueError(f"expected families of different names, got {', '.join(map(families.title, names))}")
    device = assemble.device(run.config)
    scores, trained = _scores(run, data, against, device=device, say=say)
    folder = run.folder / FOLDER
    cells = _attacked(scores, made, balls, scale=scale, folder=folder / CELLS, say=say)
    rows = _rows(scores, inside.tensor(), made, balls, cells=cells, known=known, say=say)
    figures = {
        "inside": {"n": len(inside), "part": part, "name": whole.name},
        "outside_of_training": [part.kind for part in run.config.outside],
        "scale": asdict(scale),
        "rows": [{"score": name} | asdict(one) for name, ones in rows.items() for one in ones],
        "means": [{"score": name} | mean for name, ones in rows.items() for mean in _means(ones)],
        "peers": trained,
        "seconds": {
            "attacks": round(sum(cell.seconds for cell in cells.values()), 1),
            "trainings": round(sum(made["seconds"] for made in trained.values()), 1),
        },
        "made": provenance(command),
    }
    write_table(folder / TABLE, figures)
    return figures


def read(folder: str | Path) -> dict[str, Any] | None:
    """Return a benchmark's figures from a run folder, None where it has none.

    Raises:
        ValueError: where the file cannot be read: one line that names it.
    """
    return read_table(Path(folder) / FOLDER / TABLE)


def _scores(
    run: Run, data: assemble.Data, against: Sequence[str], *, device: torch.device, say: Callable[[str], None]
) -> tuple[dict[str, nn.Module], dict[str, dict[str, Any]]]:
    """Return the scores by name, computed on the device, and how the peers' classifiers were trained."""
    scores: dict[str, nn.Module] = {OWN: copy.deepcopy(run.detector)}
    trained: dict[str, dict[str, Any]] = {}
    for name in against:
        rival = rivals.rival(run, data, name, device=device, say=say)
        trained[name] = rival.made
        if name == "plain":
            labels = data.train.labels
            assert labels is not None
            scores |= post_hoc(rival.classifier, data.train.tensor(), labels)
        else:
            scores[name] = Confidence(rival.classifier)
    return {name: networks.Hosted(score, device) for name, score in scores.items()}, trained


def _attacked(
    scores: Mapping[str, nn.Module],
    outside: Mapping[str, Tensor],
    balls: Sequence[Ball],
    *,
    scale: Scale,
    folder: Path,
    say: Callable[[str], None],
) -> dict[tuple[str, str, Ball], Cell]:
    """Attack every score on every family in every ball, or read what that came to before."""
    cells: dict[tuple[str, str, Ball], Cell] = {}
    began, fresh, total = time.monotonic(), 0, len(scores) * len(outside) * len(balls)
    for name, score in scores.items():
        weights = checkpoints.digest(state(score))
        for family, images in outside.items():
            pixels = checkpoints.digest({"images": images})
            for ball in balls:
                record = {"format": 1, "score": weights, "images": pixels, "ball": repr(ball), "scale": asdict(scale)}
                what = f"{name} against {label(family, *budget(ball))}"
                path = place(folder / name, label(family, *budget(ball)), record=record)
                before = kept(path, record=record, what="an attack's images")
                if before is None:
                    cell = _attack(score, images, ball, scale)
                    made = {"evaluations": cell.evaluations, "seconds": cell.seconds}
                    keep(path, _tensors(cell), record=record, made=made)
                    fresh += 1
                    left = (time.monotonic() - began) / fresh * (total - len(cells) - 1)
                    worst = torch.stack(list(cell.each.values())).amax(0).mean().item()
                    say(f"attack {len(cells) + 1}/{total}: {what}: mean score {worst:.3f}  {left:.0f} s left")
                else:
                    cell = _cell(before)
                cells[name, family, ball] = cell
    return cells


def _attack(score: nn.Module, images: Tensor, ball: Ball, scale: Scale) -> Cell:
    began = time.perf_counter()
    found = worst_case(
        score, images, ball=ball, steps=scale.steps, restarts=scale.restarts, queries=scale.queries, seed=_SEED
    )
    again = worst_case(score, images, ball=ball, steps=2 * scale.steps, restarts=scale.restarts, seed=_SEED, own=False)
    return Cell(found.images, found.each, again.logits, found.evaluations, time.perf_counter() - began)


def _tensors(cell: Cell) -> dict[str, Tensor]:
    return {"images": cell.images, "doubled": cell.doubled, **with_names(cell.each)}


def _cell(before: Kept) -> Cell:
    return Cell(before.tensors["images"], each_of(before), before.tensors["doubled"], **before.made)


def _rows(
    scores: Mapping[str, nn.Module],
    inside: Tensor,
    outside: Mapping[str, Tensor],
    balls: Sequence[Ball],
    *,
    cells: Mapping[tuple[str, str, Ball], Cell],
    known: set[str],
    say: Callable[[str], None],
) -> dict[str, list[OodRow]]:
    """Return each score's rows, attacked by what was made against the others too."""
    rows: dict[str, list[OodRow]] = {}
    for name, score in scores.items():
        say(f"ranks: {name}")
        of_inside = detection.logits(score, inside)
        rows[name] = []
        for family, images in outside.items():
            clean = detection.logits(score, images)
            rows[name].append(row(of_inside, clean, family=family, seen=family in known))
            for ball in balls:
                cell = cells[name, family, ball]
                each = dict(cell.each)
                others = [
                    detection.logits(score, cells[other, family, ball].images) for other in scores if other != name
                ]
                if others:
                    each[TRANSFER] = torch.stack([clean, *others]).amax(0)
                worst = torch.stack(list(each.values())).amax(0)
                costs = cell.evaluations + len(others)
                doubled = torch.maximum(worst, cell.doubled)
                seen = family in known
                found = row(
                    of_inside, worst, family=family, seen=seen, ball=ball, each=each, evaluations=costs, doubled=doubled
                )
                rows[name].append(found)
    return rows


def _means(rows: Sequence[OodRow]) -> list[dict[str, Any]]:
    """Return the means over the families that training has not seen, clean and of each ball."""
    means: list[dict[str, Any]] = []
    for norm, radius in dict.fromkeys((one.norm, one.radius) for one in rows):
        group = [one for one in rows if (one.norm, one.radius) == (norm, radius) and not one.seen]
        if group:
            names = ("auroc", "fpr95", "aupr_in", "aupr_out")
            found = {name: sum(getattr(one, name) for one in group) / len(group) for name in names}
            means.append({"norm": norm, "radius": radius, "families": len(group)} | found)
    return means
