"""Where a training's randomness comes from: the seed, the step and the purpose, and nothing else."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def step_generator(seed: int, iteration: int, purpose: str) -> torch.Generator:
    """Return the CPU generator that belongs to one purpose at one step of one seed.

    Example:
        >>> torch.rand(2, generator=step_generator(0, 0, "target"))
        tensor([0.4162, 0.4649])
    """
    key = hashlib.blake2b(f"{seed}/{iteration}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "big", signed=True))


@contextmanager
def seeded_layers(seed: int, device: torch.device) -> Iterator[None]:
    """Let random layers, such as dropout, draw from a seed, and leave the global random state alone.

    Example:
        >>> with seeded_layers(0, torch.device("cpu")):
        ...     torch.rand(2)
        tensor([0.4963, 0.7682])
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for forked in devices:
            torch.cuda.default_generators[forked.index].manual_seed(seed)
        yield
