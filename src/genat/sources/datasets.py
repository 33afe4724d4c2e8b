"""Data sets by name, from files that other packages install or a person has: digits, Fashion-MNIST and MNIST."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from genat.sources.decoding import reason
from genat.sources.images import Images

DIGITS_SPLIT_SEED = 0
FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_FASHION_WHERE = (
    "install Debian's package dataset-fashion-mnist, or pass root= the folder of the files from "
    "https://github.com/zalandoresearch/fashion-mnist"
)
_MNIST_WHERE = "pass the folder of the four IDX files, such as those of https://ossci-datasets.s3.amazonaws.com/mnist"


def digits(split: Literal["train", "test", "all"] = "train") -> Images:
    """Return scikit-learn's 1797 handwritten digits of 8 x 8 pixels, grey.

    The set has no split of its own. Here `test` is a stratified third, 599 images, chosen once with the seed
    `DIGITS_SPLIT_SEED`; `train` is the rest, 1198 images. The 13 writers are on both sides.

    Args:
        split: "train", "test", or "all" in the original order.

    Returns:
        `(N, 1, 8, 8)`; a value v of 0..16 is stored as round(255 v / 16). Classes "0" to "9".

    Raises:
        ValueError: where the split is another.

    References:
        Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998) https://doi.org/10.24432/C50P49

    Example:
        >>> digits("test")
        Images('digits test', 599 of (1, 8, 8), 10 classes)
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"expected split train, test or all, got {split!r}")
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = torch.from_numpy(np.rint(data.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(data.target.astype(np.int64))
    images = Images(pixels, labels=labels, classes=tuple("0123456789"), name=f"digits {split}")
    if split == "all":
        return images
    train, test = images.split(1 / 3, seed=DIGITS_SPLIT_SEED)
    return test if split == "test" else train


def fashion_mnist(split: Literal["train", "test"] = "train", *, root: str | Path | None = None) -> Images:
    """Return Fashion-MNIST, 60000 + 10000 grey images of 28 x 28 pixels, from IDX files.

    Args:
        split: "train" or "test".
        root: the folder of the four IDX files, compressed or not; None is `FASHION_MNIST_FOLDER`, where Debian's
            package `dataset-fashion-mnist` puts them.

    Returns:
        `(N, 1, 28, 28)`, with its ten classes.

    Raises:
        FileNotFoundError: where a file is missing: one line that says where to get it.
        ValueError: where the split is another or a file is not as its header says.

    References:
        Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao, Rasul and Vollgraf,
        2017) https://arxiv.org/abs/1708.07747

    Example:
        >>> fashion_mnist(root="no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: expected train-images-idx3-ubyte.gz in 'no/such/folder', got no such file: install Debian's
        package dataset-fashion-mnist, or pass root= the folder of the files from
        https://github.com/zalandoresearch/fashion-mnist
    """
    folder = FASHION_MNIST_FOLDER if root is None else Path(root)
    return _idx_set("Fashion-MNIST", folder, split, classes=FASHION_MNIST_CLASSES, where=_FASHION_WHERE)


def mnist(split: Literal["train", "test"] = "train", *, root: str | Path) -> Images:
    """Return MNIST, 60000 + 10000 grey handwritten digits of 28 x 28 pixels, from IDX files.

    Args:
        split: "train" or "test".
        root: the folder of the four IDX files, compressed or not.

    Returns:
        `(N, 1, 28, 28)`; classes "0" to "9".

    Raises:
        FileNotFoundError: where a file is missing: one line that says where to get it.
        ValueError: where the split is another or a file is not as its header says.

    References:
        Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio, Haffner, 1998)

    Example:
        >>> mnist(root="no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: expected train-images-idx3-ubyte.gz in 'no/such/folder', got no such file: pass the folder of
        the four IDX files, such as those of https://ossci-datasets.s3.amazonaws.com/mnist
    """
    return _idx_set("MNIST", Path(root), split, classes=tuple("0123456789"), where=_MNIST_WHERE)


def _idx_set(
    name: str, folder: Path, split: Literal["train", "test"], *, classes: tuple[str, ...], where: str
) -> Images:
    if split not in ("train", "test"):
        raise ValueError(f"expected split train or test, got {split!r}")
    prefix = "train" if split == "train" else "t10k"
    pixels = read_idx(_idx_file(folder, f"{prefix}-images-idx3-ubyte", where))
    labels = read_idx(_idx_file(folder, f"{prefix}-labels-idx1-ubyte", where))
    if pixels.ndim != 3 or labels.ndim != 1:
        shapes = f"{tuple(pixels.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected images (N, H, W) and labels (N,) in {str(folder)!r}, got {shapes}")
    return Images(pixels.unsqueeze(1), labels=labels.long(), classes=classes, name=f"{name} {split}")


def read_idx(path: str | Path) -> Tensor:
    """Return the bytes of an IDX file, the format of MNIST, in the shape that its header gives.

    Args:
        path: the file, gzip-compressed if its name ends in .gz.

    Returns:
        uint8, of one to three dimensions.

    Raises:
        ValueError: where it is no IDX file of unsigned bytes, or holds more or fewer bytes than its header says.

    References:
        The MNIST database of handwritten digits (LeCun, Cortes and Burges, 1998) http://yann.lecun.com/exdb/mnist/

    Example:
        >>> path = getfixture("tmp_path") / "numbers-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
        >>> read_idx(path)
        tensor([7, 8, 9], dtype=torch.uint8)
    """
    file = Path(path)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"expected an IDX file, got {str(file)!r}: {reason(error)}") from error
    magic = content[:4]
    if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 3:
        raise ValueError(f"expected an IDX file of bytes, got {str(file)!r}, which begins with {magic.hex()!r}")
    start = 4 + 4 * magic[3]
    shape = tuple(int.from_bytes(content[i : i + 4]) for i in range(4, start, 4))
    size = start + math.prod(shape)
    if len(content) != size:
        raise ValueError(f"expected {size} bytes for shape {shape} in {str(file)!r}, got {len(content)}")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def _idx_file(folder: Path, name: str, where: str) -> Path:
    for file in (folder / f"{name}.gz", folder / name):
        if file.is_file():
            return file
    raise FileNotFoundError(f"expected {name}.gz in {str(folder)!r}, got no such file: {where}")
