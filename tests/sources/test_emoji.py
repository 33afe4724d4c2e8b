"""Emoji in the layout of their npm package, written here on a small scale."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from genat.sources import Images, emoji

TONES = ("1F3FB", "1F3FC", "1F3FD")
KINDS = {
    ("Smileys & Emotion", "face-smiling"): 20,
    ("People & Body", "person"): 10,
    ("Food & Drink", "food-fruit"): 7,
    ("Objects", "tool"): 3,
}


def picture(code: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"unified": code, "image": f"{code.lower()}.png", "has_img_google": True, **more}


def entries() -> list[dict[str, Any]]:
    made = []
    for (category, subcategory), count in KINDS.items():
        for number in range(count):
            code = f"{subcategory}-{number}"
            tones = {tone: picture(f"{code}-{tone}") for tone in TONES}
            more = {"skin_variations": tones} if subcategory == "person" else {}
            made.append(picture(code, category=category, subcategory=subcategory, **more))
    return made


def package(folder: Path, listed: list[dict[str, Any]] | None = None) -> Path:
    """Write a package whose picture n is of the grey n, a quarter of it transparent."""
    listed = entries() if listed is None else listed
    drawn = [one for entry in listed for one in (entry, *entry.get("skin_variations", {}).values())]
    pictures = folder / "img" / "google" / "64"
    pictures.mkdir(parents=True)
    for number, one in enumerate(drawn):
        image = Image.new("RGBA", (8, 8), (number, 255 - number, 7, 255))
        image.paste((0, 0, 0, 0), (0, 0, 4, 4))
        if one["has_img_google"]:
            image.save(pictures / one["image"])
    (folder / "emoji.json").write_text(json.dumps(listed), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("emoji"))


def groups_of(images: Images) -> set[int]:
    assert images.groups is not None
    return set(images.groups.tolist())


def names_of(images: Images) -> list[str]:
    assert images.labels is not None
    return [images.classes[label] for label in images.labels.tolist()]


def test_all_pictures_come_in_the_packages_order_each_before_its_skin_tones(root: Path) -> None:
    images = emoji(root, "all")
    assert repr(images) == "Images('emoji all', 70 of (3, 8, 8), 4 classes)"
    assert images.pixels[:, 0, 7, 7].tolist() == list(range(70))
    assert images.classes == ("face-smiling", "food-fruit", "person", "tool")
    assert names_of(images) == ["face-smiling"] * 20 + ["person"] * 40 + ["food-fruit"] * 7 + ["tool"] * 3
    assert images.groups is not None
    tones = [number for number in range(20, 30) for _ in range(4)]
    assert images.groups.tolist() == [*range(20), *tones, *range(30, 40)]


def test_what_is_transparent_becomes_white_and_is_noted(root: Path) -> None:
    images = emoji(root, "all")
    assert (images.pixels[:, :, :4, :4] == 255).all()
    assert torch.equal(images.pixels[5, :, 6, 2], torch.tensor([5, 250, 7], dtype=torch.uint8))
    assert images.notes == ("70 of 70 images flattened onto white",)


def test_the_classes_may_be_categories(root: Path) -> None:
    images = emoji(root, "all", label="category")
    assert images.classes == ("Food & Drink", "Objects", "People & Body", "Smileys & Emotion")
    assert names_of(images)[::30] == ["Smileys & Emotion", "People & Body", "Food & Drink"]
    assert len(images.only(["Food & Drink", "Objects"])) == 10


@pytest.mark.parametrize("label", ["category", "subcategory"])
def test_train_and_test_share_no_design_whichever_the_label(root: Path, label: Any) -> None:  # noqa: ANN401
    train, test, everything = (emoji(root, split, label=label) for split in ("train", "test", "all"))
    assert groups_of(train) & groups_of(test) == set()
    assert len(train) + len(test) == len(everything)
    assert groups_of(test) == groups_of(emoji(root, "test"))
    assert train.classes == test.classes == everything.classes
    assert (train.name, test.name) == ("emoji train", "emoji test")
    assert abs(len(test) / len(everything) - 0.15) < 4 / 70


def test_a_validation_share_keeps_designs_whole_too(root: Path) -> None:
    train, validation = emoji(root).only("person").split(0.25, seed=3)
    assert groups_of(train) & groups_of(validation) == set()
    assert len(train) % 4 == len(validation) % 4 == 0
    assert len(validation) > 0


def test_pictures_are_resized_and_absent_ones_left_out(tmp_path: Path) -> None:
    listed = entries()
    listed[3]["has_img_google"] = False
    listed[21]["skin_variations"][TONES[1]]["has_img_google"] = False
    images = emoji(package(tmp_path / "x", listed), "all", size=(4, 5))
    assert images.pixels.shape == (68, 3, 4, 5)
    assert "68 of 68 images resized to 4 x 5" in images.notes


def write(text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "emoji.json").write_text(text, encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {"split": "validation"}, "expected split train, test or all, got 'validation'"),
        (None, {"label": "label"}, "expected label category or subcategory, got 'label'"),
        (None, {"size": 0}, "expected size to be at least 1 pixel, got 0"),
        (write("{"), {}, r"expected a list of emoji in '.*emoji\.json', got Expecting property name"),
        (write("{}"), {}, r"expected a list of emoji in '.*emoji\.json', got dict"),
        (write("[]"), {}, "expected emoji that have a picture in '.*', got none"),
        (write("[3]"), {}, "expected entries with category, .* in '.*', got entry 0 without"),
        (write('[{"category": "a"}]'), {}, r"got entry 0 without \('subcategory'\): npm install"),
        (
            lambda root: (root / "img/google/64/tool-1.png").unlink(),
            {},
            r"expected an image in '.*img/google/64/tool-1\.png', got No such file",
        ),
        (
            lambda root: (root / "img/google/64/tool-1.png").write_bytes(b"broken"),
            {},
            r"expected an image in '.*tool-1\.png', got no PNG",
        ),
    ],
)
def test_refusals(
    change: Callable[[Path], object] | None, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    root = package(tmp_path / "emoji")
    if change is not None:
        change(root)
    with pytest.raises(ValueError, match=message) as caught:
        emoji(root, **options)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_package_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="got no such file: npm install emoji-datasource-google@16") as caught:
        emoji(tmp_path)
    assert "\n" not in str(caught.value)
