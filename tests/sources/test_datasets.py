"""Digits and IDX files."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from genat.sources import datasets, digits, fashion_mnist, mnist, read_idx


def idx(shape: tuple[int, ...], values: bytes, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + values


def test_digits_are_scikit_learns_scaled_to_bytes() -> None:
    images, original = digits("all"), load_digits()
    assert images.pixels.max() == 255
    # v -> round(255 v / 16) keeps all 17 values apart: rounding to sixteenths gives them back.
    assert torch.equal((images.tensor()[:, 0] * 16).round(), torch.tensor(original.images).float())
    assert (images.tensor()[:, 0] - torch.tensor(original.images).float() / 16).abs().max() <= 0.5 / 255 + 1e-6
    assert images.labels is not None
    assert images.labels.tolist() == original.target.tolist()


def test_digits_split_once_and_for_all() -> None:
    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1198, 599)
    assert train.labels is not None
    assert test.labels is not None
    thirds = (train.labels.bincount() + test.labels.bincount()) / 3
    assert (test.labels.bincount() - thirds).abs().max() < 1
    # The first test images: a change of the split would make earlier figures incomparable.
    assert test.labels[:20].tolist() == FIRST_TEST_LABELS
    rows = {tuple(row) for row in train.pixels.flatten(1).tolist()}
    assert sum(tuple(row) in rows for row in test.pixels.flatten(1).tolist()) == 0


FIRST_TEST_LABELS = [0, 1, 3, 4, 8, 0, 1, 2, 2, 5, 8, 0, 5, 6, 0, 4, 1, 7, 3, 5]


def write_fashion(root: Path, n: int = 4, compress: bool = True) -> None:
    for prefix in ("train", "t10k"):
        images = idx((n, 3, 2), bytes(range(6 * n)))
        labels = idx((n,), bytes(range(n)))
        for name, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            if compress:
                (root / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (root / name).write_bytes(content)


@pytest.mark.parametrize("compress", [True, False])
def test_fashion_mnist_reads_idx_files(tmp_path: Path, compress: bool) -> None:
    write_fashion(tmp_path, compress=compress)
    images = fashion_mnist("test", root=tmp_path)
    assert repr(images) == "Images('Fashion-MNIST test', 4 of (1, 3, 2), 10 classes)"
    assert images.pixels.flatten().tolist() == list(range(24))
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 2, 3]


def test_mnist_reads_idx_files(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    images = mnist("test", root=tmp_path)
    assert repr(images) == "Images('MNIST test', 4 of (1, 3, 2), 10 classes)"
    assert images.classes == tuple("0123456789")
    with pytest.raises(ValueError, match="expected split train or test, got 'all'"):
        mnist("all", root=tmp_path)  # type: ignore[arg-type]


def test_the_default_folder_is_debians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion(tmp_path)
    monkeypatch.setattr(datasets, "FASHION_MNIST_FOLDER", tmp_path)
    assert len(fashion_mnist()) == 4


@pytest.mark.data
def test_the_real_fashion_mnist() -> None:
    if not datasets.FASHION_MNIST_FOLDER.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    images = fashion_mnist("test")
    assert images.pixels.shape == (10000, 1, 28, 28)
    assert images.labels is not None
    assert images.labels.bincount().tolist() == [1000] * 10


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="install Debian's package dataset-fashion-mnist, or pass") as caught:
        fashion_mnist(root=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3, 4)])
def test_idx_round_trip(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (tmp_path / "x").write_bytes(idx(shape, bytes(values.flatten().tolist())))
    read = read_idx(tmp_path / "x")
    assert torch.equal(read, values)
    assert read.dtype == torch.uint8


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x", b"", "expected an IDX file of bytes, got '.*x', which begins with ''"),
        ("x", b"\x89PNG", "which begins with '89504e47'"),
        ("x", idx((2,), b"12345678", kind=13), "which begins with '00000d01'"),
        ("x", idx((1, 1, 1, 1), b"1"), "which begins with '00000804'"),
        ("x", idx((3,), b"12"), r"expected 11 bytes for shape \(3,\) in '.*x', got 10"),
        ("x", idx((3,), b"1234"), r"expected 11 bytes for shape \(3,\) in '.*x', got 12"),
        ("x", idx((2**32 - 1,) * 3, b"1"), "expected 79228162458924105385300197391 bytes for shape"),
        ("x", idx((3, 3), b"")[:6], "got 6"),
        ("x.gz", idx((3,), b"123"), "expected an IDX file, got '.*gz': Not a gzipped file"),
        ("x.gz", gzip.compress(idx((300,), bytes(300)), mtime=0)[:-9], "got '.*gz': Compressed file ended before"),
    ],
)
def test_idx_files_that_lie_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(tmp_path / name)
    assert "\n" not in str(caught.value)


def swap(root: Path) -> None:
    write_fashion(root)
    (root / "train-images-idx3-ubyte.gz").write_bytes((root / "train-labels-idx1-ubyte.gz").read_bytes())


def shorten(root: Path) -> None:
    write_fashion(root)
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx((3,), b"\0\1\2")))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (swap, r"expected images \(N, H, W\) and labels \(N,\) in '.*', got \(4,\) and \(4,\)"),
        (shorten, r"expected one label an image, \(4,\), got \(3,\)"),
    ],
)
def test_files_that_do_not_fit_are_refused(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        fashion_mnist(root=tmp_path)


@pytest.mark.parametrize(("make", "message"), [(digits, "train, test or all"), (fashion_mnist, "train or test")])
def test_unknown_splits_are_refused(make: Callable[[str], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"expected split {message}, got 'validation'"):
        make("validation")
