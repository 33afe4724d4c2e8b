"""Where a training runs, unless a caller brings a Fabric of its own."""

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision: TypeAlias = Literal["32-true", "bf16-mixed"]


def one_device(device: torch.device, *, precision: Precision = "32-true") -> "Fabric":
    """Return a Fabric of one process on one device."""
    from lightning_fabric import Fabric

    devices = 1 if device.index is None else [device.index]
    return Fabric(accelerator=device.type, devices=devices, precision=precision)
