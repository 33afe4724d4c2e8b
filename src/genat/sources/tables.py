"""Images in tables: Parquet files, and what Hugging Face `datasets` opens. Needs the extra `data`."""
# ruff: noqa: ANN401 -- pyarrow and datasets carry no types

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genat.sources.decoding import Mode, read, reason, stack
from genat.sources.files import Size, as_pair
from genat.sources.images import Images

_Row = tuple[str, Path | bytes | None, Any, Any]
"""What an error calls the row, its encoded image, its label, its group."""


def parquet(
    path: str | Path,
    *,
    image: str = "image",
    label: str | None = "label",
    group: str | None = None,
    size: Size | None = None,
    mode: Mode = "auto",
    limit: int | None = None,
) -> Images:
    """Return the images of a Parquet file, or of all Parquet files in a folder, as Hugging Face `datasets` writes them.

    Args:
        path: a file, or a folder whose files are read in the order of their names.
        image: the column of encoded images: bytes, or a struct with a field `bytes`.
        label: the column of classes, integers or strings; None is unlabelled. Integers that the file's metadata names
            keep their value; elsewhere the different values are sorted and numbered.
        group: the column that is equal for rows `Images.split` keeps on one side, integers or strings; None is none.
        size: a side or `(H, W)` to resize to, as for `image_folder`; None expects one size.
        mode: "L", "RGB" or "auto", as for `image_folder`.
        limit: read the first rows only; None is all.

    Returns:
        Images named after the file or folder, with notes of what was converted.

    Raises:
        ValueError: where `pyarrow` is missing, a file is not Parquet, a column is absent or of another type, a label is
            missing or an image broken: one line that names it.

    Example:
        >>> parquet("missing.parquet")
        Traceback (most recent call last):
        ValueError: expected a Parquet file, got 'missing.parquet', which does not exist
    """
    root = Path(path)
    if not root.exists():
        raise ValueError(f"expected a Parquet file, got {str(path)!r}, which does not exist")
    shards = sorted(root.glob("*.parquet")) if root.is_dir() else [root]
    if not shards:
        raise ValueError(f"expected Parquet files, got {str(path)!r}, a folder without any")
    columns = _Columns(image, label, group)
    files = [_open_parquet(shard, columns) for shard in shards]
    rows = chain.from_iterable(_parquet_rows(*pair, columns) for pair in zip(files, shards, strict=True))
    names = None if label is None else _parquet_classes(files[0], shards[0], label)
    return _gather(rows, columns, names=names, size=size, mode=mode, limit=limit, name=root.stem)


def hugging_face(
    name: str,
    *,
    split: str | None = None,
    image: str = "image",
    label: str | None = "label",
    group: str | None = None,
    size: Size | None = None,
    mode: Mode = "auto",
    limit: int | None = None,
) -> Images:
    """Return the images of a Hugging Face data set: from the hub, or from a folder on disk.

    Args:
        name: a hub id such as "ylecun/mnist" (needs the network, or a cached copy), or a folder that `save_to_disk`
            wrote or `load_dataset` reads.
        split: which part, such as "train" or "test[:1000]"; None where a saved data set has no parts.
        image: the column of images.
        label: the column of classes, integers or strings, as for `parquet`; None is unlabelled.
        group: the column of what stays on one side of a split, as for `parquet`; None is none.
        size: a side or `(H, W)` to resize to, as for `image_folder`; None expects one size.
        mode: "L", "RGB" or "auto", as for `image_folder`.
        limit: read the first rows only; None is all.

    Returns:
        Images named after the data set and split, with notes of what was converted.

    Raises:
        ValueError: where `datasets` is missing, the data set cannot be reached or read, a split or column is absent, a
            label is missing or an image broken: one line that names it.

    Example:
        >>> hugging_face(str(getfixture("tmp_path")))
        Traceback (most recent call last):
        ValueError: expected a data set, got '...': The directory at ... doesn't contain any data files
    """
    library = _extra("datasets")
    table = _open_hugging_face(library, name, split)
    columns = _Columns(image, label, group)
    columns.check(table.column_names, name)
    if not isinstance(table.features[image], library.Image):
        raise ValueError(f"expected images in column {image!r} of {name!r}, got {table.features[image]}")
    encoded = table.select_columns(columns.wanted).cast_column(image, library.Image(decode=False))
    names = None if label is None else getattr(table.features[label], "names", None)
    title = Path(name).name if split is None else f"{Path(name).name} {split}"
    rows = _hugging_face_rows(encoded, name, columns)
    return _gather(rows, columns, names=names, size=size, mode=mode, limit=limit, name=title)


class _Columns(NamedTuple):
    image: str
    label: str | None
    group: str | None

    @property
    def wanted(self) -> list[str]:
        return list(dict.fromkeys(name for name in self if name is not None))

    def check(self, there: Sequence[str], where: str) -> None:
        for name in self.wanted:
            if name not in there:
                raise ValueError(f"expected a column {name!r} in {where!r}, got {', '.join(there)}")

    def row(self, where: str, content: Path | bytes | None, row: Mapping[str, Any]) -> _Row:
        label, group = (None if name is None else row[name] for name in (self.label, self.group))
        return where, content, label, group


def _gather(
    rows: Iterable[_Row],
    columns: _Columns,
    *,
    names: Sequence[str] | None,
    size: Size | None,
    mode: Mode,
    limit: int | None,
    name: str,
) -> Images:
    if limit is not None and limit < 1:
        raise ValueError(f"expected limit to be None or at least 1, got {limit}")
    pair = as_pair(size)
    pictures, values, members = [], [], []
    for where, content, value, member in islice(rows, limit):
        if content is None:
            raise ValueError(f"expected an image in {where!r}, got none")
        pictures.append(read(content, name=where, size=pair))
        values.append(value)
        members.append(member)
    if not pictures:
        raise ValueError(f"expected at least one row in {name!r}, got none")
    pixels, notes = stack(pictures, mode=mode)
    labels, classes = (None, ()) if columns.label is None else _number("label", values, names)
    groups = None if columns.group is None else _number("group", members, None)[0]
    return Images(pixels, labels=labels, classes=classes, groups=groups, name=name, notes=notes)


def _number(what: str, values: Sequence[Any], names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels or groups as indices, and their names."""
    remedy = f"pass {what}=None to do without"
    for value in values:
        if not isinstance(value, int | str):
            raise ValueError(f"expected {what}s to be integers or strings, got {value!r}: {remedy}")
        if names is not None and value not in range(len(names)):
            raise ValueError(f"expected labels from 0 to {len(names) - 1}, got {value!r}: {remedy}")
    if names is not None:
        return torch.tensor(values), tuple(names)
    different = sorted(set(values))
    index = {value: number for number, value in enumerate(different)}
    return torch.tensor([index[value] for value in values]), tuple(str(value) for value in different)


def _open_parquet(file: Path, columns: _Columns) -> Any:
    library = _extra("pyarrow.parquet")
    try:
        opened = library.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"expected a Parquet file, got {str(file)!r}: {reason(error)}") from error
    columns.check(opened.schema_arrow.names, str(file))
    kind = str(opened.schema_arrow.field(columns.image).type)
    if not any(kind == name or f"bytes: {name}" in kind for name in ("binary", "large_binary")):
        raise ValueError(f"expected encoded images in column {columns.image!r} of {str(file)!r}, got {kind}")
    return opened


def _parquet_rows(opened: Any, file: Path, columns: _Columns) -> Iterator[_Row]:
    batches = opened.iter_batches(batch_size=256, columns=columns.wanted)
    try:
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches)):
            stored = row[columns.image]
            content = stored["bytes"] if isinstance(stored, dict) else stored
            yield columns.row(f"{file}, row {number}", content, row)
    except (OSError, ValueError) as error:
        raise ValueError(f"expected a sound Parquet file, got {str(file)!r}: {reason(error)}") from error


def _parquet_classes(opened: Any, file: Path, label: str) -> Sequence[str] | None:
    """Return the label's names from the metadata that Hugging Face writes, or None where there are none."""
    stored = (opened.schema_arrow.metadata or {}).get(b"huggingface")
    if not stored:
        return None
    try:
        names = json.loads(stored)["info"]["features"].get(label, {}).get("names")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"expected metadata of 'datasets' in {str(file)!r}, got another: {reason(error)}") from None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"expected the labels' names in the metadata of {str(file)!r}, got {names!r}")
    return names


def _open_hugging_face(library: Any, name: str, split: str | None) -> Any:
    folder = Path(name)
    saved = any((folder / marker).is_file() for marker in ("state.json", "dataset_dict.json"))
    try:
        table = library.load_from_disk(name) if saved else library.load_dataset(name, split=split)
    except (OSError, ValueError, library.exceptions.DatasetsError) as error:
        raise ValueError(f"expected a data set, got {name!r}: {reason(error)}") from error
    if isinstance(table, library.DatasetDict):
        if split not in table:
            raise ValueError(f"expected a split of {name!r}, one of {', '.join(table)}, got {split!r}")
        return table[split]
    if saved and split not in (None, str(table.split)):
        raise ValueError(f"expected split {table.split} of {name!r}, the one saved there, got {split!r}")
    return table


def _hugging_face_rows(table: Any, name: str, columns: _Columns) -> Iterator[_Row]:
    for number, row in enumerate(table):
        stored = row[columns.image] or {"bytes": None, "path": None}
        content = stored["bytes"] or (stored["path"] and Path(stored["path"]))
        yield columns.row(f"{name}, row {number}", content, row)


def _extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ValueError(f"expected the package {package}, got none: pip install 'genat[data]'") from None
