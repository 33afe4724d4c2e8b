"""`genat reproduce`: a preset trained where it has not been, and measured as the paper measures it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genat import runs
from genat.evaluation import benchmark as module
from genat.evaluation.benchmark import Scale


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCALES", {"full": Scale(n=6, steps=2, restarts=2, queries=1)})


def reproduce(run_cli: Callable[..., Any], preset: Path, folder: Path, *more: object) -> Any:  # noqa: ANN401
    return run_cli("reproduce", "ood", preset, *more, "--run", folder, "--family", "inverted", "--json")


def test_it_trains_measures_and_does_neither_twice(
    tiny_yaml: Path, tmp_path: Path, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = reproduce(run_cli, tiny_yaml, tmp_path / "run")
    assert ended.code == 0
    figures = json.loads(ended.out)
    assert [(one["score"], one["family"], one["radius"]) for one in figures["rows"]] == [
        ("genat", "inverted", None),
        ("genat", "inverted", 1.0),
    ]
    assert figures["peers"] == {}
    assert Path(figures["report"]).is_file()
    monkeypatch.setattr(runs, "train", None)
    monkeypatch.setattr(module, "worst_case", None)
    again = json.loads(reproduce(run_cli, tiny_yaml, tmp_path / "run").out)
    assert again["rows"] == figures["rows"]


def test_a_training_that_was_cut_off_goes_on(
    tiny_yaml: Path, trained_once: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    folder = tmp_path / "run"
    whole = runs.load(trained_once)
    with pytest.raises(KeyboardInterrupt):
        runs.train(whole.config, folder, callback=lambda step: _stop_at(25, step.iteration))
    ended = reproduce(run_cli, tiny_yaml, folder)
    assert ended.code == 0
    assert "resumed after step 20" in ended.err
    for one, other in zip(runs.load(folder).detector.parameters(), whole.detector.parameters(), strict=True):
        assert (one == other).all()


def _stop_at(last: int, iteration: int) -> None:
    if iteration == last:
        raise KeyboardInterrupt


def test_large_images_are_attacked_farther(
    tiny_yaml: Path, tmp_path: Path, run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def measure(_: runs.Run, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        asked.update(options)
        raise ValueError("far enough")

    monkeypatch.setattr(module, "benchmark", measure)
    monkeypatch.setattr("genat.cli.reproducing._SMALL", 4)
    ended = reproduce(run_cli, tiny_yaml, tmp_path / "run")
    assert ended.err.strip().endswith("genat: far enough")
    assert [ball.radius for ball in asked["balls"]] == [7.0]


def test_a_run_of_another_configuration_is_refused(
    tiny_yaml: Path, tiny_run: Path, run_cli: Callable[..., Any]
) -> None:
    ended = reproduce(run_cli, tiny_yaml, tiny_run, "batch_size=17")
    assert ended.code == 2
    message = f"genat: {tiny_run}: expected a run of tiny as configured, got one of another configuration"
    assert ended.err.strip() == message
