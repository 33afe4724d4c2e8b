"""The way through the house, and the bars it has to clear."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def _figures(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """What an evaluation holds, in small."""
    row = {
        "family": "noise", "seen": False, "n_inside": 5, "n_outside": 6, "radius": None, "norm": None, "auroc": 1.0,
        "low": 0.5, "high": 1.0, "fpr95": 0.0, "evaluations": 0, "doubled": None,
    }  # fmt: skip
    made: dict[str, Any] = {"classifier_accuracy": 0.9, "level": 0.9, "confident": 0.8, "n": 10, "smallest": 0.1}
    by = dict.fromkeys(("made_by", "commit", "hardware", "threads", "torch", "date"), "x")
    figures = {"detection": [row], "baseline": [row], "outside_of_training": ["photographs"]}
    return figures | {"generation": made, "made": by} | changes


def _close(value: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    sets = {
        name: {"d": {"value": factor * value, "error": 1.0}, "precision": factor / 4, "k": 5}
        for name, factor in (("samples", 1.0), ("starts", 4.0), ("floor", 0.5))
    }
    near = {"ratio": {"value": value / 2, "error": 0.1}}
    common = {"features": "f", "n": 7, "dimension": 3, "distances": ["d"], "of_starts": {"d": value / 8}}
    return common | sets | {"memorisation": {"pixels": near, "features": near}} | more


def test_the_documentation_shows_how_close_the_samples_come() -> None:
    path = Path(__file__).parents[1] / "docs" / "figures.py"
    block = runpy.run_path(str(path))["evaluation_block"]
    found = [_figures(fidelity=_close(value)) for value in (1.0, 3.0)]
    lines = block(found).splitlines()
    assert lines[0].endswith("0.800 ± 0.000 of 10 samples; the rarest class makes up 0.100 ± 0.000 of them.")
    for one in found:
        one["generation"] |= {"confident_real": 0.95}
    assert "of 10 samples, and of 0.950 ± 0.000 of real ones; the rarest" in block(found)
    assert lines[2:9] == [
        "|  | samples | starts | real | samples / starts |",
        "|---|---|---|---|---|",
        "| d | 2 ± 1.41 | 8 ± 5.66 | 1 ± 0.707 | 0.250 ± 0.177 |",
        "| precision | 0.25 ± 0 | 1 ± 0 | 0.125 ± 0 |  |",
        "| nearest training image, pixels | 1.00 ± 0.71 |  |  |  |",
        "| nearest training image, features | 1.00 ± 0.71 |  |  |  |",
        "",
    ]
    assert "GAN" not in block(found)
    gan = {"samples": {"d": {"value": 5.0, "error": 1.0}, "precision": 0.0}}
    beside = block([_figures(fidelity=_close(value, gan=gan)) for value in (1.0, 3.0)])
    assert "| d | 2 ± 1.41 | 8 ± 5.66 | 5 ± 0 | 1 ± 0.707 | 0.250 ± 0.177 |" in beside
    assert "GAN is a DCGAN" in beside
    alone = block(found[:1])
    assert "| d | 1 | 4 | 0.5 | 0.125 |" in alone
    assert "of one training" in alone
    unlabelled = _figures(fidelity=_close(1.0))
    unlabelled["generation"]["classifier_accuracy"] = None
    assert block([unlabelled]).startswith("|  | samples | starts | real | samples / starts |")
    assert "±" not in alone


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
