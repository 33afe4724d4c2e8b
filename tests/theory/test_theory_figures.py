"""The documentation's numbers: what measures them, how they are shown, and the command."""

import json
import sys
from pathlib import Path

import pytest

from genat.theory import __main__ as command
from genat.theory import figures
from genat.theory.flows import Vector
from genat.theory.games import Game
from genat.theory.steps import SETTINGS, Setting, play_on_line


def play_on_line_briefly(radii: list[float], *, rounds: int, level: float) -> tuple[Game, Vector]:
    return play_on_line(radii[-1:], rounds=rounds // 100, level=level)


def test_all_is_measured_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but what takes long, which is tested elsewhere."""
    output = tmp_path / "new" / "games.json"
    monkeypatch.setattr(figures, "SETTINGS", {"short": Setting(0)})
    monkeypatch.setattr(figures, "_ROUNDS", (3, 5, 7))
    monkeypatch.setattr(figures, "play_on_line", play_on_line_briefly)
    monkeypatch.setattr(sys, "argv", ["theory", "--games", "4", "--seed", "1", "--output", str(output)])
    command.main()
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["made"]["made_by"].startswith("python -m genat.theory --games 4 --seed 1")
    tables = {name: figures.table(rows) for name, rows in found.items() if isinstance(rows, list)}
    assert sorted(tables) == ["games", "gradients", "leaders", "lessons", "line", "rates", "replies"]
    for columns, rows in tables.values():
        assert {len(row) for row in rows} == {len(columns)}
        assert all(cell for row in rows for cell in row)
    assert [row[0] for row in tables["games"][1]] == ["free", "everywhere", "unmoved", "within reach"]
    out = capsys.readouterr().out
    assert "duality gap" in out
    assert "the present play | adversary | ∞" in out


def test_too_few_games_get_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["theory", "--games", "3"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "python -m genat.theory: expected games to be at least 4, got 3\n"


def test_the_documentation_names_every_setting() -> None:
    page = Path(__file__).parents[2] / "docs" / "theory.md"
    text = page.read_text(encoding="utf-8")
    for name in SETTINGS:
        assert name in text
