"""What `genat stability` makes: the trainings, the count of failures and the pictures."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genat import provenance
from genat.baselines.images import image_generator
from genat.networks import build, parameter_count
from genat.simulations import folders
from genat.simulations.studies import Made
from genat.stability import figures, ruler, table
from genat.stability.methods import methods as by_name
from genat.stability.run import run

PEERS = ("gat", "gan", "jem")
"""The methods that are compared where none are named."""
WIDTHS = (4, 8)
"""Widths of the networks, unless told otherwise."""
BUDGET = 250_000
"""Forward and backward passes that every training may spend, unless told otherwise: minutes on a processor."""
EXAM = ruler.Exam()
"""How images are measured."""


def study(
    *,
    methods: Sequence[str] | None,
    seeds: Sequence[int],
    widths: Sequence[int] | None,
    output: Path,
    budget: float | None,
    device: str,
    command: str,
    say: Callable[[str], None],
) -> Made:
    """Train every method on Fashion-MNIST at three learning rates and write the table and pictures to a folder.

    Args:
        methods: by name; None is GAT, a GAN and an energy model.
        seeds: one training each.
        widths: of the networks; None is `WIDTHS`.
        output: the folder; what is finished in it is read and not trained again.
        budget: passes a training; None is `BUDGET`.
        device: "cpu" or "cuda".
        command: what was typed, for the record.
        say: called with lines of progress.

    Raises:
        ValueError: for anything that is not as above; nothing is written then.
        FileNotFoundError: where Fashion-MNIST is not installed.
    """
    record, began = provenance.provenance(command), time.perf_counter()
    if budget is not None and not 1 <= budget < math.inf:
        raise ValueError(f"expected a budget of at least 1 pass, got {budget}")
    chosen = by_name(PEERS if methods is None else methods)
    material = ruler.fashion()
    wanted = WIDTHS if widths is None else widths
    outcomes, measured = run(
        chosen,
        material,
        seeds=seeds,
        widths=wanted,
        budget=BUDGET if budget is None else int(budget),
        output=output,
        exam=EXAM,
        device=device,
        say=say,
    )
    rows = table.count([outcome.row for outcome in outcomes])
    references = dict(measured.references)
    content = {
        "made": record | {"wall_seconds": round(time.perf_counter() - began)},
        "data": material.name,
        "n": EXAM.n,
        "references": references,
        "parameters": {str(width): parameters(material.train.shape, width) for width in wanted},
        "rows": rows,
        "cells": [outcome.row | {"curve": outcome.curve} for outcome in outcomes],
    }
    text = table.markdown(rows, references=references, n=EXAM.n)
    pictures = {"distances.png": figures.curves(outcomes, references=references)}
    for name in chosen:
        pictures[f"samples-{name}.png"] = figures.mosaics([o for o in outcomes if o.row["method"] == name])
    return Made(content, text, folders.publish(output, table=content, markdown=text, pictures=pictures))


def parameters(shape: tuple[int, ...], width: int) -> dict[str, int]:
    """Return how many numbers the networks of a width hold.

    Example:
        >>> parameters((1, 28, 28), 12)
        {'detector': 636561, 'generator': 545185}
    """
    detector: Any = build("small_convnet", shape, {"width": width}, seed=0)
    return {
        "detector": parameter_count(detector),
        "generator": parameter_count(image_generator(shape, width=width, seed=0)),
    }
