"""Emoji: small colour pictures of faces, people, animals and things, from a package of npm."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from genat.sources.decoding import read, reason, stack
from genat.sources.files import Size, as_pair
from genat.sources.images import Images

EMOJI_SPLIT_SEED = 0
_TEST_SHARE = 0.15


def emoji(
    path: str | Path,
    split: Literal["train", "test", "all"] = "train",
    *,
    label: Literal["category", "subcategory"] = "subcategory",
    size: Size | None = None,
) -> Images:
    """Return the emoji of Noto, 3786 colour pictures of 64 x 64 pixels, laid on white.

    They come with the npm package `emoji-datasource-google` (`npm install emoji-datasource-google@16`), from its
    `emoji.json` and `img/google/64/*.png`. A design and its skin tones, up to 26, make one group, which no split
    parts. The set has no split of its own: here `test` is a stratified 15 % of the designs, chosen once with the seed
    `EMOJI_SPLIT_SEED`; `train` is the rest. Some flags and families are drawn alike under two designs.

    Args:
        path: the package's folder, such as node_modules/emoji-datasource-google.
        split: "train", "test", or "all" in the package's order, each design before its skin tones.
        label: what the classes are: ten of category, such as "Food & Drink", or about a hundred of subcategory, such
            as "face-smiling", "cat-face" and "person" (heads of men, women and children). Choose among them by
            `Images.only` and `Images.without`.
        size: a side or `(H, W)` to resize to, as for `image_folder`; None keeps 64.

    Returns:
        `(N, 3, H, W)` with notes of what was converted; both splits have all classes, in the order of their names.

    Raises:
        FileNotFoundError: where the folder has no `emoji.json`: one line that says where to get it.
        ValueError: where the split or label is another, the file is not the package's, or a picture is missing or
            broken: one line that names it.

    References:
        emoji-data https://github.com/iamcal/emoji-data
        Noto Emoji, Apache License 2.0 https://github.com/googlefonts/noto-emoji

    Example:
        >>> emoji("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: expected emoji.json in 'no/such/folder', got no such file: npm install
        emoji-datasource-google@16 puts it into node_modules/emoji-datasource-google
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"expected split train, test or all, got {split!r}")
    if label not in ("category", "subcategory"):
        raise ValueError(f"expected label category or subcategory, got {label!r}")
    root, pair = Path(path), as_pair(size)
    drawings = list(_drawings(root / "emoji.json"))
    if not drawings:
        raise ValueError(f"expected emoji that have a picture in {str(root)!r}, got none")
    files = [root / "img" / "google" / "64" / one.file for one in drawings]
    pixels, notes = stack([read(file, name=str(file), size=pair) for file in files], mode="RGB")
    kinds = sorted({one.kind for one in drawings})
    images = Images(
        pixels,
        labels=torch.tensor([kinds.index(one.kind) for one in drawings]),
        classes=tuple(" / ".join(kind) for kind in kinds),
        groups=torch.tensor([one.design for one in drawings]),
        name=f"emoji {split}",
        notes=notes,
    )
    if split != "all":  # by both labels, so that it is the same whichever is asked for
        train, test = images.split(_TEST_SHARE, seed=EMOJI_SPLIT_SEED)
        images = test if split == "test" else train
    names = [getattr(kind, label) for kind in kinds]
    classes = sorted(set(names))
    numbers = torch.tensor([classes.index(name) for name in names])
    return replace(images, labels=numbers[images.labels], classes=tuple(classes))


class _Kind(NamedTuple):
    category: str
    subcategory: str


class _Drawing(NamedTuple):
    file: str
    kind: _Kind
    design: int


def _drawings(index: Path) -> Iterator[_Drawing]:
    """Yield every picture that the package has, a design's own before those of its skin tones."""
    for number, entry in enumerate(_entries(index)):
        try:
            kind = _Kind(str(entry["category"]), str(entry["subcategory"]))
            for picture in (entry, *entry.get("skin_variations", {}).values()):
                if picture["has_img_google"]:
                    yield _Drawing(str(picture["image"]), kind, number)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected entries with category, subcategory, image and has_img_google in {str(index)!r}, got entry "
                f"{number} without ({reason(error)}): npm install emoji-datasource-google@16"
            ) from error


def _entries(index: Path) -> list[Any]:
    if not index.is_file():
        raise FileNotFoundError(
            f"expected emoji.json in {str(index.parent)!r}, got no such file: npm install emoji-datasource-google@16 "
            "puts it into node_modules/emoji-datasource-google"
        )
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"expected a list of emoji in {str(index)!r}, got {reason(error)}") from error
    if not isinstance(entries, list):
        raise ValueError(f"expected a list of emoji in {str(index)!r}, got {type(entries).__name__}")
    return entries
