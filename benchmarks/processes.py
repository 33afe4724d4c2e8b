"""A training step in two processes of one thread each against one of one thread, of the same whole batch, in turn.

Processes average what they learn by gloo, over loopback, at every step. Usage: python -m benchmarks.processes
[--rounds 5]. Writes results/benchmarks/processes.json.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from benchmarks.step import CASES, Case, laid_out, spread

import genat
from genat.provenance import provenance
from genat.training import Crew

RESULTS = Path("results/benchmarks/processes.json")
_CASES = ("small_convnet, 28x28, batch 64, K = 10", "resnet, 32x32, batch 32, K = 5")
_WARM, _TIMED = 2, 4


def times(case: Case) -> list[float]:
    """Return the seconds of each step in the first of the processes that torchrun has started, nothing in others."""
    found: list[float] = []
    genat.fit(
        laid_out(case),
        case.samples(),
        case.samples(),
        iterations=_WARM + _TIMED,
        batch_size=case.batch,
        steps=case.steps,
        step_size=0.2,
        ema=None,
        fabric=Crew().launch(torch.device("cpu")),
        callback=lambda step: found.append(step.seconds),
    )
    return found[_WARM:]


def timed(name: str, processes: int) -> float:
    """Return the median seconds of a step in so many processes."""
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    line += ["--master-port", "29577", "-m", "--", "benchmarks.processes", "--worker", name]
    done = subprocess.run(line, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True)
    return float(statistics.median(json.loads(done.stdout)))


def measure(name: str, *, rounds: int) -> dict[str, object]:
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for processes in list(seconds)[:: (-1) ** number]:
            seconds[processes].append(timed(name, processes))
    row: dict[str, object] = {f"ms_{count}": 1e3 * statistics.median(found) for count, found in seconds.items()}
    return {"case": name, **row, "ratio": spread([one / two for one, two in zip(seconds[1], seconds[2], strict=True)])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", default="", help="a case: time it in this process, and print")
    arguments = parser.parse_args()
    if arguments.worker:
        if found := times(CASES[arguments.worker]):
            print(json.dumps(found))
        return
    rows = [measure(name, rounds=arguments.rounds) for name in _CASES]
    for row in rows:
        print(json.dumps(row))
    table: dict[str, object] = {"rounds": arguments.rounds, "rows": rows}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = provenance(shlex.join(["python", "-m", "benchmarks.processes", *sys.argv[1:]]))
    RESULTS.write_text(json.dumps({"made": made, **table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
