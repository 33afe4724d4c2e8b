"""Outside data for evaluation that no preset trains on."""

from collections.abc import Mapping

import torch
from torch import Tensor

from genat.config import OutsideConfig
from genat.sources import DeadLeaves, Images, Inverted, Noise, ShuffledPatches, Source

# What in training makes a family of the evaluation no news: the same family, or a variant of it.
_KIN: Mapping[str, frozenset[str]] = {
    "uniform noise": frozenset({"uniform-noise", "gaussian-noise"}),
    "dead leaves": frozenset({"dead-leaves"}),
    "shuffled patches": frozenset({"shuffled-patches"}),
}


def families(images: Images, *, n: int, seed: int = 0) -> dict[str, Tensor]:
    """Return n images each of noise, dead leaves, the inverted target, and the target with its patches shuffled.

    A patch is a quarter of the image's side, so that sixteen are shuffled; the strokes within a patch stay as they
    are, and only their arrangement tells.

    Args:
        images: test or validation images of the target, their sides multiples of 4 for the shuffled family.
        n: how many of each, at least 1.
        seed: of all draws.

    Returns:
        `(n, C, H, W)` in [0, 1] by name; without "shuffled patches" where the side is no multiple of 4.

    Example:
        >>> from genat import sources
        >>> {name: tuple(x.shape) for name, x in families(sources.digits("test"), n=2).items()}["inverted"]
        (2, 1, 8, 8)
    """
    shape = images.shape
    made: dict[str, Source] = {
        "uniform noise": Noise(shape),
        "dead leaves": DeadLeaves(shape),
        "inverted": Inverted(images),
    }
    drawn = {
        name: source.draw(n, generator=torch.Generator().manual_seed(seed + i))
        for i, (name, source) in enumerate(made.items())
    }
    if shape[1] % 4 == 0 and shape[1] == shape[2]:
        shuffled = ShuffledPatches(images, patch=shape[1] // 4)
        drawn["shuffled patches"] = shuffled.draw(n, generator=torch.Generator().manual_seed(seed + len(made)))
    return drawn


def seen(outside: tuple[OutsideConfig, ...]) -> set[str]:
    """Return which of the families training had as outside data, or had a variant of.

    Example:
        >>> seen((OutsideConfig(kind="gaussian-noise"),))
        {'uniform noise'}
    """
    kinds = {part.kind for part in outside}
    return {family for family, kin in _KIN.items() if kin & kinds}
