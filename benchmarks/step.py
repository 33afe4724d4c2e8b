"""A training step of `genat.fit` against a plain loop of the same algorithm, in turn in one process.

The plain loop is written the plain way: single precision, weights as PyTorch lays them out, means and deviations made
into tensors at every forward, target and outside data going forward apart, two more forwards for a clean AUROC, both
AUROCs by scikit-learn on the processor, values fetched one by one. Both draw the same batches within their time, and a
step of one follows each step of the other, so that a machine that is slower for a while is slower for both. Beside the
ratios stand the floating-point operations of a step's products, the share of this machine's matmul peak and of the rate
at which the network's layers run one by one in their better layout, both of the fastest step, images a second where a
batch only climbs, and peak memory. Usage: python -m benchmarks.step [--rounds 7] [--cases convnet,resnet]. Writes
results/benchmarks/step.json.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import genat
from genat import assemble, networks
from genat.ascent import ascend, frozen
from genat.config import Config
from genat.networks.layers import Normalize, Scaled
from genat.provenance import provenance
from genat.sources import as_source
from genat.training import Step, step_generator
from genat.training.devices import one_device

RESULTS = Path("results/benchmarks/step.json")
_WARM = 2  # steps left out of a round's median
_SIZE, _RATE, _BETAS = 0.2, 5e-4, (0.0, 0.99)


@dataclass(frozen=True)
class Case:
    """A detector's network, samples and ascent steps, and how many training steps a round times."""

    network: str
    shape: tuple[int, ...]
    options: dict[str, object]
    batch: int
    steps: int
    timed: int = 3

    def build(self) -> nn.Module:
        return networks.build(self.network, self.shape, self.options, seed=0)

    def samples(self, n: int = 512) -> Tensor:
        return torch.rand(n, *self.shape, generator=torch.Generator().manual_seed(0))


CASES = {
    "mlp 4x128, 2-D, batch 256, K = 10": Case("mlp", (2,), {"hidden": (128,) * 4}, 256, 10, timed=30),
    "mlp 5x500, 2-D, batch 2000, K = 10": Case("mlp", (2,), {"hidden": (500,) * 5}, 2000, 10),
    "small_convnet, 28x28, batch 64, K = 10": Case("small_convnet", (1, 28, 28), {}, 64, 10),
    "strided_convnet, 28x28, batch 64, K = 10": Case(
        "strided_convnet", (1, 28, 28), {"channels": (64, 128), "hidden": (512, 256)}, 64, 10
    ),
    "resnet, 32x32, batch 32, K = 5": Case("resnet", (3, 32, 32), {}, 32, 5),
    "resnet, 32x32, batch 16, K = 25": Case("resnet", (3, 32, 32), {}, 16, 25, timed=1),
}


class PlainNormalize(nn.Module):
    """Means and deviations that become tensors at every forward."""

    def __init__(self, like: Normalize) -> None:
        super().__init__()
        self.numbers = like.mean.tolist(), like.std.tolist()

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (torch.tensor(numbers).to(x.device) for numbers in self.numbers)
        if mean.ndim:
            mean, std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)
        return (x - mean) / std


def plain_network(case: Case) -> nn.Module:
    network = case.build()
    for name, layer in list(network.named_children()):
        if isinstance(layer, Normalize):
            setattr(network, name, PlainNormalize(layer))
    return network


def plain_climb(network: nn.Module, points: Tensor, steps: int) -> Tensor:
    points = points.clone()
    for _ in range(steps):
        points = points.clone().detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(network(points).sum(), [points])
        norm = gradient.view(len(points), -1).norm(dim=1).view(-1, *[1] * (points.ndim - 1)) + 1e-10
        with torch.no_grad():
            points = torch.clamp(points + _SIZE * gradient / norm, 0, 1)
    return points.clone().detach()


def plain_step(network: nn.Module, optimizer: torch.optim.Optimizer, inside: Tensor, outside: Tensor, k: int) -> float:
    points = plain_climb(network, outside, k)
    inside_logits, outside_logits = network(inside), network(points)
    logits = torch.cat([inside_logits, outside_logits])
    labels = torch.cat([torch.ones(len(inside)), torch.zeros(len(points))])
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    with torch.no_grad():
        clean = torch.cat([network(inside), network(outside)])
    roc_auc_score(labels.numpy(), clean.numpy())
    return float(roc_auc_score(labels.numpy(), logits.detach().numpy())) + loss.item()


class Plain:
    """A plainly trained network, and how long each step of it took."""

    def __init__(self, case: Case) -> None:
        self.case, self.network, self.data = case, plain_network(case), as_source(case.samples())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=_RATE, betas=_BETAS)
        self.times: list[float] = []

    def step(self) -> None:
        began = time.perf_counter()
        draws = (step_generator(0, len(self.times), name) for name in ("target", "outside"))
        inside, outside = (self.data.draw(self.case.batch, generator=draw) for draw in draws)
        plain_step(self.network, self.optimizer, inside, outside, self.case.steps)
        self.times.append(time.perf_counter() - began)


def ours(
    case: Case, *, steps: int, half: bool = False, between: Callable[[], object] = lambda: None
) -> tuple[nn.Module, list[float]]:
    """Return the network that `genat.fit` trained, laid out as in a run, and the seconds of each step."""
    network = laid_out(case)
    times: list[float] = []

    def callback(step: Step) -> None:
        times.append(step.seconds)
        between()

    genat.fit(
        network,
        case.samples(),
        case.samples(),
        iterations=steps,
        batch_size=case.batch,
        steps=case.steps,
        step_size=_SIZE,
        ema=None,
        fabric=one_device(torch.device("cpu"), precision="bf16-mixed" if half else "32-true"),
        callback=callback,
    )
    return network, times


def laid_out(case: Case) -> nn.Module:
    """Return the network as a run's configuration makes it."""
    return assemble.detector(Config(network=case.network, network_options=case.options), case.shape)


def beside(case: Case, *, half: bool) -> tuple[list[float], list[float]]:
    """Return the seconds of our steps and of the plain loop's, one of which follows each of ours."""
    plain = Plain(case)
    _, times = ours(case, steps=_WARM + case.timed, half=half, between=plain.step)
    return times[_WARM:], plain.times[_WARM:]


def measure(case: Case, *, rounds: int) -> dict[str, Any]:
    """Return the times of a training step each way, their ratios to the plain loop's, and what they are shares of."""
    ways = {"ours": False} | ({"half": True} if assemble.half(Config(precision="auto")) else {})
    seconds: dict[str, list[float]] = {way: [] for way in ("plain", *ways)}
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    peaks: list[float] = []
    for _ in range(rounds):
        for way, half in ways.items():
            mine, plain = beside(case, half=half)
            ratios[way].append(statistics.median(b / a for a, b in zip(mine, plain, strict=True)))
            seconds[way] += mine
            seconds["plain"] += plain
        peaks.append(matmul_peak())
    climbs = sampling(case, rounds=rounds)
    row: dict[str, Any] = {f"{way}_ms": 1e3 * statistics.median(times) for way, times in seconds.items()}
    row |= {way: spread(found) for way, found in ratios.items()}
    row["sampling"] = spread([b / a for a, b in zip(climbs["ours"], climbs["plain"], strict=True)])
    own, fastest = statistics.median(seconds["ours"]), min(seconds["ours"])
    row["samples_a_second"] = case.batch / statistics.median(climbs["ours"])
    row["images_a_second"], row["ascent_steps_a_second"] = case.batch / own, case.steps / own
    row["gflop"], row["matmul_gflops"], row["fastest_ms"] = operations(case) / 1e9, max(peaks), 1e3 * fastest
    row["share_of_peak"] = row["gflop"] / fastest / max(peaks)
    row["share_of_layers"] = layer_by_layer(case, rounds=rounds) / fastest
    row["memory_mb"] = {str(steps): peak_memory(replace(case, steps=steps)) for steps in (5, 40)}
    return row


def spread(ratios: Sequence[float]) -> dict[str, float]:
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def sampling(case: Case, *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that a batch's climb of K steps takes each way, one after the other, after a first round."""
    mine, plain, starts = laid_out(case).eval(), plain_network(case).eval(), case.samples(case.batch)
    climbs: dict[str, Callable[[], object]] = {
        "ours": lambda: ascend(mine, starts, steps=case.steps, step_size=_SIZE),
        "plain": lambda: plain_climb(plain, starts, case.steps),
    }
    found: dict[str, list[float]] = {way: [] for way in climbs}
    for number in range(1 + rounds * case.timed):
        for way in list(climbs)[:: (-1) ** number]:  # each goes first in turn
            seconds = _seconds(climbs[way])
            if number:
                found[way].append(seconds)
    return found


def operations(case: Case) -> int:
    """Return the floating-point operations of products and convolutions of one training step, two a multiplication.

    An ascent step goes forward and back to the sample; a step of learning goes forward and back to the weights.
    """
    detector, samples = case.build(), torch.zeros(case.batch, *case.shape)
    with frozen(detector), FlopCounterMode(display=False) as climbed:
        torch.autograd.backward(detector(samples.clone().requires_grad_()).sum())
    with FlopCounterMode(display=False) as learned:
        torch.autograd.backward(detector(samples).sum())
    return int(case.steps * climbed.get_total_flops() + 2 * learned.get_total_flops())


def layer_by_layer(case: Case, *, rounds: int) -> float:
    """Return the seconds of a training step's products and convolutions alone, each at its best in either layout."""
    met: list[tuple[nn.Module, Tensor]] = []
    network = case.build().eval()
    inner = {layer[0] for layer in network.modules() if isinstance(layer, Scaled)}
    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, inputs: met.append((layer[0] if isinstance(layer, Scaled) else layer, inputs[0].detach()))
        )
        for layer in network.modules()
        if isinstance(layer, Scaled | nn.Conv2d | nn.Linear) and layer not in inner
    ]
    with torch.no_grad():
        network(case.samples(case.batch))
    for hook in hooks:
        hook.remove()
    total = 0.0
    for index, (layer, inputs) in enumerate(met):
        doubled = torch.cat([inputs, inputs])  # target and outside data together
        to_weights = (index > 0, True)  # the first layer passes nothing back when it learns
        total += case.steps * _best(layer, inputs, needs=(True, False), rounds=rounds)
        total += _best(layer, doubled, needs=to_weights, rounds=rounds)
    return total


def _best(layer: nn.Module, inputs: Tensor, *, needs: tuple[bool, bool], rounds: int) -> float:
    """Return the least seconds of a layer forward and back to its input and its weights as needed."""
    layouts = [torch.contiguous_format, torch.channels_last] if inputs.ndim == 4 else [torch.contiguous_format]
    best = float("inf")
    for layout in layouts:
        x = inputs.contiguous(memory_format=layout).requires_grad_(needs[0])
        placed = layer.to(memory_format=layout)  # type: ignore[call-overload]  # not in its stubs
        wanted = [x] * needs[0] + list(placed.parameters()) * needs[1]
        back = torch.ones_like(placed(x))

        def once(
            placed: nn.Module = placed, x: Tensor = x, wanted: list[Tensor] = wanted, back: Tensor = back
        ) -> object:
            return torch.autograd.grad(placed(x), wanted, back)

        best = min(best, *(_seconds(once) for _ in range(2 + 2 * rounds)))
    return best


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that operations have made and that are still alive; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                storage = one.untyped_storage()
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: (kept, size) for key, (kept, size) in self.alive.items() if not kept.expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return made


def peak_memory(case: Case) -> float:
    """Return how many MB of tensors are alive at most while a batch climbs, the network left out."""
    network, starts = laid_out(case), case.samples(case.batch)
    with Meter() as meter:
        ascend(network, starts, steps=case.steps, step_size=_SIZE)
    return float(meter.peak / 2**20)


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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", default="", help="parts of their names, with commas between; all by default")
    arguments = parser.parse_args()
    chosen = [name for name in CASES if any(part in name for part in arguments.cases.split(","))]
    rows = []
    for name in chosen:
        row = {"case": name, **measure(CASES[name], rounds=arguments.rounds)}
        rows.append(row)
        shares = f"{row['share_of_peak']:.2f} of the peak, {row['share_of_layers']:.2f} of its layers"
        ratios = f"{row['ours']['ratio']:.2f}x [{row['ours']['low']:.2f}, {row['ours']['high']:.2f}]"
        print(f"{name:42} {row['ours_ms']:8.1f} ms against {row['plain_ms']:8.1f} ms: {ratios}, {shares}", flush=True)
    found = {"threads": torch.get_num_threads(), "rounds": arguments.rounds, "rows": rows}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    made = provenance(shlex.join(["python", "-m", "benchmarks.step", *sys.argv[1:]]))
    RESULTS.write_text(json.dumps({"made": made, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
