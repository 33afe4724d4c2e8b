"""One training step against a plain loop, alternating in one process: ratios, and the share of the matmul peak.

The plain loop does the same arithmetic the plain way: parameters keep their gradients during ascent, target and outside
data go forward separately, a clean AUROC costs two more forwards, both AUROCs are scikit-learn's on the processor, and
values are fetched one by one. Usage: python benchmarks/step.py [--rounds 15]. Writes results/benchmarks/step.json.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import genat
from genat import networks
from genat.provenance import provenance
from genat.training import Step

CASES: dict[str, tuple[str, tuple[int, ...], dict[str, object], int, int]] = {
    "mlp 3x256, 8x8, batch 64, K = 10": ("mlp", (1, 8, 8), {"hidden": (256,) * 3, "negative_slope": 0.2}, 64, 10),
    "small_convnet, 28x28, batch 64, K = 10": ("small_convnet", (1, 28, 28), {}, 64, 10),
    "resnet, 32x32, batch 32, K = 5": ("resnet", (3, 32, 32), {}, 32, 5),
}
RESULTS = Path("results/benchmarks/step.json")


def plain_step(net: nn.Module, optimizer: torch.optim.Optimizer, inside: Tensor, outside: Tensor, steps: int) -> float:
    points = outside.clone()
    for _ in range(steps):
        points = points.clone().detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(net(points).sum(), [points])
        norm = gradient.view(len(points), -1).norm(dim=1).view(-1, 1, 1, 1) + 1e-10
        with torch.no_grad():
            points = torch.clamp(points + 0.2 * gradient / norm, 0, 1)
    points = points.clone().detach()
    inside_logits, outside_logits = net(inside), net(points)
    logits = torch.cat([inside_logits, outside_logits])
    labels = torch.cat([torch.ones(len(inside)), torch.zeros(len(points))])
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    with torch.no_grad():
        clean = torch.cat([net(inside), net(outside)])
    roc_auc_score(labels.numpy(), clean.numpy())
    return float(roc_auc_score(labels.numpy(), logits.detach().numpy())) + loss.item()


def measure(case: str, rounds: int) -> dict[str, float | str]:
    name, shape, options, batch, steps = CASES[case]
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(512, *shape, generator=generator)
    plain = networks.build(name, shape, options, seed=0)
    optimizer = torch.optim.Adam(plain.parameters(), lr=5e-4, betas=(0.0, 0.99))
    ours: list[float] = []
    theirs: list[float] = []

    def plain_round() -> None:
        began = time.perf_counter()
        plain_step(plain, optimizer, data[:batch], data[-batch:], steps)
        theirs.append(time.perf_counter() - began)

    alternate(networks.build(name, shape, options, seed=0), data, batch, steps, rounds, plain_round, ours)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)][3:]  # the first rounds warm up
    return {
        "case": case,
        "ours_ms": 1e3 * statistics.median(ours[3:]),
        "plain_ms": 1e3 * statistics.median(theirs[3:]),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def alternate(
    net: nn.Module,
    data: Tensor,
    batch: int,
    steps: int,
    rounds: int,
    other: Callable[[], None],
    times: list[float],
) -> None:
    """Run `genat.fit`, and the other loop after each of its steps."""

    def callback(step: Step) -> None:
        times.append(step.seconds)
        other()

    genat.fit(
        net,
        data,
        data,
        iterations=rounds + 3,
        batch_size=batch,
        steps=steps,
        step_size=0.2,
        ema=None,
        callback=callback,
    )


def matmul_peak() -> float:
    """Return this machine's single-precision matrix product rate, in GFLOP/s."""
    a = torch.rand(1024, 1024)
    best = min(_seconds(lambda: a @ a) for _ in range(20))
    return 2 * 1024**3 / best / 1e9


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = [measure(case, rounds) for case in CASES]
    for row in rows:
        spread = f"[{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
        times = f"{row['ours_ms']:8.1f} ms against {row['plain_ms']:8.1f} ms"
        print(f"{row['case']:42} {times}: {row['ratio']:.2f}x {spread}")
    peak = matmul_peak()
    print(f"matmul peak {peak:.0f} GFLOP/s")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = provenance(shlex.join(["python", "benchmarks/step.py", *sys.argv[1:]]))
    RESULTS.write_text(
        json.dumps({"made": made, "matmul_gflops": peak, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
