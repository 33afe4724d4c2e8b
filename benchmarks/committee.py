"""The ten detectors of a committee trained together against the ten trained in turn, alternating in one process.

Each detector is of one class of random images against the rest. Both ways draw the same batches; how far apart their
weights are is told after one step, and after a round, over which rounding may grow. A step is a whole training step of
`genat.fit`, as it reports it, of all ten. Usage: python -m benchmarks.committee [--rounds 7]. Writes
results/benchmarks/committee.json.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.step import matmul_peak
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import genat
from genat import networks
from genat.ascent import frozen
from genat.networks import Together
from genat.provenance import provenance
from genat.sources import Images, one_against_rest
from genat.training import Step

RESULTS = Path("results/benchmarks/committee.json")
_WARM = 2  # steps left out of the median


@dataclass(frozen=True)
class Case:
    """A detector's network, samples and ascent steps, and how many training steps a round times."""

    network: str
    options: dict[str, object]
    batch: int
    timed: int
    steps: int = 10
    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10

    @property
    def ways(self) -> dict[str, list[list[int]]]:
        """Which members are trained at once."""
        return {"together": [list(range(self.classes))], "apart": [[member] for member in range(self.classes)]}


CASES = {
    "small_convnet of width 16, 28x28, batch 32, K = 10": Case("small_convnet", {"width": 16}, 32, timed=3),
    "mlp 2x128, 8x8, batch 32, K = 10": Case("mlp", {"hidden": (128, 128)}, 32, timed=20, shape=(1, 8, 8)),
    "mlp 2x128, 28x28, batch 32, K = 10": Case("mlp", {"hidden": (128, 128)}, 32, timed=20),
    "mlp 2x128, 28x28, batch 128, K = 10": Case("mlp", {"hidden": (128, 128)}, 128, timed=20),
}


def data(case: Case) -> Images:
    """Return random images, 50 a class."""
    labels = torch.arange(50 * case.classes) % case.classes
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(labels), *case.shape), generator=generator, dtype=torch.uint8)
    return Images(pixels, labels=labels, classes=tuple(map(str, range(case.classes))))


def network(case: Case, member: int) -> nn.Module:
    """Return a detector as a run has it: its convolutions' weights lie channels last."""
    made: nn.Module = networks.build(case.network, case.shape, case.options, seed=member)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # not in its stubs


def train(case: Case, members: Sequence[int], *, iterations: int) -> tuple[list[nn.Module], list[float]]:
    """Return these members, trained together where there are several, and the seconds of each step."""
    detectors = [network(case, member) for member in members]
    whole = Together(detectors) if len(members) > 1 else detectors[0]
    parts = one_against_rest(data(case))
    times: list[float] = []

    def callback(step: Step) -> None:
        times.append(step.seconds)

    genat.fit(
        whole,
        [parts[member][0] for member in members],
        [parts[member][1] for member in members],
        iterations=iterations,
        batch_size=case.batch,
        steps=case.steps,
        step_size=0.2,
        seed=list(members) if len(members) > 1 else members[0],
        callback=callback,
    )
    return [whole.member(i) for i in range(len(members))] if isinstance(whole, Together) else [whole], times


def operations(case: Case) -> int:
    """Return the floating-point operations of products and convolutions of all members' step, two a multiplication.

    A sample's ascent step goes forward and back to the sample; to learn it goes forward and back to the weights.
    """
    detector = networks.build(case.network, case.shape, case.options, seed=0)
    samples = torch.zeros(case.batch, *case.shape)
    with frozen(detector), FlopCounterMode(display=False) as climbed:
        torch.autograd.backward(detector(samples.clone().requires_grad_()).sum())
    with FlopCounterMode(display=False) as learned:
        torch.autograd.backward(detector(samples).sum())
    return int(case.classes * (case.steps * climbed.get_total_flops() + 2 * learned.get_total_flops()))


def difference(one: nn.Module, other: nn.Module) -> float:
    """Return the largest L2 distance between two networks' weights, layer by layer, over the other's L2 norm."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().norm() / b.detach().norm()) for a, b in pairs)


def measure(case: Case, *, rounds: int) -> dict[str, float]:
    """Return times of a step of the whole committee, their ratios, and shares of the matmul peak beside them."""
    seconds: dict[str, list[float]] = {way: [] for way in case.ways}
    differences: list[float] = []
    peaks: list[float] = []
    for number in range(rounds):
        trained: dict[str, list[nn.Module]] = {}
        for way in list(case.ways)[:: (-1) ** number]:  # each goes first in turn
            found = [train(case, members, iterations=_WARM + case.timed) for members in case.ways[way]]
            trained[way] = [detector for detectors, _ in found for detector in detectors]
            seconds[way].append(sum(statistics.median(times[_WARM:]) for _, times in found))
        differences += map(difference, trained["together"], trained["apart"])
        peaks.append(matmul_peak())
    ratios = [apart / together for together, apart in zip(seconds["together"], seconds["apart"], strict=True)]
    row = {f"{way}_ms": 1e3 * statistics.median(times) for way, times in seconds.items()}
    row |= {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
    first = [[one for some in case.ways[way] for one in train(case, some, iterations=1)[0]] for way in case.ways]
    row |= {
        "largest_difference_after_one_step": max(map(difference, *first)),
        "largest_difference": max(differences),
        "median_difference": statistics.median(differences),
        "matmul_gflops": max(peaks),
    }
    row["gflop"] = operations(case) / 1e9
    for way, times in seconds.items():
        row[f"{way}_share_of_peak"] = row["gflop"] / statistics.median(times) / max(peaks)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    rows = [{"case": name, **measure(case, rounds=rounds)} for name, case in CASES.items()]
    found = {"threads": torch.get_num_threads(), "rounds": rounds, "rows": rows}
    print(json.dumps(found, indent=1))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = provenance(shlex.join(["python", "-m", "benchmarks.committee", *sys.argv[1:]]))
    RESULTS.write_text(json.dumps({"made": made, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
