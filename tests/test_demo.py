"""The way through the house, and the bars it has to clear."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genat import config, runs
from genat.demo import demo
from genat.evaluation import protocol

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tiny_yaml: Path) -> None:
    """Let the preset be the tiny configuration."""
    load = config.load

    def tiny(source: str | Path, overrides: list[str] | None = None) -> config.Config:
        return load(tiny_yaml if source == "digits" else source, overrides or [])

    monkeypatch.setattr(config, "load", tiny)


@pytest.mark.usefixtures("small")
def test_an_earlier_demo_is_replaced_whatever_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "evaluate", lambda _, *, command, **__: {"command": command})
    said: list[str] = []
    first, page = demo(tmp_path / "run", seed=3, command="genat demo --seed 3", say=said.append)
    assert page == tmp_path / "run" / "report.html"
    assert first["command"] == "genat demo --seed 3"
    assert any(line.startswith("digest ") for line in said)
    (tmp_path / "run" / "left over").write_text("of the first", encoding="utf-8")
    demo(tmp_path / "run", seed=4)
    assert not (tmp_path / "run" / "left over").exists()
    assert runs.load(tmp_path / "run").config.seed == 4


@pytest.mark.usefixtures("small")
def test_a_training_of_ones_own_is_not_replaced(tmp_path: Path) -> None:
    own = tmp_path / "config.yaml"
    own.write_text(config.dump(config.load("digits", ["iterations=99"])), encoding="utf-8")
    with pytest.raises(ValueError, match="expected an earlier demo or nothing, got something else"):
        demo(tmp_path)
    assert list(tmp_path.iterdir()) == [own]


@pytest.mark.slow
def test_the_demo_clears_its_bars_and_the_readme_runs_after_it(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("demo", "--json")
    assert code == 0
    assert "digest " in err
    figures = json.loads(out)
    made = figures["generation"]
    assert made["confident"] >= 0.8
    assert made["smallest"] >= 0.03
    assert made["classifier_accuracy"] >= 0.97
    assert made["kernel_distance"]["samples"] < 0.25 * made["kernel_distance"]["starts"]
    clean = {row["family"]: row["auroc"] for row in figures["detection"] if row["radius"] is None}
    assert min(clean["uniform noise"], clean["dead leaves"]) >= 0.99
    assert min(clean["inverted"], clean["shuffled patches"]) >= 0.95
    attacked = 0
    for row, plain in zip(figures["detection"], figures["baseline"], strict=True):
        assert row["n_inside"] == 599
        assert row["n_outside"] >= 100
        assert 0 <= row["low"] <= row["auroc"] <= row["high"] <= 1
        assert (row["family"], row["radius"]) == (plain["family"], plain["radius"])
        if row["radius"] is not None:
            attacked += 1
            assert row["evaluations"] > 0
            assert row["doubled"] is not None
            assert row["auroc"] > plain["auroc"]
    assert attacked == 8
    assert Path(figures["report"]).is_file()
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(block, {})
    assert capsys.readouterr().out == f"{torch.tensor([False] * 4)} {torch.tensor([True] * 4)}\n"
