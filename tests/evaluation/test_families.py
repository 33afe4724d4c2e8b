"""Outside data of the evaluation: what it is, and what it owes to its seed."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from genat import assemble, runs
from genat.config import OutsideConfig, presets
from genat.evaluation import families as module
from genat.evaluation.families import FAMILIES, available, families, family, seen
from genat.generation import sample
from genat.sources import Images, digits
from genat.sources.datasets import FASHION_MNIST_FOLDER

NAMES = ["uniform noise", "dead leaves", "inverted", "shuffled patches"]


def _images(*shape: int) -> Images:
    return Images(torch.randint(256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 12), (1, 28, 28)])
def test_four_families_of_the_targets_shape(shape: tuple[int, int, int]) -> None:
    drawn = families(_images(5, *shape), n=7)
    assert list(drawn) == NAMES
    for images in drawn.values():
        assert images.shape == (7, *shape)
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 8, 12), (3, 6, 6)])
def test_patches_are_shuffled_only_where_sixteen_fit(shape: tuple[int, int, int]) -> None:
    assert list(families(_images(5, *shape), n=2)) == NAMES[:3]


def test_one_seed_gives_one_draw() -> None:
    images = digits("test")
    first, again, other = families(images, n=4, seed=3), families(images, n=4, seed=3), families(images, n=4, seed=4)
    for name in NAMES:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_inverted_and_shuffled_images_are_made_of_the_targets() -> None:
    images = _images(1, 1, 8, 8)
    drawn = families(images, n=3)
    torch.testing.assert_close(drawn["inverted"], (1 - images.tensor()).expand(3, 1, 8, 8), atol=1e-6, rtol=0)
    for shuffled in drawn["shuffled patches"]:
        assert torch.equal(shuffled.flatten().sort().values, images.tensor().flatten().sort().values)
        assert not torch.equal(shuffled, images.tensor()[0])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["photographs"], {"photographs"}),
        (["lfw-faces"], set()),
        (["uniform-noise"], {"uniform noise", "gaussian noise"}),
        (["gaussian-noise", "photographs"], {"uniform noise", "gaussian noise", "photographs"}),
        (["dead-leaves"], {"dead leaves"}),
        (["shuffled-patches", "fashion-mnist"], {"shuffled patches", "Fashion-MNIST"}),
        (["class-gaussians", "digits"], {"digits"}),
    ],
)
def test_seen_is_what_training_had_or_a_variant_of_it(kinds: list[str], expected: set[str]) -> None:
    assert seen(tuple(OutsideConfig.model_validate({"kind": kind}) for kind in kinds)) == expected


def test_no_preset_trains_on_a_family_that_every_evaluation_has() -> None:
    for preset in presets().values():
        assert not seen(preset.outside) & set(NAMES)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 12), (1, 28, 28), (3, 9, 16)])
def test_every_family_that_fits_comes_in_the_targets_shape(shape: tuple[int, int, int]) -> None:
    target = _images(5, *shape)
    names = [name for name in available(target) if name != "Fashion-MNIST"]
    assert set(FAMILIES) - set(names) - {"Fashion-MNIST"} == (set() if shape[1] == shape[2] else {"rotated", NAMES[3]})
    for name in names:
        images = family(name, target, n=6)
        assert images.shape == (6, *shape)
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1
        assert torch.equal(images, family(name, target, n=6))
        assert not torch.equal(images, family(name, target, n=6, seed=99))


def test_data_sets_come_resized_in_another_order_and_never_twice() -> None:
    target = _images(1, 1, 16, 16)
    found = family("digits", target, n=10_000)
    assert found.shape == (599, 1, 16, 16)
    assert len({tuple(image) for image in found.flatten(1).tolist()}) == 599
    coarse = torch.nn.functional.avg_pool2d(found, 2)
    whole = digits("test").tensor()
    nearest = (coarse[:20, None] - whole).square().flatten(2).mean(2).amin(1).sqrt()
    assert nearest.max() < 0.1  # grey levels, of a bicubic image against the one it came from


def test_fashion_mnist_is_outside_data_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = _images(1, 1, 8, 8)
    if not FASHION_MNIST_FOLDER.is_dir():
        pytest.skip(f"Fashion-MNIST is not at {FASHION_MNIST_FOLDER}: apt-get install dataset-fashion-mnist")
    assert "Fashion-MNIST" in available(target)
    assert family("Fashion-MNIST", target, n=4).shape == (4, 1, 8, 8)
    monkeypatch.setattr(module, "FASHION_MNIST_FOLDER", tmp_path / "none")
    assert "Fashion-MNIST" not in available(target)


def test_a_target_is_not_its_own_outside_data() -> None:
    assert "digits" not in available(digits("test"))
    assert "digits" in available(_images(1, 1, 8, 8))


def test_a_folder_is_outside_data(tmp_path: Path) -> None:
    for level in (0, 255):
        Image.new("RGB", (9, 9), (level, 0, 0)).save(tmp_path / f"{level}.png")
    assert family(str(tmp_path), _images(1, 1, 4, 4), n=9).flatten(1).amax(1).sort().values.tolist() == [
        0.0,
        pytest.approx(76 / 255),
    ]
    assert family(str(tmp_path), _images(1, 3, 4, 4), n=1).shape == (1, 3, 4, 4)


def test_emoji_are_outside_data_where_npm_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "node_modules" / "emoji-datasource-google"
    pictures = package / "img" / "google" / "64"
    pictures.mkdir(parents=True)
    entries = []
    for number in range(20):
        Image.new("RGB", (8, 8), (200, 0, 0)).save(pictures / f"{number}.png")
        kind = {"category": "Objects", "subcategory": "tool", "image": f"{number}.png", "has_img_google": True}
        entries.append(kind)
    (package / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    name = "node_modules/emoji-datasource-google"
    assert available(_images(1, 1, 4, 4))[-1] == name
    grey, colour = (family(name, _images(1, channels, 4, 4), n=2) for channels in (1, 3))
    assert grey.shape == (2, 1, 4, 4)
    torch.testing.assert_close(grey, torch.full((2, 1, 4, 4), 0.299 * 200 / 255), atol=1e-3, rtol=0)
    assert colour.shape == (2, 3, 4, 4)


def test_a_table_is_outside_data(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pictures = [Image.new("L", (5, 5), level) for level in (10, 20, 30)]
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": pictures}, features=features).to_parquet(tmp_path / "test.parquet")
    for path in (tmp_path, tmp_path / "test.parquet"):
        assert family(str(path), _images(1, 1, 4, 4), n=2).shape == (2, 1, 4, 4)


def test_a_run_is_outside_data_by_what_it_generates(trained_once: Path) -> None:
    made = family(str(trained_once), _images(1, 3, 16, 16), n=5)
    assert made.shape == (5, 3, 16, 16)
    assert torch.equal(made, family(str(trained_once), _images(1, 3, 16, 16), n=5))
    assert not torch.equal(made, family(str(trained_once), _images(1, 3, 16, 16), n=5, seed=1))
    run = runs.load(trained_once)
    starts = assemble.outside(run.config, run.shape)
    climbed = sample(run.detector, starts, seeds=range(2**32, 2**32 + 5), rejection=run.rejection(), **run.climbing())
    assert torch.equal(family(str(trained_once), digits("test"), n=5), climbed.images)


def test_unknown_names_and_empty_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="or a folder, Parquet file or run, got 'no such data'"):
        family("no such data", digits("test"), n=1)
    with pytest.raises(ValueError, match="expected n to be at least 1, got 0"):
        family("inverted", digits("test"), n=0)
