"""Image files: a folder as a data set, one file as a batch of one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from genat.sources.decoding import MAX_PIXELS, SUFFIXES, Mode, changes_to, read, reason, stack, to_mode
from genat.sources.images import Images
from genat.sources.source import check_image_shape

Size = int | tuple[int, int]
"""One side of a square image, or `(H, W)`."""


def image_folder(path: str | Path, *, size: Size | None = None, mode: Mode = "auto") -> Images:
    """Return a folder's images: all in the folder itself, or each in its class's sub-folder.

    PNG, JPEG, WebP, BMP, GIF and TIFF are read, the first frame of each. Palettes and CMYK become RGB, 16 bits become
    8, transparency is laid on white, pictures are turned upright as their EXIF data asks; `notes` counts every such
    conversion, and the files ignored because their names do not end as an image's do. Hidden files, deeper folders and
    links back to an enclosing folder are not entered.

    Args:
        path: the folder.
        size: a side or `(H, W)`: images of another size are resized by their shorter side and cut to the middle,
            antialiased; None expects them all to have one size.
        mode: "L" for one channel, "RGB" for three, "auto" for one if every image is grey.

    Returns:
        Images named after the folder, in the order of their names; labelled by the sorted names of the sub-folders if
        there are any.

    Raises:
        ValueError: one line that names the folder, or the file that is broken, and says why.

    Example:
        >>> image_folder("no/such/folder")
        Traceback (most recent call last):
        ValueError: expected a folder of images, got 'no/such/folder', which does not exist
    """
    pair, root = as_pair(size), Path(path)
    found = _survey(root)
    pictures = [read(file, name=str(file), size=pair) for file in found.files]
    pixels, notes = stack(pictures, mode=mode)
    labels = torch.tensor(found.labels) if found.classes else None
    return Images(
        pixels, labels=labels, classes=found.classes, name=_text(root.resolve().name), notes=notes + found.notes
    )


def load_image(path: str | Path, *, shape: tuple[int, ...]) -> tuple[Tensor, tuple[str, ...]]:
    """Return one file as a batch of one in the shape that a detector takes, and what was converted.

    Args:
        path: an image file; its content decides the format, not its name.
        shape: `(C, H, W)` with C = 1 (grey) or 3 (RGB); resized and cut as by `image_folder`.

    Returns:
        `(1, C, H, W)` float32 in [0, 1], and phrases such as "converted from palette to RGB".

    Raises:
        ValueError: where the shape is another, or the file is no image or broken: one line with its name.

    Example:
        >>> load_image("missing.png", shape=(1, 28, 28))
        Traceback (most recent call last):
        ValueError: expected an image in 'missing.png', got No such file or directory
    """
    pixels, notes = fit_image(Path(path), name=str(path), shape=shape)
    return pixels[None].float() / 255, notes


def fit_image(
    content: Path | bytes, *, name: str, shape: tuple[int, ...], max_pixels: int = MAX_PIXELS
) -> tuple[Tensor, tuple[str, ...]]:
    """Return a file, or the bytes of one, in the shape that a detector takes, as bytes, and what was converted.

    Args:
        content: a path, or a whole file's bytes.
        name: what an error calls it.
        shape: as for `load_image`.
        max_pixels: the most that are decoded.

    Returns:
        `(C, H, W)` uint8, and phrases as of `load_image`.

    Raises:
        ValueError: as `load_image`, or where it has more than `max_pixels`.

    Example:
        >>> fit_image(b"", name="upload 3", shape=(1, 28, 28))
        Traceback (most recent call last):
        ValueError: expected an image in 'upload 3', got no PNG, JPEG, WEBP, BMP, GIF, TIFF
    """
    check_image_shape(shape)
    channels, height, width = shape
    picture = read(content, name=name, size=(height, width), max_pixels=max_pixels)
    mode: Literal["L", "RGB"] = "L" if channels == 1 else "RGB"
    return to_mode(picture.pixels, mode), changes_to(picture, mode=mode)


def as_pair(size: Size | None) -> tuple[int, int] | None:
    """Return `(H, W)` of a size.

    Raises:
        ValueError: where a side is below 1.

    Example:
        >>> as_pair(28)
        (28, 28)
    """
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"expected size to be at least 1 pixel, got {size}")
    return height, width


class _Found(NamedTuple):
    files: list[Path]
    labels: list[int]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


class _Listing(NamedTuple):
    images: list[Path]
    folders: list[Path]
    others: int


def _survey(root: Path) -> _Found:
    top = _list(root)
    enclosing = {root.resolve(), *root.resolve().parents}
    below = {folder.name: _list(folder) for folder in top.folders if folder.resolve() not in enclosing}
    classes = {_text(name): listing.images for name, listing in below.items() if listing.images}
    if top.images and classes:
        raise _refusal(root, f"which holds images beside folders of images ({', '.join(classes)}): move either away")
    files = top.images or [file for images in classes.values() for file in images]
    others = top.others + sum(listing.others for listing in below.values())
    if len(files) < 2:
        beside = f" beside {others} of another kind" if others else ""
        raise _refusal(root, f"which holds {len(files)} images of at least 2{beside}")
    labels = [label for label, images in enumerate(classes.values()) for _ in images]
    return _Found(files, labels, tuple(classes), tuple(_ignored(top, below, others)))


def _ignored(top: _Listing, below: dict[str, _Listing], others: int) -> Iterator[str]:
    if others:
        yield f"files ignored, not named as images: {others}"
    empty = len(top.folders) - sum(bool(listing.images) for listing in below.values())
    if empty:
        yield f"folders ignored, without images of their own: {empty}"


def _list(folder: Path) -> _Listing:
    """Return a folder's visible entries, sorted by name."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        folders = {entry for entry in entries if entry.is_dir()}
    except FileNotFoundError:
        raise _refusal(folder, "which does not exist") from None
    except NotADirectoryError:
        raise _refusal(folder, "which is a file") from None
    except OSError as error:
        raise _refusal(folder, f"which cannot be read: {reason(error)}") from error
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry not in folders]
    for image in images:
        if not image.is_file():  # opening a pipe would wait for ever
            raise ValueError(f"expected an image in {str(image)!r}, got a broken link or no regular file")
    return _Listing(images, sorted(folders), len(entries) - len(folders) - len(images))


def _text(name: str) -> str:
    """Return a file's name as text that can be written anywhere, bytes that are no UTF-8 as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _refusal(folder: Path, why: str) -> ValueError:
    return ValueError(f"expected a folder of images, got {str(folder)!r}, {why}")
