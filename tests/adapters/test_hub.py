"""Folders of the hub: written from a run, read back to the bit, and a stranger's refused in one line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from genat import config, runs
from genat.adapters import hub
from genat.config import Config
from genat.detection import Calibration
from genat.networks import build


@pytest.fixture
def folder(trained_once: Path, tmp_path: Path) -> Path:
    hub.save_pretrained(runs.load(trained_once), tmp_path / "model")
    return tmp_path / "model"


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def bits(module: nn.Module) -> dict[str, tuple[list[int], tuple[int, ...]]]:
    return {
        name: (value.flatten().view(torch.int32).tolist(), value.stride())
        for name, value in module.state_dict().items()
    }


# round trips


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["network=small_convnet", "network_options={width: 2}"],
        ["network=resnet", "network_options={blocks: [1, 1], width: 4}"],
        ["classify={steps: 1}"],
        ["committee=true", "network_options={hidden: [8]}"],
        ["committee=true", "network=small_convnet", "network_options={width: 1}"],
    ],
    ids=["mlp", "convolutions", "residual", "joint", "committee", "convolutions together"],
)
def test_a_run_comes_back_to_the_bit(keys: list[str], tiny_yaml: Path, tmp_path: Path) -> None:
    run, _ = runs.train(config.load(tiny_yaml, ["iterations=1", "steps.last=1", *keys]), tmp_path / "run")
    hub.save_pretrained(run, tmp_path / "model")
    again = hub.from_pretrained(tmp_path / "model")
    assert bits(again.detector) == bits(run.detector)
    assert (again.shape, again.classes, again.box, again.name) == (run.shape, run.classes, (0.0, 1.0), "tiny")
    images = run.held_out().tensor()
    assert torch.equal(again.detector(images), run.detector(images))
    ours, theirs = again.predict(images), run.predict(images)
    assert torch.equal(ours.p_value, theirs.p_value)
    assert torch.equal(ours.in_distribution, theirs.in_distribution)
    assert not again.detector.training
    assert not any(weights.requires_grad for weights in again.detector.parameters())


def test_a_module_comes_back_with_what_is_known_of_it(tmp_path: Path) -> None:
    detector = build("mlp", (2,), {"hidden": [8]}, seed=0)
    calibration = Calibration(torch.arange(1.0, 20.0), tpr=0.9)
    written = hub.save_pretrained(
        detector,
        tmp_path,
        network="mlp",
        options={"hidden": [8]},
        shape=(2,),
        box=None,
        calibration=calibration,
        name="plane",
    )
    assert [path.name for path in written] == ["config.json", "model.safetensors", "calibration.json", "README.md"]
    again = hub.from_pretrained(tmp_path)
    assert bits(again.detector) == bits(detector)
    assert (again.name, again.box) == ("plane", None)
    assert again.calibration is not None
    assert again.calibration.threshold == 2.0
    assert "was written from a module alone" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_what_another_model_left_is_removed(folder: Path) -> None:
    detector = build("mlp", (2,), {"hidden": [8]}, seed=0)
    hub.save_pretrained(detector, folder, network="mlp", options={"hidden": [8]}, shape=(2,))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert hub.from_pretrained(folder).calibration is None


def test_a_prediction_needs_inputs_and_a_calibration(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"expected inputs \(N, 1, 8, 8\), got \(2, 64\)"):
        hub.from_pretrained(folder).predict(torch.zeros(2, 64))
    (folder / "calibration.json").unlink()
    with pytest.raises(
        ValueError, match="expected a calibrated detector to judge with, got tiny without a calibration"
    ):
        hub.from_pretrained(folder).predict(torch.zeros(2, 1, 8, 8))


# the card


def front_and_text(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_what_was_done_and_what_was_not(folder: Path) -> None:
    front, text = front_and_text(folder)
    assert front["library_name"] == "genat"
    assert "out-of-distribution-detection" in front["tags"]
    for words in (
        "# tiny",
        "digits, split train; 20% held out",
        "photographs (weight 1)",
        "40 iterations of 16 samples",
        "up to 3 steps of 0.2",
        "The run was not evaluated",
        "Nothing was measured",
        "genat train recipe.yaml --run runs/tiny",
        "from_pretrained",
    ):
        assert words in text


def test_the_recipe_is_the_runs(folder: Path, trained_once: Path) -> None:
    assert config.load(folder / "recipe.yaml") == runs.load(trained_once).config


def test_the_card_has_the_figures_of_the_evaluation(evaluated_once: Path, tmp_path: Path) -> None:
    hub.save_pretrained(runs.load(evaluated_once), tmp_path)
    _, text = front_and_text(tmp_path)
    figures = json.loads((evaluated_once / "evaluation" / "figures.json").read_text(encoding="utf-8"))
    rows = [line for line in text.splitlines() if line.startswith("| ") and " / " in line]
    assert len(rows) - 1 == len(figures["detection"])
    for row, line in zip(figures["detection"], rows[1:], strict=True):
        assert line.startswith(f"| {row['family']}")
        assert f"| {row['auroc']:.4f} |" in line
    assert f"{figures['generation']['confident']:.1%} of 20 samples" in text
    assert "on no others" in text


def test_figures_that_cannot_be_read_are_an_error(evaluated_run: Path, tmp_path: Path) -> None:
    (evaluated_run / "evaluation" / "figures.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"figures\.json: expected figures of an evaluation, got a file that cannot"):
        hub.save_pretrained(runs.load(evaluated_run), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_paths_of_this_machine_stay_here() -> None:
    from genat.adapters import _cards

    settings = Config.model_validate(
        {
            "data": {"kind": "folder", "path": "/home/someone/secret/cats", "label": None},
            "outside": [{"kind": "folder", "path": "/home/someone/dogs", "label": None}],
            "init": "/home/someone/start.safetensors",
        }
    )
    text = _cards.recipe(settings)
    assert "someone" not in text
    again = Config.model_validate(yaml.safe_load(text))
    assert (again.data.path, again.outside[0].path, again.init) == ("cats", "dogs", "start.safetensors")
    assert "where your copy of the data is" in _cards._repeat(settings)


# what is refused when it is written


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected network and shape with a module, got it without"),
        ({"network": "os:system", "shape": (2,)}, "expected one of this package's networks .*, got os:system: nobody"),
        ({"network": "mlp", "shape": (2,)}, "expected weights of mlp {}, got others: 1.bias is .*, not "),
        ({"network": "mlp", "shape": (2,), "options": {"hiden": [8]}}, "expected options and shape of mlp, .*hiden"),
    ],
)
def test_a_module_nobody_could_load_is_not_written(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    detector = build("mlp", (2,), {"hidden": [8]}, seed=0)
    with pytest.raises(ValueError, match=words):
        hub.save_pretrained(detector, tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_a_run_has_its_own_shape(trained_once: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a run alone, got one with network, options, shape or calibration"):
        hub.save_pretrained(runs.load(trained_once), tmp_path, shape=(2,))


# a stranger's folder


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("exploded").touch, ())


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))


def changed(name: str, **values: object) -> Callable[[Path], None]:
    return lambda folder: rewritten(folder / name, lambda content: content.update(values))


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def altered(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["1.bias"] += 1
    save_file(state, folder / "model.safetensors")


def fewer(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["1.bias"]
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (pickled, r"model\.safetensors: expected safetensors, got a file that cannot be read"),
        (altered, r"model\.safetensors: expected weights of digest [0-9a-f]{12}, got others: the file is altered"),
        (fewer, r"expected weights of mlp .*, got others: 1\.bias is none, not \(32,\) F32"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: expected the weights, got none"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: expected a file of a detector, got none"),
        (text("config.json", "[" * 100_000), r"config\.json: expected JSON, got a file that cannot be read: Recursion"),
        (text("config.json", "[]"), r"config\.json: expected a JSON object, got list"),
        (text("config.json", " " * (2 << 20)), r"config\.json: expected at most 1,048,576 bytes, got 2,097,152"),
        (changed("config.json", format=2, genat="9.9"), r"expected format 1, got 2: a later genat \(9\.9\) wrote it"),
        (changed("config.json", format="x"), r"config\.json: expected format 1, got x$"),
        (changed("config.json", network="os:system"), r"expected a network mlp, convnet, .*star, got 'os:system'"),
        (changed("config.json", shape=[-1]), r"config\.json: expected another shape\.0, got -1"),
        (changed("config.json", code="x"), r"config\.json: expected another code, got 'x'"),
        (changed("config.json", kind="joint"), r"expected different classes with kind joint, got \[\]"),
        (changed("config.json", options={"hidden": [10**9, 10**9]}), r"expected weights of mlp .*, got others"),
        (changed("config.json", options={"hidden": [1] * 10_000}), "more tensors than its weights have"),
        (
            changed("config.json", network="resnet", options={"blocks": [10**9]}),
            "more tensors than its weights have",
        ),
        (changed("config.json", options={"hidden": [10**30]}), r"expected options and shape of mlp"),
        (
            changed("calibration.json", digest="x"),
            r"calibration\.json: expected a calibration, got ValueError: that of oth",
        ),
        (changed("calibration.json", logits=[]), r"calibration\.json: expected a calibration, got ValueError"),
        (changed("calibration.json", tpr="x"), r"calibration\.json: expected a calibration, got ValueError"),
    ],
)
def test_a_spoilt_folder_is_refused_in_a_line(
    spoil: Callable[[Path], object], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    spoil(folder)
    with pytest.raises(ValueError, match=words) as error:
        hub.from_pretrained(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 800
    assert not (folder / "exploded").exists()


# the hub itself


def test_a_repository_is_fetched_file_by_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fetch(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert hub.from_pretrained("someone/digits", revision="v1").name == "tiny"
    assert (asked["repository"], asked["revision"]) == ("someone/digits", "v1")
    assert set(asked["allow_patterns"]) == {path.name for path in folder.iterdir()}


def test_what_is_nowhere_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(
        ValueError, match=r"someone/digits: expected a folder or a repository of the hub, got .*no network"
    ):
        hub.from_pretrained("someone/digits")
    with pytest.raises(FileNotFoundError, match="expected a folder, or owner/name on the Hugging Face hub, got none"):
        hub.from_pretrained("nowhere")
    with pytest.raises(FileNotFoundError, match="expected a folder, or owner/name"):
        hub.from_pretrained(Path("no/where"))
    with pytest.raises(ValueError, match="expected no revision with a folder, got v1"):
        hub.from_pretrained(folder, revision="v1")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"expected huggingface_hub, got none: pip install 'genat\[hub\]'"):
        hub.from_pretrained("someone/digits")


def test_a_run_is_pushed_private_and_whole(trained_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}

    def create(repository: str, **options: object) -> str:
        calls["create"] = (repository, options)
        return f"https://hub/{repository}"

    def upload(**options: Any) -> None:  # noqa: ANN401 - whatever is passed on
        calls["upload"] = sorted(path.name for path in Path(options["folder_path"]).iterdir()), options["repo_id"]

    monkeypatch.setattr(hub, "_hub", lambda: SimpleNamespace(create_repo=create, upload_folder=upload))
    assert hub.push_to_hub(runs.load(trained_once), "someone/tiny") == "https://hub/someone/tiny"
    assert calls["create"] == ("someone/tiny", {"private": True, "exist_ok": True})
    names = ["README.md", "calibration.json", "config.json", "model.safetensors", "recipe.yaml"]
    assert calls["upload"] == (names, "someone/tiny")


def test_what_cannot_be_read_back_is_not_pushed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError("not\nlogged in")

    monkeypatch.setattr(hub, "_hub", lambda: SimpleNamespace(create_repo=refuse))
    with pytest.raises(ValueError, match="someone/tiny: expected the hub to take it, got OSError: not logged in"):
        hub.push_to_hub(folder, "someone/tiny")
    altered(folder)
    with pytest.raises(ValueError, match="the file is altered"):
        hub.push_to_hub(folder, "someone/tiny")
    with pytest.raises(FileNotFoundError, match="expected a folder that save_pretrained wrote, got none"):
        hub.push_to_hub(folder / "none", "someone/tiny")
