"""Folders as people have them, and single files."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genat.sources import image_folder, load_image
from genat.sources.files import as_pair


def paint(path: Path, shade: int = 100, size: tuple[int, int] = (4, 4), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, shade).convert(mode).save(path)
    return path


def test_a_flat_folder_is_unlabelled_and_in_order(tmp_path: Path) -> None:
    for shade, name in ((30, "c.png"), (10, "a.PNG"), (20, "b.bmp")):
        paint(tmp_path / "faces" / name, shade)
    images = image_folder(tmp_path / "faces")
    assert repr(images) == "Images('faces', 3 of (1, 4, 4))"
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert images.labels is None
    assert images.notes == ()


def test_sub_folders_are_classes_by_sorted_names(tmp_path: Path) -> None:
    for name, shade in (("dog/x.png", 3), ("cat/b.png", 2), ("cat/a.png", 1), ("eel/a.gif", 4)):
        paint(tmp_path / name, shade)
    images = image_folder(str(tmp_path))
    assert images.classes == ("cat", "dog", "eel")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1, 2]
    assert images.labels.dtype == torch.int64
    assert images.pixels[:, 0, 0, 0].tolist() == [1, 2, 3, 4]


def test_conversions_and_ignored_files_are_counted(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", size=(8, 8))
    paint(tmp_path / "b.png", size=(16, 8), mode="P")
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "c.png")
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(tmp_path / "d.tiff")
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / "labels.csv").write_text("1")
    (tmp_path / ".DS_Store").write_text("hidden")
    (tmp_path / ".hidden.png").write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    images = image_folder(tmp_path, size=8)
    assert images.shape == (1, 8, 8)
    assert images.notes == (
        "1 of 4 images converted from RGB to grey",
        "1 of 4 images converted from palette to grey",
        "1 of 4 images flattened onto white",
        "1 of 4 images resized to 8 x 8",
        "1 of 4 images scaled to 8 bits",
        "files ignored, not named as images: 2",
        "folders ignored, without images of their own: 1",
    )


def test_size_and_mode_are_obeyed(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", size=(8, 6))
    paint(tmp_path / "b.png", size=(20, 30))
    assert image_folder(tmp_path, size=(3, 5), mode="RGB").shape == (3, 3, 5)
    assert image_folder(tmp_path, size=7).shape == (1, 7, 7)


def test_one_colour_image_makes_all_colour(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    Image.new("RGB", (4, 4), "red").save(tmp_path / "b.png")
    images = image_folder(tmp_path)
    assert images.shape == (3, 4, 4)
    assert images.notes == ("1 of 2 images converted from grey to RGB",)
    assert image_folder(tmp_path, mode="L").pixels[1, 0, 0, 0] == 76


def test_mixed_sizes_without_size_are_refused(tmp_path: Path) -> None:
    for name, size in (("a.png", (4, 5)), ("b.png", (4, 5)), ("c.png", (6, 6))):
        paint(tmp_path / name, size=size)
    with pytest.raises(ValueError, match="got 2 sizes, most often 5 x 4 in 2 of 3: pass size="):
        image_folder(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"lie")
    with pytest.raises(ValueError, match=r"expected an image in '.*b\.png', got no PNG"):
        image_folder(tmp_path)


def nothing(root: Path) -> Path:
    return root / "nothing"


def a_file(root: Path) -> Path:
    return paint(root / "a.png")


def empty(root: Path) -> Path:
    return root


def one_image(root: Path) -> Path:
    return paint(root / "a.png").parent


def only_others(root: Path) -> Path:
    (root / "a.txt").write_text("a")
    (root / "sub").mkdir()
    (root / "sub" / "b.txt").write_text("b")
    return root


def both(root: Path) -> Path:
    paint(root / "a.png")
    paint(root / "b.png")
    return paint(root / "cats" / "c.png").parents[1]


def too_deep(root: Path) -> Path:
    paint(root / "train" / "cats" / "a.png")
    paint(root / "train" / "cats" / "b.png")
    return root


def broken_link(root: Path) -> Path:
    paint(root / "a.png")
    (root / "b.png").symlink_to(root / "gone.png")
    return root


def link_to_itself(root: Path) -> Path:
    paint(root / "a.png")
    (root / "b.png").symlink_to(root / "b.png")
    return root


def pipe(root: Path) -> Path:
    paint(root / "a.png")
    os.mkfifo(root / "b.png")
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "expected a folder of images, got '.*nothing', which does not exist"),
        (a_file, r"got '.*a\.png', which is a file"),
        (empty, "which holds 0 images of at least 2$"),
        (one_image, "which holds 1 images of at least 2$"),
        (only_others, "which holds 0 images of at least 2 beside 2 of another kind"),
        (both, "which holds images beside folders of images .cats.: move either away"),
        (too_deep, "which holds 0 images of at least 2"),
        (broken_link, r"expected an image in '.*b\.png', got a broken link or no regular file"),
        (link_to_itself, r"expected an image in '.*b\.png', got a broken link or no regular file"),
        (pipe, r"expected an image in '.*b\.png', got a broken link or no regular file"),
    ],
)
def test_refusals(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        image_folder(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ValueError, match="which cannot be read: Permission denied"):
        image_folder(tmp_path)


def test_links_that_loop_are_not_followed(tmp_path: Path) -> None:
    paint(tmp_path / "cat" / "a.png", 1)
    paint(tmp_path / "dog" / "b.png", 2)
    (tmp_path / "self").symlink_to(tmp_path)
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    images = image_folder(tmp_path)
    assert images.classes == ("cat", "dog")
    assert len(images) == 2


def test_a_flat_folder_with_a_link_to_itself_stays_flat(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    (tmp_path / "self").symlink_to(tmp_path)
    assert image_folder(tmp_path).labels is None


def test_linked_classes_are_followed(tmp_path: Path) -> None:
    paint(tmp_path / "elsewhere" / "a.png")
    paint(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "elsewhere")
    assert image_folder(tmp_path / "data").classes == ("cats",)


def test_names_that_are_not_text_are_read(tmp_path: Path) -> None:
    for name in ("ünï cödé.png", "two\nlines.png"):
        paint(tmp_path / name)
    assert len(image_folder(tmp_path)) == 2


def test_names_that_are_no_utf8_become_escapes(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"\xff"):
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/all\xff/" + name))
        paint(folder / os.fsdecode(b"\xfe.png"))
    images = image_folder(Path(os.fsdecode(os.fsencode(tmp_path) + b"/all\xff")))
    assert images.classes == ("caf\\xe9", "\\xff")
    assert images.name == "all\\xff"


def test_one_file_takes_the_shape_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    image, changes = load_image(tmp_path / "red.png", shape=(1, 4, 4))
    assert image.shape == (1, 1, 4, 4)
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.full((1, 1, 4, 4), 76 / 255))
    assert changes == ("converted from RGB to grey", "resized to 4 x 4")
    image, changes = load_image(str(tmp_path / "red.png"), shape=(3, 10, 20))
    assert image[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert changes == ()


def test_one_file_is_what_its_folder_holds(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 9, 11, 3), dtype=np.uint8)
    for name, array in zip("ab", noise, strict=True):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    images = image_folder(tmp_path, size=(6, 5))
    image, _ = load_image(tmp_path / "b.png", shape=images.shape)
    assert torch.equal(image[0], images.tensor()[1])


@pytest.mark.parametrize(
    ("path", "shape", "message"),
    [
        ("missing.png", (1, 4, 4), r"expected an image in '.*missing\.png', got No such file or directory"),
        ("", (1, 4, 4), "expected an image in '.*', got Is a directory"),
        ("missing.png", (4, 4), r"expected shape \(C, H, W\) with C = 1 or 3, got \(4, 4\)"),
    ],
)
def test_one_file_refusals(path: str, shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_image(tmp_path / path, shape=shape)


@pytest.mark.parametrize("size", [0, (3, 0), -2])
def test_sizes_are_positive(size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected size to be at least 1 pixel, got"):
        as_pair(size)
