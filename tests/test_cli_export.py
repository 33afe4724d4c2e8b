"""`genat export`: what it writes, says and refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genat import runs
from genat.adapters import hub

Cli = Callable[..., tuple[int, str, str]]
EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_ascent.py"


def test_the_hub_folder_is_listed_with_sizes(run_cli: Cli, trained_once: Path, tmp_path: Path) -> None:
    code, out, err = run_cli("export", trained_once, "--to", "hub", "--output", tmp_path / "out")
    assert (code, err) == (0, "")
    names = ["config.json", "model.safetensors", "calibration.json", "recipe.yaml", "README.md"]
    files = [tmp_path / "out" / name for name in names]
    assert out == "".join(f"{path}  {path.stat().st_size:,} bytes\n" for path in files)
    assert hub.from_pretrained(tmp_path / "out").name == "tiny"


def test_json(run_cli: Cli, trained_once: Path, tmp_path: Path) -> None:
    _, out, _ = run_cli("export", trained_once, "--to", "hub", "--output", tmp_path, "--json")
    files = json.loads(out)["files"]
    assert [set(file) for file in files] == [{"path", "bytes"}] * 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--to hub --rule sign", "expected --rule with --to onnx, got --to hub"),
        ("--to hub --step-size 1", "expected --step-size with --to onnx, got --to hub"),
        ("--to hub --class 1", "expected --class with --to onnx, got --to hub"),
        ("--to onnx --class 1", "expected a committee or a run trained with classify, got one of a detector alone"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    options: str, words: str, run_cli: Cli, trained_once: Path, tmp_path: Path
) -> None:
    code, out, err = run_cli("export", trained_once, *options.split(), "--output", tmp_path / "out")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(run_cli: Cli, trained_once: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    code, _, err = run_cli("export", trained_once, "--to", "hub", "--output", tmp_path / "out")
    assert code == 2
    assert "expected a folder for --output" in err
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_images_are_generated_without_torch(run_cli: Cli, trained_once: Path, tmp_path: Path) -> None:
    code, out, err = run_cli("export", trained_once, "--to", "onnx", "--output", tmp_path)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [str(tmp_path / "logit.onnx"), str(tmp_path / "step.onnx")]
    assert all("max difference" in line and "on 64 inputs" in line for line in out.splitlines())
    blocked = "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
    run = [sys.executable, "-c", blocked + "runpy.run_path(sys.argv[0], run_name='__main__')"]
    environment = os.environ | {"PYTHONPATH": ""}
    subprocess.run([*run, EXAMPLE, tmp_path / "step.onnx", tmp_path / "grid.png"], check=True, env=environment)
    from PIL import Image

    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (48, 48)


@pytest.mark.slow
def test_one_class_of_a_committee(run_cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    from genat import config

    keys = ["committee=true", "iterations=2", "network_options={hidden: [8]}"]
    runs.train(config.load(tiny_yaml, keys), tmp_path / "run")
    options = ["--to", "onnx", "--class", "3", "--rule", "steepest", "--step-size", "0.2", "--json"]
    code, out, err = run_cli("export", tmp_path / "run", *options, "--output", tmp_path / "out")
    assert (code, err) == (0, "")
    assert [file["samples"] for file in json.loads(out)["files"]] == [64, 64]
    import onnxruntime

    told = onnxruntime.InferenceSession(tmp_path / "out" / "step.onnx").get_modelmeta().custom_metadata_map
    assert told["genat.name"] == "tiny: 3"
    assert "genat.calibration" not in told
