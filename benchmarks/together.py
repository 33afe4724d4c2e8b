"""Eight seeds trained as one batched model against the eight in turn, alternating in one process.

The setting is that of `genat simulate`: 4 x 128 ReLU, 32 samples a seed, 20 ascent steps. A step is a whole training
step of `genat.fit`, as it reports it. Usage: python -m benchmarks.together [--rounds 7]. Writes
results/benchmarks/together.json.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarks.step import matmul_peak
from torch import nn

import genat
from genat import networks
from genat.networks import Together
from genat.provenance import provenance
from genat.simulations.trainers import Gat
from genat.sources import toy
from genat.training import Step

SEEDS, STEPS, WARM = range(8), 12, 2
RESULTS = Path("results/benchmarks/together.json")


def network(seed: int, setting: Gat) -> nn.Module:
    return networks.build("mlp", (2,), {"hidden": setting.hidden, "mean": 0.5, "std": setting.std}, seed=seed)


def seconds(detector: nn.Module, seed: int | Sequence[int], setting: Gat, data: toy.Toy) -> float:
    """Return the median time of a training step."""
    times: list[float] = []

    def callback(step: Step) -> None:
        times.append(step.seconds)

    genat.fit(
        detector,
        data.target,
        data.outside,
        iterations=STEPS,
        steps=setting.last,
        step_size=setting.step_size,
        shrink=setting.shrink,
        rule=setting.rule,
        batch_size=setting.batch_size,
        seed=seed,
        callback=callback,
    )
    return statistics.median(times[WARM:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    setting, data = Gat(), toy.spirals()
    together, apart = [], []
    for _ in range(rounds):
        together.append(seconds(Together([network(seed, setting) for seed in SEEDS]), list(SEEDS), setting, data))
        apart.append(sum(seconds(network(seed, setting), seed, setting, data) for seed in SEEDS))
    ratios = [b / a for a, b in zip(together, apart, strict=True)]
    width, layers = setting.hidden[0], len(setting.hidden) - 1
    # products of hidden layers alone: 2 flops a weight, forward and backward, and once more for the weights' gradient
    samples = len(SEEDS) * setting.batch_size
    flops = 2 * layers * width**2 * samples * (2 * setting.last + 3 * 2)
    peak = matmul_peak()
    row = {
        "together_ms": 1e3 * statistics.median(together),
        "apart_ms": 1e3 * statistics.median(apart),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "together_share_of_peak": flops / statistics.median(together) / peak / 1e9,
        "apart_share_of_peak": flops / statistics.median(apart) / peak / 1e9,
        "matmul_gflops": peak,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(row, indent=1))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = provenance(shlex.join(["python", "-m", "benchmarks.together", *sys.argv[1:]]))
    RESULTS.write_text(json.dumps({"made": made, **row}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
