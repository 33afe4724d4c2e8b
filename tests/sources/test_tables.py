"""Parquet files and Hugging Face data sets, offline."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genat.sources import hugging_face, parquet

library = pytest.importorskip("datasets", reason="needs the extra data")
pa = pytest.importorskip("pyarrow", reason="needs the extra data")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra data")

SHARED = Path(__file__).parents[2] / "../shared/data"
NOISE = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def table(**columns: list[Any]) -> Any:  # noqa: ANN401
    return pa.table({"image": [{"bytes": png(array), "path": None} for array in NOISE], **columns})


def write(path: Path, **columns: list[Any]) -> Path:
    pq.write_table(table(**columns), path, row_group_size=2)
    return path


def data_set(labels: list[Any] | None = None, feature: object = None) -> Any:  # noqa: ANN401
    columns: dict[str, Any] = {"image": [Image.fromarray(array) for array in NOISE]}
    features: dict[str, Any] = {"image": library.Image()}
    if labels is not None:
        columns["label"], features["label"] = labels, feature or library.Value("int64")
    return library.Dataset.from_dict(columns, features=library.Features(features))


EXPECTED = torch.from_numpy(NOISE.transpose(0, 3, 1, 2).copy())


def test_parquet_with_integer_labels(tmp_path: Path) -> None:
    images = parquet(write(tmp_path / "few.parquet", label=[7, 3, 3, 7, 7, 10]))
    assert repr(images) == "Images('few', 6 of (3, 4, 5), 3 classes)"
    assert torch.equal(images.pixels, EXPECTED)
    assert images.classes == ("3", "7", "10")
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 0, 1, 1, 2]


def test_parquet_with_string_labels_and_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", kind=list("bacabc"), weight=[1.0] * 6)
    images = parquet(tmp_path / "x.parquet", label="kind")
    assert images.classes == ("a", "b", "c")
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 2, 0, 1, 2]


def test_parquet_as_hugging_face_writes_it_keeps_class_names(tmp_path: Path) -> None:
    names = ["cat", "dog", "eel"]
    data_set([2, 0, 0, 2, 0, 2], library.ClassLabel(names=names)).to_parquet(tmp_path / "pets.parquet")
    images = parquet(tmp_path / "pets.parquet")
    assert images.classes == tuple(names)
    assert images.labels is not None
    assert images.labels.tolist() == [2, 0, 0, 2, 0, 2]
    assert torch.equal(images.pixels, EXPECTED)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.large_binary())])])
def test_parquet_of_other_columns_without_labels(kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    contents = [png(array) for array in NOISE]
    rows = [{"bytes": content} for content in contents] if "struct" in str(kind) else contents
    pq.write_table(pa.table({"png": pa.array(rows, type=kind)}), tmp_path / "x.parquet")
    images = parquet(tmp_path / "x.parquet", image="png", label=None, size=3, mode="L")
    assert images.shape == (1, 3, 3)
    assert images.labels is None
    assert images.notes == (
        "6 of 6 images converted from RGB to grey",
        "6 of 6 images resized to 3 x 3",
    )


def test_a_folder_of_shards_is_read_in_order_and_the_limit_kept(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.parquet", label=[name] * 6)
    assert parquet(tmp_path).labels is not None
    assert len(parquet(tmp_path)) == 12
    some = parquet(tmp_path, limit=7)
    assert some.labels is not None
    assert some.labels.tolist() == [0] * 6 + [1]


def test_rows_beyond_the_limit_are_not_decoded(tmp_path: Path) -> None:
    rows = [{"bytes": content, "path": None} for content in (png(NOISE[0]), png(NOISE[1]), b"broken")]
    pq.write_table(pa.table({"image": rows}), tmp_path / "x.parquet")
    assert len(parquet(tmp_path / "x.parquet", label=None, limit=2)) == 2
    with pytest.raises(ValueError, match=r"expected an image in '.*x\.parquet, row 2', got no PNG"):
        parquet(tmp_path / "x.parquet", label=None)


def damaged(path: Path) -> Path:
    content = bytearray(write(path, label=[0] * 6).read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: p, {}, r"expected a Parquet file, got '.*x\.parquet', which does not exist"),
        (lambda p: p.parent, {}, "expected Parquet files, got '.*', a folder without any"),
        (lambda p: p.write_bytes(b"nothing of the kind") and p, {}, r"expected a Parquet file, got '.*x\.parquet': "),
        (lambda p: write(p, a=[1] * 6), {}, "expected a column 'label' in '.*', got image, a"),
        (lambda p: write(p, a=[1] * 6), {"image": "img"}, "expected a column 'img' in '.*', got image, a"),
        (
            lambda p: write(p, label=[1] * 6),
            {"image": "label"},
            "expected encoded images in column 'label' of",
        ),
        (
            lambda p: write(p, label=[1.5] * 6),
            {},
            "expected labels to be integers or strings, got 1.5: pass label",
        ),
        (lambda p: write(p, label=[1] * 5 + [None]), {}, "expected labels to be integers or strings, got None"),
        (lambda p: write(p, label=[[1]] * 6), {}, r"expected labels to be integers or strings, got \[1\]"),
        (lambda p: write(p, label=[1] * 6), {"limit": 0}, "expected limit to be None or at least 1, got 0"),
        (lambda p: write(p, label=[1] * 6), {"size": 0}, "expected size to be at least 1 pixel, got 0"),
        (damaged, {}, r"expected (a sound Parquet file|an image)"),
    ],
)
def test_parquet_refusals(make: Callable[[Path], Path], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = make(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=message) as caught:
        parquet(path, **options)
    assert "\n" not in str(caught.value)


def test_parquet_without_rows_or_bytes_is_refused(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": "elsewhere.png"}, None]
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    pq.write_table(pa.table({"image": rows}, schema=schema), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"expected an image in '.*x\.parquet, row 0', got none"):
        parquet(tmp_path / "x.parquet", label=None)
    pq.write_table(table().slice(0, 0), tmp_path / "y.parquet")
    with pytest.raises(ValueError, match="expected at least one row in 'y', got none"):
        parquet(tmp_path / "y.parquet", label=None)


def test_labels_outside_the_named_classes_are_refused(tmp_path: Path) -> None:
    data_set([0, 1, 0, 1, 0, -1], library.ClassLabel(names=["a", "b"])).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="expected labels from 0 to 1, got -1: pass label=None to do without"):
        parquet(tmp_path / "x.parquet")
    assert len(parquet(tmp_path / "x.parquet", label=None)) == 6


@pytest.mark.parametrize(
    "metadata",
    [
        *(b"{", b"\xff", b"[]", b"{}", b'{"info": 3}', b'{"info": {"features": []}}', b"[" * 100_000),
        b'{"info": {"features": {"label": 3}}}',
        b'{"info": {"features": {"label": {"names": [1, 2]}}}}',
    ],
)
def test_metadata_that_lies_is_refused_by_name(metadata: bytes, tmp_path: Path) -> None:
    told = table(label=[0, 1] * 3).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(told, tmp_path / "x.parquet")
    with pytest.raises(
        ValueError, match=r"metadata of .*x\.parquet|metadata of 'datasets' in '.*x\.parquet'"
    ) as caught:
        parquet(tmp_path / "x.parquet")
    assert "\n" not in str(caught.value)
    assert len(parquet(tmp_path / "x.parquet", label=None)) == 6


@pytest.mark.parametrize(("module", "package"), [("pyarrow.parquet", "pyarrow"), ("datasets", "datasets")])
def test_a_missing_package_names_the_extra(
    module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.parquet", label=[0] * 6)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"expected the package {package}, got none: pip install 'genat\[data\]'"):
        parquet(path) if package == "pyarrow" else hugging_face(str(path))


def test_hugging_face_reads_what_save_to_disk_wrote(tmp_path: Path) -> None:
    data_set([1, 0, 1, 0, 1, 1], library.ClassLabel(names=["cat", "dog"])).save_to_disk(tmp_path / "pets")
    images = hugging_face(str(tmp_path / "pets"))
    assert repr(images) == "Images('pets', 6 of (3, 4, 5), 2 classes)"
    assert torch.equal(images.pixels, EXPECTED)
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 1, 0, 1, 1]
    assert len(hugging_face(str(tmp_path / "pets"), limit=2, size=3)) == 2


def test_hugging_face_picks_a_split(tmp_path: Path) -> None:
    both = library.DatasetDict({"train": data_set(), "test": data_set().select([4, 2])})
    both.save_to_disk(tmp_path / "both")
    images = hugging_face(str(tmp_path / "both"), split="test", label=None)
    assert images.name == "both test"
    assert torch.equal(images.pixels, EXPECTED[[4, 2]])
    with pytest.raises(ValueError, match=r"expected a split of '.*both', one of train, test, got None"):
        hugging_face(str(tmp_path / "both"))
    with pytest.raises(ValueError, match="one of train, test, got 'validation'"):
        hugging_face(str(tmp_path / "both"), split="validation")


def test_hugging_face_refuses_a_split_that_is_not_the_saved_one(tmp_path: Path) -> None:
    saved = data_set()
    saved.save_to_disk(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"expected split None of '.*whole', the one saved there, got 'train'"):
        hugging_face(str(tmp_path / "whole"), split="train", label=None)


def test_hugging_face_checks_columns(tmp_path: Path) -> None:
    data_set([0] * 6).save_to_disk(tmp_path / "x")
    with pytest.raises(ValueError, match=r"expected a column 'kind' in '.*x', got image, label"):
        hugging_face(str(tmp_path / "x"), label="kind")
    with pytest.raises(ValueError, match=r"expected images in column 'label' of '.*x', got Value"):
        hugging_face(str(tmp_path / "x"), image="label", label=None)


def test_hugging_face_reads_images_by_path(tmp_path: Path) -> None:
    Image.fromarray(NOISE[0]).save(tmp_path / "a.png")
    rows = {"image": [str(tmp_path / "a.png"), None]}
    features = library.Features({"image": library.Image()})
    library.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "x")
    assert torch.equal(hugging_face(str(tmp_path / "x"), label=None, limit=1).pixels, EXPECTED[:1])
    with pytest.raises(ValueError, match=r"expected an image in '.*x, row 1', got none"):
        hugging_face(str(tmp_path / "x"), label=None)


def test_hugging_face_offline_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="expected a data set, got 'ylecun/mnist': Couldn't reach") as caught:
        hugging_face("ylecun/mnist", split="train")
    assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("cifar10", (3, 32, 32), ("airplane", 10)), ("emoji", (3, 64, 64), ("Activities", 10))],
)
def test_real_parquet_files(name: str, shape: tuple[int, ...], classes: tuple[str, int]) -> None:
    path = SHARED / name / "test.parquet"
    if not path.is_file():
        pytest.skip(f"{name} is not among the shared data")
    images = parquet(path, limit=300)
    assert images.pixels.shape == (300, *shape)
    assert (images.classes[0], len(images.classes)) == classes
    assert images.labels is not None
    assert len(torch.unique(images.labels)) > 5
    assert images.pixels.float().std() > 30
