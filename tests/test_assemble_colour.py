"""From a configuration to colour pictures: emoji, faces, groups, and outside data that is chosen and augmented."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from genat import assemble, config
from genat.evaluation import families
from genat.sources import Augment, Images, ShuffledPatches

KINDS = (("People & Body", "person", 4), ("Food & Drink", "drink", 1), ("Objects", "tool", 1))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of 20 designs of each kind, the persons with three skin tones."""
    root = tmp_path_factory.mktemp("emoji")
    pictures = root / "img" / "google" / "64"
    pictures.mkdir(parents=True)
    entries = []
    for category, subcategory, drawn in KINDS:
        for number in range(20):
            files = [f"{subcategory}-{number}-{tone}.png" for tone in range(drawn)]
            for file in files:
                Image.new("RGB", (8, 8), (10 * number, len(subcategory), 0)).save(pictures / file)
            first, *others = ({"image": file, "has_img_google": True} for file in files)
            entry = first | {"category": category, "subcategory": subcategory}
            entries.append(entry | {"skin_variations": {str(i): other for i, other in enumerate(others)}})
    (root / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


def emoji(package: Path, *overrides: str) -> config.Config:
    target = f"data={{kind: emoji, path: {package}, label: subcategory, classes: [person], size: 4}}"
    return config.load("digits", [target, "outside=[{kind: other-classes}]", *overrides])


def groups_of(images: Images) -> set[int]:
    assert images.groups is not None
    return set(images.groups.tolist())


def names_of(images: object) -> set[str]:
    assert isinstance(images, Images)
    assert images.labels is not None
    return {images.classes[label] for label in images.labels.tolist()}


def test_no_design_is_in_two_of_training_validation_and_test(package: Path) -> None:
    settings = emoji(package)
    data, test = assemble.target(settings), assemble.official_test(settings)
    assert test is not None
    assert data.train.shape == data.validation.shape == test.shape == (3, 4, 4)
    parts = [groups_of(part) for part in (data.train, data.validation, test)]
    assert sum(len(part) for part in parts) == len(set().union(*parts)) == 20
    assert names_of(data.train) == names_of(data.validation) == names_of(test) == {"person"}


def test_the_column_of_a_table_keeps_rows_together(tmp_path: Path) -> None:
    library = pytest.importorskip("datasets", reason="needs the extra data")
    columns = {"image": [Image.new("L", (2, 2), i) for i in range(40)], "who": [i // 4 for i in range(40)]}
    features = library.Features({"image": library.Image(), "who": library.Value("int64")})
    library.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "x.parquet")
    data = f"data={{kind: parquet, path: {tmp_path}/x.parquet, label: null, group: who, validation: 0.3}}"
    parts = assemble.target(config.load("digits", [data]))
    assert groups_of(parts.train) & groups_of(parts.validation) == set()
    assert len(parts.validation) == 12


def test_outside_data_is_chosen_by_class_and_augmented(package: Path) -> None:
    part = f"{{kind: emoji, path: {package}, label: category, classes: [Objects], augment: {{flip: true}}}}"
    settings = emoji(package, f"outside=[{part}]")
    images = assemble.outside(settings, (3, 4, 4))
    assert names_of(images) == {"Objects"}
    assert getattr(images, "augmentation", None) == Augment(flip=True)
    others = assemble.outside(emoji(package, "outside=[{kind: other-classes, classes: [drink]}]"), (3, 4, 4))
    assert names_of(others) == {"drink"}
    assert getattr(others, "augmentation", 0) is None


def test_faces_against_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = ModuleType("skimage.data")
    values = np.random.default_rng(0).random((200, 25, 25))
    monkeypatch.setattr(stand_in, "lfw_subset", lambda: values, raising=False)
    monkeypatch.setitem(sys.modules, "skimage.data", stand_in)
    chosen = ["data={kind: lfw-faces, classes: [face]}", "outside=[{kind: other-classes}]"]
    settings = config.load("digits", chosen)
    data = assemble.target(settings)
    assert (len(data.train), len(data.validation)) == (80, 20)
    assert names_of(assemble.outside(settings, data.train.shape, data)) == {"other"}
    assert assemble.official_test(settings) is None


@pytest.mark.parametrize(("key", "patch"), [("", 2), (", patch: 4", 4)])
def test_the_targets_patches_are_shuffled(key: str, patch: int) -> None:
    settings = config.load("digits", [f"outside=[{{kind: shuffled-patches{key}}}]"])
    data = assemble.target(settings)
    source = assemble.outside(settings, data.train.shape, data)
    assert isinstance(source, ShuffledPatches)
    assert source.patch == patch
    assert source.source is data.train
    assert families.seen(settings.outside) == {"shuffled patches"}


def test_a_shift_uncovers_the_configured_grey() -> None:
    augment = assemble.augmentation(config.load("digits", ["augment={shift: 2, fill: 1.0}"]).augment)
    assert augment is not None
    shifted = augment(torch.zeros(50, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    assert set(shifted.flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data={kind: emoji, label: category}", "expected path with kind=emoji, got none"),
        ("data={kind: emoji, path: x}", "expected label category or subcategory with kind=emoji, got label"),
        ("data={kind: lfw-faces, path: x}", "expected no path with kind=lfw-faces, got 'x'"),
        ("data={kind: digits, group: x}", "expected group with kind=parquet or hugging-face, got kind=digits"),
        ("outside=[{kind: photographs, classes: [a]}]", "expected classes and augment with images, got kind=photo"),
        ("outside=[{kind: dead-leaves, augment: {flip: true}}]", "expected classes and augment with images, got kind"),
        ("outside=[{kind: digits, patch: 2}]", "expected patch with kind=shuffled-patches, got kind=digits"),
        ("outside=[{kind: digits, augment: {flp: true}}]", r"unknown key, did you mean outside\.0\.augment\.flip"),
        ("augment.fill=2", "augment.fill: input should be less than or equal to 1, got 2"),
    ],
)
def test_refusals(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        config.load("digits", [override])
    assert "\n" not in str(caught.value)
