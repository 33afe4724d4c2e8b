"""Folders walked without end or surprise, files read in batches, what cannot be read named."""

import inspect
import itertools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from genat.sources import Batch, Skipped, find_images, read_batches, walk, walking


def _image(path: Path, *, value: int = 0, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), value).save(path)
    return path


def _paths(found: Iterator[str | Skipped], root: Path) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in found if isinstance(path, str)]


def test_a_walk_finds_every_image_once_sorted_at_each_level(tmp_path: Path) -> None:
    generator, made = random.Random(0), []
    for i in range(60):
        parts = [generator.choice("abcXYZ") for _ in range(generator.randrange(4))]
        made.append(_image(tmp_path.joinpath(*parts, f"{i:02d}.PnG")))
    found = _paths(walk(tmp_path), tmp_path)
    assert found == sorted((str(path.relative_to(tmp_path)) for path in made), key=lambda path: path.split("/"))


def test_hidden_entries_are_passed_over_and_other_names_told(tmp_path: Path) -> None:
    for name in (".hidden.png", ".git/a.png", "a.png", "notes.txt", "deep/readme"):
        _image(tmp_path / "x.png").rename(_made(tmp_path / name))
    told: list[str] = []
    assert _paths(walk(tmp_path, ignored=told.append), tmp_path) == ["a.png"]
    assert [Path(path).name for path in told] == ["readme", "notes.txt"]


def _made(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path


def test_links_are_followed_but_never_back(tmp_path: Path) -> None:
    root = tmp_path / "top" / "root"
    _image(root / "a" / "1.png")
    _image(root / "b" / "2.png")
    _image(tmp_path / "elsewhere" / "3.png")
    (root / "a" / "to-b").symlink_to(root / "b")
    (root / "b" / "to-a").symlink_to(root / "a")
    (root / "b" / "to-root").symlink_to(root)
    (root / "b" / "up").symlink_to(tmp_path / "top")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "self").symlink_to(root / "self")
    found = list(walk(root))
    assert _paths(iter(found), root) == ["a/1.png", "a/to-b/2.png", "c/3.png"]
    (knot,) = (one for one in found if isinstance(one, Skipped))
    assert "self" in knot.reason
    assert "symbolic link" in knot.reason


def test_pipes_and_broken_links_are_named_and_never_opened(tmp_path: Path) -> None:
    """Opening the pipe would never return."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nothing")
    _image(tmp_path / "ok.png")
    files = [*walk(tmp_path), str(tmp_path / "pipe.png")]
    *skipped, batch = read_batches(files, shape=(1, 8, 8), batch_size=9)
    assert isinstance(batch, Batch)
    assert batch.paths == (str(tmp_path / "ok.png"),)
    assert [one.reason for one in skipped if isinstance(one, Skipped)] == [
        f"expected an image in '{tmp_path}/link.png', got a broken link",
        *[f"expected an image in '{tmp_path}/pipe.png', got no regular file"] * 2,
    ]


def test_a_folder_that_cannot_be_read_is_named_and_the_walk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _image(tmp_path / "a" / "1.png")
    _image(tmp_path / "b" / "2.png")

    def refusing(path: Path) -> object:
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return os.scandir(path)

    monkeypatch.setattr(walking, "scandir", refusing)
    shut, image = walk(tmp_path)
    why = f"expected a folder of images, got '{tmp_path}/a', which cannot be read: Permission denied"
    assert shut == Skipped(f"{tmp_path}/a", why)
    assert image == f"{tmp_path}/b/2.png"


def test_a_walk_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a second branch nothing is listed before it is asked for."""
    _image(tmp_path / "a" / "b" / "1.png")
    _image(tmp_path / "z" / "2.png")
    entered: list[str] = []

    def noting(path: Path) -> object:
        entered.append(path.name)
        return os.scandir(path)

    monkeypatch.setattr(walking, "scandir", noting)
    found = walk(tmp_path)
    assert next(found) == f"{tmp_path}/a/b/1.png"
    assert entered == [tmp_path.name, "a", "b"]
    assert next(found) == f"{tmp_path}/z/2.png"


def test_a_walk_goes_deeper_than_python_recurses(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a"] * 150)
    _image(deep / "1.png")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 50)
    try:
        found = list(walk(tmp_path))
    finally:
        sys.setrecursionlimit(before)
    assert found == [str(deep / "1.png")]


def test_a_walk_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk(tmp_path / "nothing"))


def test_paths_name_files_of_any_name_and_folders(tmp_path: Path) -> None:
    odd = _image(tmp_path / "x.png").rename(tmp_path / "upload.tmp")
    _image(tmp_path / "in" / "1.png")
    found = find_images(path for path in (odd, tmp_path / "in", "a\0b"))
    assert list(itertools.islice(found, 2)) == [str(odd), f"{tmp_path}/in/1.png"]
    assert next(found) == Skipped("a\0b", "expected an image in 'a\\x00b', got embedded null byte")


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_batches_hold_every_file_in_order(tmp_path: Path, batch_size: int) -> None:
    files = [_image(tmp_path / f"{i}.png", value=10 * i) for i in range(7)]
    batches = list(read_batches(files, shape=(3, 4, 4), batch_size=batch_size))
    good = [batch for batch in batches if isinstance(batch, Batch)]
    assert [len(batch.paths) for batch in good[:-1]] == [batch_size] * (len(good) - 1)
    assert [path for batch in good for path in batch.paths] == [str(file) for file in files]
    images = torch.cat([batch.images for batch in good])
    assert images.shape == (7, 3, 4, 4)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.arange(7) * 10 / 255)
    assert {note for batch in good for notes in batch.notes for note in notes} == {
        "converted from grey to RGB",
        "resized to 4 x 4",
    }


def test_files_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    taken = []

    def forever() -> Iterator[Path]:
        for i in itertools.count():
            taken.append(i)
            yield _image(tmp_path / "one.png")

    batches = read_batches(forever(), shape=(1, 8, 8), batch_size=4)
    assert taken == []
    next(batches)
    assert taken == [0, 1, 2, 3]


def test_batches_refuse_before_they_read() -> None:
    with pytest.raises(ValueError, match="expected batch_size to be at least 1, got 0"):
        read_batches([], shape=(1, 8, 8), batch_size=0)
    with pytest.raises(ValueError, match=r"expected shape \(C, H, W\) with C = 1 or 3, got \(2, 8, 8\)"):
        read_batches([], shape=(2, 8, 8), batch_size=1)
