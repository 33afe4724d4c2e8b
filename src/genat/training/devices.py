"""Where a training runs, unless a caller brings a Fabric of its own."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Result = TypeVar("Result")
Precision: TypeAlias = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of a training: one a device, started by its own launcher or by `torchrun`.

    Its own launcher runs this program once more for every other device of the machine, with the same arguments. With
    several machines the same is started on each, with `MASTER_ADDR`, `MASTER_PORT` and `NODE_RANK` in the environment.

    Args:
        devices: how many of each machine compute, at least 1; None is torchrun's number, 1 without it.
        nodes: how many machines, at least 1; None likewise.

    Raises:
        ValueError: for a number below 1, or another than torchrun's.

    Example:
        >>> Crew(devices=2).several, Crew().several, Crew().leads
        (True, False, True)
    """

    devices: int | None = None
    nodes: int | None = None

    def __post_init__(self) -> None:
        for name, variable in (("devices", "LOCAL_WORLD_SIZE"), ("nodes", "GROUP_WORLD_SIZE")):
            asked, run = getattr(self, name), int(os.environ.get(variable, "0"))
            if asked is not None and (asked < 1 or (run and asked != run)):
                raise ValueError(f"expected {name} {f'= {run}, as torchrun has it' if run else '>= 1'}, got {asked}")
            object.__setattr__(self, name, asked or run or 1)

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return (self.devices, self.nodes) != (1, 1)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        local, node = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "NODE_RANK"))
        return not self.several or int(os.environ.get("RANK", str(local or node))) == 0

    def launch(self, device: torch.device, *, precision: Precision = "32-true") -> "Fabric":
        """Start what is not running yet and return the Fabric of all: what each learns is averaged at every step."""
        from lightning_fabric import Fabric

        if not self.several:
            return one_device(device, precision=precision)
        assert self.devices is not None, "as it was made"
        assert self.nodes is not None, "as it was made"
        fabric = Fabric(
            accelerator=device.type, devices=self.devices, num_nodes=self.nodes, strategy="ddp", precision=precision
        )
        fabric.launch()
        return fabric


def gathered(values: Tensor, fabric: "Fabric") -> Tensor:
    """Return every process's values, `(W, *)`, without a graph."""
    values = values.detach().contiguous()
    if fabric.world_size == 1:
        return values[None]
    each = [torch.empty_like(values) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(each, values)
    return torch.stack(each)


def shared(work: Sequence[Callable[[], Result]], fabric: "Fabric | None") -> list[Result]:
    """Return what each of several calls returns, in every process; each is made in one of them.

    Args:
        work: the calls, the same in all processes; what they return is sent between them as Python pickles it.
        fabric: a launched Fabric; None makes all calls here.

    Example:
        >>> shared([lambda: 1, lambda: 2], None)
        [1, 2]
    """
    if fabric is None or fabric.world_size == 1:
        return [call() for call in work]
    rank, count = fabric.global_rank, fabric.world_size
    each: list[Any] = [None] * count
    torch.distributed.all_gather_object(each, [call() for call in work[rank::count]])
    return [each[i % count][i // count] for i in range(len(work))]


def one_device(device: torch.device, *, precision: Precision = "32-true") -> "Fabric":
    """Return a Fabric of one process on one device."""
    from lightning_fabric import Fabric

    devices = 1 if device.index is None else [device.index]
    return Fabric(accelerator=device.type, devices=devices, precision=precision)
