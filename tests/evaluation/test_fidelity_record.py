"""The one record of everything: what stands in it, beside what, and under which name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genat.evaluation.fidelity import (
    Extractor,
    Fidelity,
    class_score,
    diversity,
    effective_classes,
    fidelity,
    frechet_estimate,
    kernel_estimate,
    memorisation,
    neighbourhood,
)

D = 4


def embed(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :D] * 3


FEATURES = Extractor("corner", "1", D, embed, head=lambda features: 2 * features[:, :3])


def draw(generator: torch.Generator, n: int) -> Tensor:
    return torch.rand(n, 1, 3, 3, generator=generator)


def test_samples_and_floor_are_measured_alike_at_equal_n(generator: torch.Generator) -> None:
    """With exactly n samples and 2 n real images the two comparisons can be done by hand, up to the order."""
    samples, real, train = draw(generator, 30) ** 2, draw(generator, 60), draw(generator, 50)
    found = fidelity(samples, real, features=FEATURES, train=train, k=3, seed=5)
    assert (found.n, found.n_samples, found.n_real, found.n_train) == (30, 30, 60, 50)
    assert (found.features, found.version, found.dimension) == ("corner", "1", D)

    order = torch.Generator().manual_seed(5)
    chosen = torch.randperm(30, generator=order)
    halves = torch.randperm(60, generator=order)
    reference = real[halves[:30]]
    for images, comparison in ((samples[chosen], found.samples), (real[halves[30:]], found.floor)):
        a, b = embed(images), embed(reference)
        assert comparison.frechet == frechet_estimate(a, b)
        assert comparison.kernel == kernel_estimate(a, b)
        assert comparison.neighbourhood == neighbourhood(a, b, k=3)
        assert comparison.diversity == diversity(a, b)
        assert comparison.pixel_diversity == diversity(images, reference)
        assert comparison.score == class_score(2 * a[:, :3])
        assert comparison.effective_classes == effective_classes(a[:, :3])
    by_features, by_pixels = memorisation(embed(samples), embed(real), embed(train)), memorisation(samples, real, train)
    for memory, expected in ((found.memory, by_features), (found.pixel_memory, by_pixels)):
        assert memory is not None
        assert (memory.ratio, memory.median, memory.close) == (expected.ratio, expected.median, expected.close)
        assert torch.equal(memory.indices, expected.indices)
    assert found.samples.frechet.value > 3 * found.floor.frechet.value


@pytest.mark.parametrize(("samples", "real", "n"), [(100, 41, 20), (12, 99, 12)])
def test_n_is_the_samples_or_half_the_real_images(generator: torch.Generator, samples: int, real: int, n: int) -> None:
    found = fidelity(draw(generator, samples), draw(generator, real), features=FEATURES)
    assert (found.n, found.n_samples, found.n_real, found.n_train) == (n, samples, real, 0)
    assert found.memory is None
    assert found.pixel_memory is None


def test_the_seed_draws_and_nothing_else_does(generator: torch.Generator) -> None:
    samples, real = draw(generator, 20), draw(generator, 50)
    found = [fidelity(samples, real, features=FEATURES, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_real_images_in_the_samples_place_are_like_the_floor(generator: torch.Generator) -> None:
    found = fidelity(draw(generator, 300), draw(generator, 600), features=FEATURES, train=draw(generator, 300))
    assert abs(found.samples.kernel.value) < 3 * found.samples.kernel.error
    assert found.samples.neighbourhood.density == pytest.approx(1.0, abs=0.1)
    assert found.samples.diversity == pytest.approx(1.0, abs=0.05)
    assert found.pixel_memory is not None
    assert found.pixel_memory.ratio.value == pytest.approx(1.0, abs=0.1)


def test_copies_of_training_images_are_told(generator: torch.Generator) -> None:
    train = draw(generator, 40)
    found = fidelity(train[:20], draw(generator, 40), features=FEATURES, train=train)
    assert found.memory is not None
    assert found.pixel_memory is not None
    assert found.memory.ratio.value == found.pixel_memory.ratio.value == 0.0
    assert found.pixel_memory.indices.tolist() == list(range(20))


def test_real_features_come_from_the_cache_and_samples_never_go_there(
    generator: torch.Generator, tmp_path: Path
) -> None:
    calls: list[int] = []

    def count(batch: Tensor) -> Tensor:
        calls.append(len(batch))
        return embed(batch)

    counted = replace(FEATURES, embed=count, batch_size=1000)
    samples, real, train = draw(generator, 20), draw(generator, 50), draw(generator, 30)
    first = fidelity(samples, real, features=counted, train=train, cache=tmp_path)
    assert sorted(calls) == [20, 30, 50]
    again = fidelity(samples, real, features=counted, train=train, cache=tmp_path)
    assert calls[3:] == [20]
    assert len(list(tmp_path.iterdir())) == 2
    assert again.as_dict() == first.as_dict() == fidelity(samples, real, features=FEATURES, train=train).as_dict()


def measured(generator: torch.Generator, features: Extractor) -> Fidelity:
    return fidelity(draw(generator, 20), draw(generator, 40), features=features, train=draw(generator, 9))


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (FEATURES, ["Fréchet-corner distance", "kernel-corner distance", "corner score"]),
        (replace(FEATURES, name="Inception", standard=True), ["FID", "KID", "IS"]),
        (replace(FEATURES, name="Inception", head=None), ["Fréchet-Inception distance", "kernel-Inception distance"]),
    ],
)
def test_json_has_each_figure_under_its_name(generator: torch.Generator, features: Extractor, names: list[str]) -> None:
    found = measured(generator, features)
    record = json.loads(json.dumps(found.as_dict()))
    others = ["precision", "recall", "density", "coverage", "k", "diversity", "pixel diversity"]
    classes = [] if features.head is None else ["effective classes"]
    for part, comparison in (("samples", found.samples), ("floor", found.floor)):
        assert sorted(record[part]) == sorted(names + others + classes)
        assert record[part][names[0]] == {"value": comparison.frechet.value, "error": comparison.frechet.error}
    assert (comparison.score is None) == (features.head is None)
    assert record["memorisation"]["pixels"].keys() == {"ratio", "median", "close"}
    assert (record["n"], record["dimension"], record["features"]) == (20, D, features.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": torch.zeros(4, 1, 3, 3)}, "expected at least 6 samples and 12 real images for 4 features and k"),
        ({"real": torch.zeros(11, 1, 3, 3)}, "for 4 features and k = 5, got 20 and 11"),
        ({"k": 20}, "expected at least 21 samples and 42 real images for 4 features and k = 20, got 20 and 40"),
        ({"k": 0}, "expected k to be at least 1, got 0"),
        ({"real": torch.zeros(40, 3, 3, 3)}, r"expected real of the shape of samples, \(1, 3, 3\), got \(3, 3, 3\)"),
        ({"train": torch.zeros(9, 1, 4, 4)}, r"expected train of the shape of samples, \(1, 3, 3\), got \(1, 4, 4\)"),
        ({"samples": torch.full((20, 1, 3, 3), 1.5)}, r"expected samples in \[0, 1\], got values from 1.5 to 1.5"),
        ({"real": torch.full((40, 1, 3, 3), torch.nan)}, r"expected real in \[0, 1\], got values from nan to nan"),
        ({"train": torch.zeros(9, 1, 3, 3, dtype=torch.int64)}, "expected train of shape .* got .* torch.int64"),
        ({"real": torch.zeros(40, 1, 3, 3)}, "expected real images that differ, got one alone repeated"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    generator: torch.Generator, change: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"samples": draw(generator, 20), "real": draw(generator, 40), "features": FEATURES}
    with pytest.raises(ValueError, match=message) as caught:
        fidelity(**(arguments | change))
    assert "\n" not in str(caught.value)
