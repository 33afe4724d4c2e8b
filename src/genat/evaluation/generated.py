"""How good samples are: what is recognised in them, how close they come to real images, whether they are copies."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genat import baselines, plots
from genat.baselines import Classifier
from genat.evaluation.fidelity import (
    Extractor,
    Fidelity,
    Memorisation,
    classifier_features,
    efficientnet_features,
    features,
    fidelity,
    inception_features,
    kernel_distance,
    principal_features,
    recognised,
)
from genat.evaluation.peer import Peer
from genat.generation import Samples

FEATURES = ("classifier", "efficientnet", "inception")
NEIGHBOURS = 5  # of precision, recall, density and coverage
_PER_DIMENSION, _COMPONENTS, _FITTED = 4, 64, 2000  # of principal components: images a dimension, most, fitted on
_SHOWN, _BESIDE = 64, 16
_NATIVE, _STRIDE, _ENLARGED = 224, 32, 3  # EfficientNet-Lite0's largest size here, its stride, and how much it enlarges


class TooFewError(ValueError):
    """There are too few images to measure how close samples come."""


def kind(features: str | None, *, channels: int, labelled: bool) -> str:
    """Return which of `FEATURES` samples and real images are compared by.

    Args:
        features: one of them; None takes the classifier's for grey images that have labels, and EfficientNet-Lite0's,
            which knows more of colour pictures than a small classifier can learn, for others.
        channels: of an image.
        labelled: whether there are two classes or more.

    Raises:
        ValueError: where the name is another, or a classifier is asked for and there are no classes.

    Example:
        >>> kind(None, channels=1, labelled=True), kind(None, channels=3, labelled=True)
        ('classifier', 'efficientnet')
    """
    if features is None:
        return "classifier" if labelled and channels == 1 else "efficientnet"
    if features not in FEATURES:
        raise ValueError(f"expected features among {', '.join(FEATURES)}, got {features}")
    if features == "classifier" and not labelled:
        raise ValueError("expected labels of two classes or more for features classifier, got none")
    return features


def extractor(of_kind: str, *, classifier: Classifier | None, train: Tensor, n_samples: int, n_real: int) -> Extractor:
    """Return the features of a kind, fewer of them where there are few images.

    Where n, the number of samples or half the number of real images, is less than 4 times the features' dimension,
    they are reduced to n / 4 principal components of training images, at most 64, and named after that. Inception's
    are never reduced, since FID is measured on all of them.

    Args:
        of_kind: as `kind` gives it.
        classifier: trained on the target's labels; None where they are not asked for.
        train: `(T, C, H, W)` training images.
        n_samples, n_real: how many samples and held-out images there are.

    Raises:
        ImportError: where the features' extra is not installed.
        TooFewError: where there are too few images to measure anything.
    """
    if of_kind == "classifier":
        assert classifier is not None
        chosen = classifier_features(classifier)
    else:
        chosen = inception_features() if of_kind == "inception" else efficientnet_features(size=_size(train.shape))
    n = min(n_samples, n_real // 2)
    least = 1 + (chosen.dimension if chosen.standard else NEIGHBOURS)
    if n < least:
        wanted = f"at least {least} samples and {2 * least} held-out images for {chosen.name} features"
        raise TooFewError(f"expected {wanted}, got {n_samples} and {n_real}")
    if chosen.standard or n >= _PER_DIMENSION * chosen.dimension:
        return chosen
    some = some_of(train, _FITTED)
    return principal_features(chosen, some, dimension=min(_COMPONENTS, n // _PER_DIMENSION, len(some) - 1))


def recognition(
    classifier: Classifier, made: Samples, real: Tensor, train: Tensor, *, labels: Tensor | None
) -> dict[str, Any]:
    """Return what a classifier recognises in samples, and its kernel distances to real images at equal n.

    Beside how many samples it is sure of stands how many held-out images it is sure of, `confident_real`.

    Args:
        classifier: that had no part in the samples.
        made: the samples, and what they began from.
        real: `(M, C, H, W)` held-out images.
        train: `(T, C, H, W)` training images.
        labels: `(M,)` of the held-out images; None where they are of other classes, or have none.
    """
    equal = min(len(made.images), len(real))
    of_real = features(classifier, some_of(real, equal))
    compared = {"samples": made.images[:equal], "starts": made.starts[:equal], "training images": some_of(train, equal)}
    return asdict(recognised(classifier, made.images)) | {
        "classifier_accuracy": None if labels is None else baselines.accuracy(classifier, real, labels),
        "confident_real": recognised(classifier, real).confident,
        "kernel_distance": {
            name: kernel_distance(features(classifier, images), of_real) for name, images in compared.items()
        },
        "kernel_distance_n": equal,
    }


def closeness(
    made: Samples, real: Tensor, train: Tensor, *, extractor: Extractor, peer: Peer | None, cache: Path
) -> tuple[dict[str, Any], Fidelity]:
    """Compare samples, their starts and a GAN's samples with real images, by the same features and at the same n.

    Args:
        made: the samples, and what they began from.
        real: `(M, C, H, W)` held-out images.
        train: `(T, C, H, W)` what the samples' detector was trained on.
        extractor: of the features.
        peer: a GAN that has made as many images as there are samples; None where there is none.
        cache: a folder that keeps the real images' features.

    Returns:
        What JSON can hold, and the samples' own record. To `Fidelity.as_dict` come the names of the two `distances`,
        the measures of the `starts`, each distance as a share `of_starts`, and the `gan` with its own.

    Raises:
        ValueError: as `fidelity`.
    """
    measure = partial(fidelity, real=real, features=extractor, cache=cache, k=NEIGHBOURS)
    found = measure(made.images, train=train)
    starts = measure(made.starts).as_dict()["samples"]
    figures = found.as_dict() | {"distances": list(found.names[:2]), "starts": starts}
    ours = figures["samples"]
    figures["of_starts"] = {name: ours[name]["value"] / starts[name]["value"] for name in figures["distances"]}
    if peer is not None:
        theirs = measure(peer.images, train=train).as_dict()
        figures["gan"] = peer.as_dict() | {name: theirs[name] for name in ("samples", "memorisation")}
    return figures, found


def pictures(images: Tensor, found: Fidelity, train: Tensor, *, logits: Tensor) -> dict[str, tuple[bytes, str]]:
    """Return pictures of samples: the first ones, the worst ones, and some beside their nearest training images.

    Args:
        images: `(N, C, H, W)` the samples.
        found: their record, with memorisation.
        train: `(T, C, H, W)` the training images.
        logits: `(N,)` of the samples.

    Returns:
        PNGs and what they show, by the name of a file.
    """
    assert found.memory is not None
    assert found.pixel_memory is not None
    n, few, total = min(_SHOWN, len(images)), min(_BESIDE, len(images)), len(images)
    lowest, farthest = logits.argsort()[:n], found.memory.distances.argsort(descending=True)[:n]
    space = f"{found.features} features"
    beside = f"the first {few} of {total} samples, then the {few} closest to a training image, by"
    return {
        "first.png": (plots.grid(images[:n]), f"the first {n} of {total} samples, none left out"),
        "lowest.png": (plots.grid(images[lowest]), f"the {n} of {total} samples of the lowest logits, lowest first"),
        "farthest.png": (
            plots.grid(images[farthest]),
            f"the {n} of {total} samples farthest from any training image by {space}, farthest first",
        ),
        "nearest-pixels.png": (
            _beside(images, found.pixel_memory, train),
            f"{beside} pixels, each above its nearest training image",
        ),
        "nearest-features.png": (
            _beside(images, found.memory, train),
            f"{beside} {space}, each above its nearest training image",
        ),
    }


def some_of(images: Tensor, n: int) -> Tensor:
    """Return n of the images, or all where there are fewer, in an order that is the same for the same number."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n]]


def _beside(images: Tensor, memory: Memorisation, train: Tensor) -> bytes:
    first, closest = torch.arange(min(_BESIDE, len(images))), memory.distances.argsort()[:_BESIDE]
    chosen = torch.cat([first, closest])
    return plots.pairs(images[chosen], train[memory.indices[chosen]])


def _size(shape: Sequence[int]) -> int:
    """Return the pixels a side that EfficientNet-Lite0 sees images at: thrice their own, from 96 to 224."""
    side = max(shape[2:])
    return min(_NATIVE, max(_ENLARGED * _STRIDE, -(-_ENLARGED * side // _STRIDE) * _STRIDE))
