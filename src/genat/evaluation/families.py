"""Outside data for evaluation: made on the spot, from the target's own images, or read from where it lies."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from genat import assemble, runs, sources
from genat.config import OutsideConfig
from genat.generation import sample
from genat.sources import (
    Blurred,
    Constant,
    DeadLeaves,
    Gradients,
    Images,
    Inverted,
    Noise,
    Photographs,
    Rotated,
    ShuffledPatches,
    Source,
)
from genat.sources.datasets import FASHION_MNIST_FOLDER
from genat.sources.decoding import luma

_EMOJI = "node_modules/emoji-datasource-google"
_SEEDS = 2**32  # of what runs generate here: far from the seeds a person looks at
_PATCHES, _BLUR = 4, 16  # patches along a side; the side over the blur's deviation

_MADE: Mapping[str, Callable[[Images], Source]] = {
    "uniform noise": lambda images: Noise(images.shape),
    "dead leaves": lambda images: DeadLeaves(images.shape),
    "inverted": Inverted,
    "shuffled patches": lambda images: ShuffledPatches(images, patch=images.shape[1] // _PATCHES),
    "gaussian noise": lambda images: Noise(images.shape, kind="gaussian"),
    "constant": lambda images: Constant(images.shape),
    "gradients": lambda images: Gradients(images.shape),
    "photographs": lambda images: Photographs(images.shape),
    "rotated": Rotated,
    "blurred": lambda images: Blurred(images, deviation=min(images.shape[1:]) / _BLUR),
}
_READ: Mapping[str, Callable[[], Images]] = {
    "digits": lambda: sources.digits("test"),
    "Fashion-MNIST": lambda: sources.fashion_mnist("test"),
}
FAMILIES = (*_MADE, *_READ)
"""What `family` knows by name."""

_FIRST = ("uniform noise", "dead leaves", "inverted", "shuffled patches")

# What in training makes a family of the evaluation no news: the same family, or a variant of it.
_KIN: Mapping[str, frozenset[str]] = {
    "uniform noise": frozenset({"uniform-noise", "gaussian-noise"}),
    "gaussian noise": frozenset({"uniform-noise", "gaussian-noise"}),
    "dead leaves": frozenset({"dead-leaves"}),
    "shuffled patches": frozenset({"shuffled-patches"}),
    "photographs": frozenset({"photographs"}),
    "digits": frozenset({"digits"}),
    "Fashion-MNIST": frozenset({"fashion-mnist"}),
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
    return {name: family(name, images, n=n, seed=seed) for name in _FIRST if fits(name, images)}


def family(name: str, images: Images, *, n: int, seed: int = 0) -> Tensor:
    """Return n images of one of `FAMILIES`, or of a folder, a Parquet file or a run, as the target's shape has them.

    Data sets give their test images, resized (bicubic, antialiased) and turned to grey or colour as the target is, in
    an order that the seed decides; where there are fewer than n, all of them. A folder may be that of the npm package
    of emoji. A run gives what it generates: images that were climbed on another detector.

    Args:
        name: one of `FAMILIES`, or a path. Blurred images are so by a sixteenth of the side; photographs are crops of
            two.
        images: test or validation images of the target.
        n: how many, at least 1.
        seed: of the draw.

    Returns:
        `(n, C, H, W)` in [0, 1].

    Raises:
        ValueError: where the name is neither, the data cannot be read, or the family does not fit the target.
        FileNotFoundError: where Fashion-MNIST is not installed.

    Example:
        >>> target = Images(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        >>> family("digits", target, n=3).shape
        torch.Size([3, 3, 32, 32])
        >>> family("nose", target, n=3)
        Traceback (most recent call last):
        ...
        ValueError: expected outside data uniform noise, dead leaves, ..., or a folder, Parquet file or run, got 'nose'
    """
    if n < 1:
        raise ValueError(f"expected n to be at least 1, got {n}")
    if name in _MADE:
        generator = torch.Generator().manual_seed(seed + list(_MADE).index(name))
        return _MADE[name](images).draw(n, generator=generator)
    if (Path(name) / runs.CONFIG).exists():
        return _resized(_generated(name, n, seed), images.shape)
    found = _read(name, images.shape)
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:n]
    return _resized(found.take(order).tensor(), images.shape)


def title(name: str) -> str:
    """Return what tables call a family: its name, or the last two parts of its path without the suffix.

    Example:
        >>> title("dead leaves"), title("some/where/cifar10/test.parquet")
        ('dead leaves', 'cifar10/test')
    """
    if name in FAMILIES:
        return name
    return "/".join(Path(name).absolute().with_suffix("").parts[-2:])


def fits(name: str, images: Images) -> bool:
    """Return whether a family can be made of these images: turning needs squares, shuffling sides of 4, 8, 12, ...

    Example:
        >>> fits("rotated", Images(torch.zeros(1, 1, 8, 9, dtype=torch.uint8)))
        False
    """
    _, height, width = images.shape
    if name == "shuffled patches":
        return height == width and height % _PATCHES == 0
    return name != "rotated" or height == width


def available(images: Images) -> tuple[str, ...]:
    """Return the families that can be made here and are news to the target: what fits it, and data that is at hand.

    At hand are digits, Fashion-MNIST where Debian's package is installed, and emoji where npm put theirs into the
    working directory's `node_modules`.

    Args:
        images: test or validation images of the target; a data set of the same name is left out.

    Example:
        >>> "digits" in available(sources.digits("test"))
        False
    """
    there = [name for name in _MADE if fits(name, images)]
    installed = {"digits": True, "Fashion-MNIST": FASHION_MNIST_FOLDER.is_dir()}
    there += [name for name in _READ if installed[name] and not images.name.startswith(name)]
    if (Path(_EMOJI) / "emoji.json").exists() and not images.name.startswith("emoji"):
        there.append(_EMOJI)
    return tuple(there)


def seen(outside: Sequence[OutsideConfig]) -> set[str]:
    """Return which of the families training had as outside data, or had a variant of.

    Example:
        >>> sorted(seen((OutsideConfig(kind="gaussian-noise"),)))
        ['gaussian noise', 'uniform noise']
    """
    kinds = {part.kind for part in outside}
    return {family for family, kin in _KIN.items() if kin & kinds}


def _read(name: str, shape: tuple[int, int, int]) -> Images:
    if name in _READ:
        return _READ[name]()
    path = Path(name)
    if not path.exists():
        known = ", ".join((*FAMILIES, "or a folder, Parquet file or run"))
        raise ValueError(f"expected outside data {known}, got {name!r}")
    size = (shape[1], shape[2])
    if (path / "emoji.json").exists():
        return sources.emoji(path, "test", size=size)
    if path.is_dir() and not any(path.glob("*.parquet")):
        return sources.image_folder(path, size=size, mode="L" if shape[0] == 1 else "RGB")
    return sources.parquet(path, label=None, size=size, mode="L" if shape[0] == 1 else "RGB")


def _generated(folder: str, n: int, seed: int) -> Tensor:
    run = runs.load(folder)
    seeds = range(_SEEDS + seed * n, _SEEDS + (seed + 1) * n)
    outside = assemble.outside(run.config, run.shape)
    return sample(run.detector, outside, seeds=seeds, rejection=run.rejection(), **run.climbing()).images


def _resized(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return images with the sides and channels of a shape."""
    if len(images[0]) > shape[0]:
        images = torch.stack([luma(image) for image in images])
    if images.shape[2:] != shape[1:]:
        images = F.interpolate(images, size=shape[1:], mode="bicubic", antialias=True).clamp(0, 1)
    return images.expand(-1, shape[0], -1, -1)
