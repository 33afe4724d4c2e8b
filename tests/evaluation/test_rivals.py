"""Classifiers beside a run: on its data, for no more passes, trained once."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from genat import assemble, config, runs
from genat.balls import L2Ball, LinfBall
from genat.baselines.exposure import EXPOSURES, Exposure, within
from genat.evaluation import peer, rivals
from genat.evaluation.rivals import rival
from genat.sources import Images


@pytest.fixture
def run(tiny_run: Path) -> runs.Run:
    return runs.load(tiny_run)


@pytest.fixture
def data(run: runs.Run) -> assemble.Data:
    return assemble.target(run.config)


def test_it_is_trained_once_for_no_more_passes_than_the_run(
    run: runs.Run, data: assemble.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for name, how in EXPOSURES.items():
        made = rival(run, data, name, say=said.append).made
        spent = peer.passes(run)
        assert spent - 64 * how.each < made["passes"] <= spent == made["passes_of_run"]
        assert made["passes"] == made["iterations"] * 64 * how.each
        assert 0 <= made["validation_accuracy"] <= 1
        assert made["exposure"]["weight"] == how.weight
    assert {line.partition(":")[0] for line in said} == set(EXPOSURES)
    first = rival(run, data, "ratio")
    monkeypatch.setattr(rivals, "train_exposed", None)
    again = rival(run, data, "ratio")
    assert again.made == first.made
    for one, other in zip(first.classifier.parameters(), again.classifier.parameters(), strict=True):
        assert torch.equal(one, other)


def test_its_network_is_the_runs_with_a_logit_a_class(run: runs.Run, data: assemble.Data) -> None:
    made = rival(run, data, "plain")
    assert made.classifier(data.train.tensor()[:3]).shape == (3, 10)
    assert not made.classifier.training
    widths = [len(layer.weight) for layer in made.classifier.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [32, 10]


@pytest.mark.parametrize("ball", [L2Ball(0.5), LinfBall(0.1)], ids=str)
def test_it_is_trained_as_told(
    run: runs.Run, data: assemble.Data, monkeypatch: pytest.MonkeyPatch, ball: L2Ball | LinfBall
) -> None:
    ways = within(ball, steps=2)
    words = f"{type(ball).__name__}({ball.radius})"
    made = {name: rival(run, data, name, how=how).made for name, how in ways.items()}
    for name, how in ways.items():
        assert made[name]["passes"] == made[name]["iterations"] * 64 * how.each
        assert made[name]["exposure"]["inside"] == (words if how.inside else None)
        assert (run.folder / rivals.FOLDER / f"{name}.safetensors").exists()
    assert {name: one["exposure"].get("beta") for name, one in made.items()} == {
        "plain": None,
        "madry": None,
        "trades": 6.0,
    }
    trained: list[str] = []
    monkeypatch.setattr(rivals, "_train", lambda *_arguments, **_options: trained.append("anew"))
    assert rival(run, data, "trades", how=ways["trades"]).made == made["trades"]
    assert trained == []
    rival(run, data, "trades", how=within(L2Ball(0.4), steps=2)["trades"])
    assert trained == ["anew"]


def test_what_was_kept_of_a_way_without_beta_does_not_speak_of_it(run: runs.Run, data: assemble.Data) -> None:
    assert set(rival(run, data, "plain").made["exposure"]) == {"weight", "loss", "inside", "outside", "steps"}


def test_outside_data_is_read_only_where_it_is_learned(
    run: runs.Run, data: assemble.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise FileNotFoundError("outside")

    monkeypatch.setattr(assemble, "outside", missing)
    rival(run, data, "plain")
    with pytest.raises(FileNotFoundError, match="outside"):
        rival(run, data, "told", how=Exposure(weight=0.5))


@pytest.mark.parametrize("options", [{}, {"epochs": 30}, {"epochs": 2}, {"epochs": None}], ids=str)
def test_visits_are_bounded(
    run: runs.Run, data: assemble.Data, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    asked: list[int] = []

    def none(network: torch.nn.Module, *_: object, iterations: int, **__: object) -> torch.nn.Module:
        asked.append(iterations)
        return network

    monkeypatch.setattr(rivals, "train_exposed", none)
    monkeypatch.setattr(peer, "passes", lambda _: 10**9)
    rival(run, data, "madry", **options)
    visits = options.get("epochs", 30)
    assert asked == [10**9 // (64 * 11) if visits is None else -(-visits * len(data.train) // 64)]


def test_other_data_is_learned_anew(run: runs.Run, data: assemble.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    rival(run, data, "plain")
    trained: list[str] = []
    monkeypatch.setattr(rivals, "_train", lambda *_arguments, **_options: trained.append("anew"))
    less = assemble.Data(data.train.take(range(600)), data.validation, None)
    rival(run, less, "plain")
    assert trained == ["anew"]


def test_a_damaged_file_is_named(run: runs.Run, data: assemble.Data) -> None:
    rival(run, data, "plain")
    path = run.folder / rivals.FOLDER / "plain.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected a classifier, got a damaged file (other val")):
        rival(run, data, "plain")


@pytest.mark.parametrize(
    ("name", "labelled", "message"),
    [
        ("rato", True, "expected peers among plain, outlier-exposure, acet, ratio, madry, got rato"),
        ("plain", False, "expected a target of two classes or more for the peer plain, got one without"),
        ("ratio", True, "expected a run of at least 1408 passes for ratio, got 70"),
    ],
)
def test_refusals(run: runs.Run, monkeypatch: pytest.MonkeyPatch, name: str, labelled: bool, message: str) -> None:
    monkeypatch.setattr(peer, "passes", lambda _: 70)
    data = assemble.target(run.config)
    train = data.train if labelled else Images(data.train.pixels)
    with pytest.raises(ValueError, match=message):
        rival(run, assemble.Data(train, data.validation, None), name)


def test_visits_below_one_are_refused(run: runs.Run, data: assemble.Data) -> None:
    with pytest.raises(ValueError, match="expected epochs to be None or at least 1, got 0"):
        rival(run, data, "plain", epochs=0)


def test_precision_and_augmentation_are_the_runs(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    settings = config.load(tiny_yaml, ["precision=bf16-mixed", "augment.shift=1", "iterations=20", "batch_size=64"])
    run, _ = runs.train(settings, tmp_path / "run")

    def none(network: torch.nn.Module, target: Any, *_: object, **options: Any) -> torch.nn.Module:  # noqa: ANN401
        asked.update(options | {"target": target})
        return network

    monkeypatch.setattr(rivals, "train_exposed", none)
    rival(run, assemble.target(run.config), "plain")
    assert asked["half"] is True
    assert asked["target"].augmentation == assemble.augmentation(settings.augment)
    assert callable(asked["callback"])
