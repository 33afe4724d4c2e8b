"""What a training costs on many GPUs, on paper: arithmetic, communication and memory, counted, not timed.

Operations of products and convolutions are counted on networks without memory (PyTorch's meta device), forward and
back as a climb and as the loss take them, R1's second derivatives included; so are the maps that a gradient keeps. The
rates of the machine are assumptions, named in the result. Usage: python -m benchmarks.plan. Writes
results/benchmarks/plan.json.
"""

import json
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genat import config, networks
from genat.ascent import frozen
from genat.networks import parameter_count
from genat.provenance import provenance
from genat.training.loss import Loss

RESULTS = Path("results/benchmarks/plan.json")
PRESETS = {"cifar10": (3, 32, 32), "celebahq256": (3, 256, 256)}
COUNTS = (1, 8, 64)
_NUMBER = 4  # bytes in single precision, in which weights, gradients, Adam's two moments and the mean of weights are
_HALF = 2  # bytes of a map's entry in mixed precision


@dataclass(frozen=True)
class Machine:
    """A GPU, and what it speaks to others by; rates in one direction."""

    name: str = "8 H100 SXM a node: bfloat16 989 TFLOP/s, NVLink 450 GB/s, a 400 Gb/s card each"
    flops: float = 989e12
    share: float = 0.4  # of the peak that convolutions reach
    within: float = 450e9  # bytes a second
    between: float = 50e9


class Operations(TorchDispatchMode):
    """Counts the operations of products and convolutions; PyTorch's own counter stumbles over R1's inner gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        made = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += 0 if count is None else int(count(*args, **(kwargs or {}), out_val=made))
        return made


def kept(run: Callable[[], object]) -> int:
    """Return how many numbers a graph keeps for its gradient, weights left out, each tensor once."""
    seen: dict[int, Tensor] = {}

    def pack(value: Tensor) -> Tensor:
        if not isinstance(value, nn.Parameter):
            seen[id(value)] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        run()
    return sum(value.numel() for value in seen.values())


def counted(name: str, shape: tuple[int, ...], batch: int = 2) -> dict[str, float]:
    """Return a preset's parameters, and the operations and kept numbers of a sample in a climb and in the loss."""
    settings = config.load(name, [])
    with torch.device("meta"):
        network = networks.build(settings.network, shape, settings.network_options, seed=0)
        inside, outside = torch.zeros(batch, *shape), torch.zeros(batch, *shape, requires_grad=True)
    with frozen(network), Operations() as climbed:
        torch.autograd.grad(network(outside).sum(), outside)
    with frozen(network):
        climbing = kept(lambda: network(outside))
    loss = Loss(network, settings.r1)
    with Operations() as learned:
        torch.autograd.backward(loss(inside, outside.detach())[0].sum())
    learning = kept(lambda: loss(inside, outside.detach()))
    return {
        "parameters": parameter_count(network),
        "climb_flop": climbed.total / batch,
        "learn_flop": learned.total / batch,
        "climb_kept": climbing / batch,
        "learn_kept": learning / batch,
    }


def planned(name: str, shape: tuple[int, ...], machine: Machine) -> list[dict[str, object]]:
    """Return a preset's row for every number of GPUs: the whole batch grows with them, one GPU's stays."""
    settings, numbers = config.load(name, []), counted(name, shape)
    steps, descent, each = settings.steps.last, settings.descent.steps, settings.batch_size
    flop = each * ((steps + descent) * numbers["climb_flop"] + numbers["learn_flop"])
    arithmetic = flop / (machine.share * machine.flops)
    rows: list[dict[str, object]] = []
    for count in COUNTS:
        sent = 2 * (count - 1) / count * numbers["parameters"] * _NUMBER  # of a ring
        rate = machine.within if count <= 8 else machine.between
        talk = 0.0 if count == 1 else sent / rate
        rows.append(
            {
                "preset": name,
                "gpus": count,
                "batch": each * count,
                "parameters": numbers["parameters"],
                "tflop": flop / 1e12,
                "arithmetic_ms": 1e3 * arithmetic,
                "sent_mb": sent / 1e6 if count > 1 else 0.0,
                "communication_ms": 1e3 * talk,
                "efficiency": arithmetic / (arithmetic + talk),
                "weights_mb": 5 * _NUMBER * numbers["parameters"] / 1e6,
                "climb_mb": each * numbers["climb_kept"] * _HALF / 1e6,
                "learn_mb": each * numbers["learn_kept"] * _HALF / 1e6,
                "largest_batch_80_gb": math.floor(
                    (80e9 - 5 * _NUMBER * numbers["parameters"]) / (numbers["learn_kept"] * _HALF)
                ),
            }
        )
    return rows


def main() -> None:
    machine = Machine()
    rows = [row for name, shape in PRESETS.items() for row in planned(name, shape, machine)]
    for row in rows:
        print(json.dumps(row))
    made = provenance(shlex.join(["python", "-m", "benchmarks.plan", *sys.argv[1:]]))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    table = {"made": made, "machine": asdict(machine), "rows": rows}
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
