"""Everything about a set of samples in one record, beside what real images would get."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genat.evaluation.fidelity.caching import cached
from genat.evaluation.fidelity.checks import Estimate, check_images
from genat.evaluation.fidelity.classes import class_score, effective_classes
from genat.evaluation.fidelity.copies import Memorisation, memorisation
from genat.evaluation.fidelity.distances import diversity
from genat.evaluation.fidelity.extractors import Extractor
from genat.evaluation.fidelity.gaussians import frechet_estimate
from genat.evaluation.fidelity.kernels import kernel_estimate
from genat.evaluation.fidelity.neighbours import Neighbourhood, neighbourhood


@dataclass(frozen=True, slots=True)
class Comparison:
    """n images against n real ones.

    Attributes:
        frechet: squared Fréchet distance of the features.
        kernel: their unbiased kernel distance.
        neighbourhood: precision, recall, density and coverage.
        diversity: mean pairwise distance of the features over the real ones'.
        pixel_diversity: the same of pixels.
        score: class score; None where the features have no classes.
        effective_classes: how many classes the images are spread over; None as above.
    """

    frechet: Estimate
    kernel: Estimate
    neighbourhood: Neighbourhood
    diversity: float
    pixel_diversity: float
    score: Estimate | None
    effective_classes: float | None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How close samples come to real images, under one set of features.

    Attributes:
        features: the features' name.
        version: their digest.
        dimension: d.
        names: of the Fréchet distance, the kernel distance and the class score under these features.
        n: images of every set that is compared: samples, reference, floor.
        n_samples: samples given.
        n_real: held-out real images given.
        n_train: training images given, 0 for none.
        samples: n samples against n held-out real images.
        floor: n other held-out real images against the same, in the samples' place: what there is to reach.
        memory: all samples' features to the training images', against all held-out ones'; None without them.
        pixel_memory: the same of pixels.
    """

    features: str
    version: str
    dimension: int
    names: tuple[str, str, str]
    n: int
    n_samples: int
    n_real: int
    n_train: int
    samples: Comparison
    floor: Comparison
    memory: Memorisation | None
    pixel_memory: Memorisation | None

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, each measure under its own name: the record without what is of single images.

        `samples` and `floor` hold the measures; `memorisation` holds those of features and of pixels, or nothing.
        """
        plain = ("features", "version", "dimension", "n", "n_samples", "n_real", "n_train")
        memories = {"features": self.memory, "pixels": self.pixel_memory}
        return {name: getattr(self, name) for name in plain} | {
            "samples": self._measures(self.samples),
            "floor": self._measures(self.floor),
            "memorisation": {
                where: {"ratio": asdict(memory.ratio), "median": memory.median, "close": memory.close}
                for where, memory in memories.items()
                if memory is not None
            },
        }

    def _measures(self, comparison: Comparison) -> dict[str, Any]:
        frechet, kernel, score = self.names
        measures: dict[str, Any] = {frechet: asdict(comparison.frechet), kernel: asdict(comparison.kernel)}
        measures |= asdict(comparison.neighbourhood)
        measures |= {"diversity": comparison.diversity, "pixel diversity": comparison.pixel_diversity}
        if comparison.score is not None:
            measures |= {score: asdict(comparison.score), "effective classes": comparison.effective_classes}
        return measures


def fidelity(
    samples: Tensor,
    real: Tensor,
    *,
    features: Extractor,
    train: Tensor | None = None,
    cache: str | Path | None = None,
    k: int = 5,
    seed: int = 0,
) -> Fidelity:
    """Measure how close samples come to real images, how diverse they are and whether they are copies.

    Two disjoint sets of n real images are drawn, a reference and a floor, and n samples; n is the number of samples or
    half the number of real images, whichever is less. Samples and floor are measured against the reference, so that
    each figure of the samples stands beside the same figure of real images, with the same n and the same bias.
    Memorisation takes all samples and all real images.

    Args:
        samples: `(N, C, H, W)` floating point in [0, 1].
        real: `(M, C, H, W)` held-out real images: nothing was trained or chosen on them. In any order.
        features: as `classifier_features`, `inception_features`, `efficientnet_features` or `principal_features` give
            them; n must exceed their dimension.
        train: `(T, C, H, W)` what the samples' model was trained on; None leaves memorisation out.
        cache: a folder that keeps the real images' features; None keeps nothing.
        k: neighbours, of precision, recall, density and coverage.
        seed: of the draws, at least 0.

    Raises:
        ValueError: where images are too few, of different shapes, outside [0, 1] or not finite, or as the measures say.

    Example:
        >>> images = torch.rand(120, 1, 2, 2, generator=torch.Generator().manual_seed(0))
        >>> pixels = Extractor("pixel", "1", 4, lambda images: images.flatten(1))
        >>> found = fidelity(images[:30], images[30:90], features=pixels, train=images[90:])
        >>> measured = found.as_dict()["samples"]
        >>> print(found.n, found.dimension, *(f"{name} {measured[name]:.2f}" for name in ("density", "coverage")))
        30 4 density 0.84 coverage 0.97
        >>> copied = fidelity(images[90:], images[30:90], features=pixels, train=images[90:])
        >>> copied.pixel_memory.ratio.value
        0.0
    """
    check_images(samples=samples, real=real, **({} if train is None else {"train": train}))
    n, least = min(len(samples), len(real) // 2), max(features.dimension, k, 2) + 1
    if n < least:
        wanted = f"at least {least} samples and {2 * least} real images for {features.dimension} features and k = {k}"
        raise ValueError(f"expected {wanted}, got {len(samples)} and {len(real)}")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(samples), generator=generator)[:n]
    reference, floor = torch.randperm(len(real), generator=generator)[: 2 * n].view(2, n)
    of_samples, of_real = features(samples), cached(features, real, cache).to(samples.device)
    real = real.to(samples.device)
    compared = [
        _compare(images[indices], embedded[indices], real[reference], of_real[reference], head=features.head, k=k)
        for images, embedded, indices in ((samples, of_samples, chosen), (real, of_real, floor))
    ]
    memory = pixel_memory = None
    if train is not None:
        memory = memorisation(of_samples, of_real, cached(features, train, cache))
        pixel_memory = memorisation(samples, real, train)
    return Fidelity(
        features=features.name,
        version=features.version,
        dimension=features.dimension,
        names=features.names,
        n=n,
        n_samples=len(samples),
        n_real=len(real),
        n_train=0 if train is None else len(train),
        samples=compared[0],
        floor=compared[1],
        memory=memory,
        pixel_memory=pixel_memory,
    )


def _compare(
    images: Tensor,
    embedded: Tensor,
    real: Tensor,
    of_real: Tensor,
    *,
    head: Callable[[Tensor], Tensor] | None,
    k: int,
) -> Comparison:
    logits = None if head is None else head(embedded)
    return Comparison(
        frechet=frechet_estimate(embedded, of_real),
        kernel=kernel_estimate(embedded, of_real),
        neighbourhood=neighbourhood(embedded, of_real, k=k),
        diversity=diversity(embedded, of_real),
        pixel_diversity=diversity(images, real),
        score=None if logits is None else class_score(logits),
        effective_classes=None if logits is None else effective_classes(logits),
    )
