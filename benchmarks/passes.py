"""Climbs that go on from one iteration to the next, against the paper's curriculum at three times their passes.

Both train the preset fashion-mnist's network on Fashion-MNIST. The curriculum climbs anew in every iteration, twenty
steps in the end; the replay is the preset's own, a hundred. Distances are of all climbs from the same starts, none
rejected, to test images, on the features of a classifier of the training images; detection is under the worst of
attacks on each image. Trainings are kept in runs/passes/ and go on where they were stopped. Usage: python -m
benchmarks.passes [--passes 1200000] [--seeds 3] [--images 1000]. Writes results/benchmarks/passes.json.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import genat
from genat import assemble, config, generation, runs
from genat.config import Config
from genat.evaluation import fidelity, judge, peer
from genat.evaluation.families import families
from genat.evaluation.ood import ood_table
from genat.provenance import provenance
from genat.runs import Run

RESULTS, RUNS = Path("results/benchmarks/passes.json"), Path("runs/passes")
PRESET, SHARE = "fashion-mnist", 3
RECIPES = {"curriculum": ["replay=null", "steps.last=20", "sampling.steps=20"], "replay": list[str]()}
_RADIUS, _OUTSIDE, _INSIDE, _STEPS = 1.0, 48, 256, 20


def settings(recipe: str, *, passes: int, seed: int, keys: Sequence[str] = ()) -> Config:
    """Return a recipe with as many iterations as come nearest to so many passes, where its gate is never met."""
    made = config.load(PRESET, [*RECIPES[recipe], f"seed={seed}", *keys])
    burst = made.steps.last if made.replay is None else made.replay.burst
    stages = range(made.steps.first, made.steps.last + 1)
    each = statistics.mean(min(stage, burst) for stage in stages) + 3  # two to learn from, and R1's second backward
    return made.model_copy(update={"iterations": round(passes / made.batch_size / each)})


def measured(run: Run, *, images: int) -> dict[str, float]:
    """Return what a run spent, how far its climbs are from test images, and its AUROC, clean and under attack."""
    data, cpu, half = assemble.target(run.config), torch.device("cpu"), assemble.half(run.config)
    known = (data.train, data.validation)
    classifier = judge.classifier(known, data.train.classes, folder=RUNS, device=cpu, half=half, say=print)
    inside, _ = assemble.measured(run.config, data, run.shape)
    starts = assemble.outside(run.config, run.shape, data)
    made = generation.sample(run.detector, starts, seeds=range(images), **run.climbing())
    real = inside.tensor()
    found = fidelity.features(classifier, made.images), fidelity.features(classifier, real[:images])
    table = ood_table(
        run.detector,
        real[:_INSIDE],
        families(inside, n=_OUTSIDE),
        balls=[genat.balls.L2Ball(_RADIUS)],
        steps=_STEPS,
        check_convergence=False,
    )
    clean, attacked = ([row.auroc for row in table.rows if (row.radius is None) is bare] for bare in (True, False))
    return {
        "passes": peer.passes(run),
        "kernel_distance": fidelity.kernel_distance(*found),
        "frechet_distance": fidelity.frechet_distance(*found),
        "recognised": fidelity.recognised(classifier, made.images).confident,
        "auroc": statistics.mean(clean),
        "worst_case_auroc": statistics.mean(attacked),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=1_200_000, help="of the curriculum; the replay has a third")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--keys", nargs="*", default=[], help="of both recipes' configuration")
    arguments = parser.parse_args()
    budgets = {"curriculum": arguments.passes, "replay": arguments.passes // SHARE}
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for recipe, budget in budgets.items():
            made = settings(recipe, passes=budget, seed=seed, keys=arguments.keys)
            folder = RUNS / recipe / f"seed-{seed}"
            run = runs.trained(made, folder, by=partial(runs.train, say=print), say=print)
            rows.append({"recipe": recipe, "seed": seed} | measured(run, images=arguments.images))
            print(json.dumps(rows[-1]), flush=True)
    table = {"preset": PRESET, "images": arguments.images, "radius": _RADIUS, "outside": _OUTSIDE, "rows": rows}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made_by = provenance(shlex.join(["python", "-m", "benchmarks.passes", *sys.argv[1:]]))
    RESULTS.write_text(json.dumps({"made": made_by, **table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
