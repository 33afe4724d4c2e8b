"""What a person can get wrong: one line that says so, exit code 2, and nothing touched."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genat import runs

Cli = Callable[..., tuple[int, str, str]]


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def place(tmp_path: Path, tiny_yaml: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, pictures good and broken, and folders that are no runs; the working directory."""
    (tmp_path / "tiny.yaml").write_bytes(tiny_yaml.read_bytes())
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for i, size in enumerate([(8, 8), (9, 8), (8, 8)]):
        Image.new("L", size, i).save(tmp_path / "mixed" / f"{i}.png")
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:100])
    (tmp_path / "page.png").write_text("<html>", encoding="utf-8")
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    (tmp_path / "torn.yaml").write_text("steps: {first: 0", encoding="utf-8")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    (tmp_path / "markup.yaml").write_text("name: '[red]x[/blue]'\nlst: 1\n", encoding="utf-8")
    assert tiny_run == tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _refuses(run_cli: Cli, place: Path, command: str, *words: str, notes: bool = False) -> None:
    """Expect one line with these words, where asked after notes of what was read, and every file as it was."""
    before = _tree(place)
    code, out, err = run_cli(*command.split())
    assert (code, out) == (2, "")
    *said, last = err.strip().splitlines()
    assert notes or not said
    assert [line for line in (*said, last) if line.startswith("genat: ")] == [last]
    for word in words:
        assert word in last
    assert _tree(place) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("tiny.yaml steps.lst=3", ["tiny.yaml", "steps.lst", "did you mean steps.last?"]),
        ("tiny.yaml iterations=many", ["iterations", "many"]),
        ("tiny.yaml iterations=1.5", ["iterations", "1.5"]),
        ("tiny.yaml clip_norm=yes", ["clip_norm", "truth value"]),
        ("tiny.yaml iterations=0", ["iterations", "0"]),
        ("tiny.yaml steps.first=9", ["steps", "first=9"]),
        ("tiny.yaml step_size=nan", ["step_size"]),
        ("tiny.yaml tpr=1", ["tpr"]),
        ("tiny.yaml steps=3", ["steps", "3"]),
        ("tiny.yaml name.first=3", ["name"]),
        ("tiny.yaml iterations", ["key=value", "'iterations'"]),
        ("tiny.yaml =3", ["key=value"]),
        ("tiny.yaml network=no_net", ["no_net"]),
        ("tiny.yaml network_options.hiden=[3]", ["hiden"]),
        ("tiny.yaml outside=[]", ["outside"]),
        ("tiny.yaml outside=[{kind:noise}]", ["outside"]),
        ("tiny.yaml outside=[{kind:other-classes}]", ["outside"]),
        ("tiny.yaml data.classes=[11]", ["class", "11"]),
        ("tiny.yaml data.validation=0.0001", ["two parts"]),
        ("tiny.yaml init=no/such/weights.safetensors", ["no/such/weights.safetensors"]),
        ("tiny.yaml device=cuda", ["cuda"]),
        ("nopreset", ["nopreset", "digits", "fashion-mnist", "images"]),
        ("../digits", ["../digits"]),
        ("list.yaml", ["list.yaml", "keys and values", "list"]),
        ("torn.yaml", ["torn.yaml", "YAML"]),
        ("bytes.yaml", ["bytes.yaml", "UTF-8"]),
        ("markup.yaml", ["markup.yaml", "lst"]),
        ("empty", ["empty"]),
        ("--data empty", ["empty", "0 images"]),
        ("--data missing", ["missing", "does not exist"]),
        ("--data good.png", ["good.png", "is a file"]),
        ("digits --data mixed", ["one size", "2 sizes"]),
        ("tiny.yaml --run run", ["run", "--resume"]),
        ("tiny.yaml --run good.png", ["good.png"]),
        ("tiny.yaml --resume --run nothing", ["nothing", "run folder"]),
        ("tiny.yaml --resume --run empty", ["empty", "config.yaml"]),
        ("--resume --run nothing", ["nothing"]),
        ("tiny.yaml --resume", ["runs/tiny"]),
        ("tiny.yaml --resume --run run batch_size=17", ["run", "batch_size"]),
    ],
)
def test_train_refuses(run_cli: Cli, place: Path, arguments: str, words: list[str]) -> None:
    _refuses(run_cli, place, f"train {arguments}", *words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sample missing", ["missing", "run folder"]),
        ("sample empty", ["empty", "config.yaml"]),
        ("sample good.png", ["good.png"]),
        ("sample run --seeds a", ["--seeds", "'a'"]),
        ("sample run --seeds 1-", ["--seeds", "'1-'"]),
        ("sample run --seeds 3-1", ["--seeds", "rise"]),
        ("sample run --seeds 5,3-1", ["--seeds", "rise"]),
        ("sample run --seeds 1,,2", ["--seeds"]),
        ("sample run --seeds=-1", ["--seeds"]),
        ("sample run --seeds=1--2", ["--seeds"]),
        ("sample run --seeds 9223372036854775808", ["--seeds", "2**63"]),
        ("transform run missing.png", ["missing.png"]),
        ("transform run good.png cut.png", ["cut.png"]),
        ("detect run missing.png", ["missing.png"]),
        ("detect run good.png missing.png", ["missing.png", "does not exist"]),
        ("detect run empty", ["'empty'", "got none"]),
        ("detect run good.png empty", ["'empty'", "got none"]),
        ("detect run - mixed -", ["- once", "several times"]),
        ("detect run good.png --null", ["--null", "standard input"]),
        ("detect run good.png --alpha 0", ["alpha in (0, 1)", "0.0"]),
        ("detect run good.png --alpha 0.001", ["at least 999 held-out images", "0.001", "got 240"]),
        ("detect missing good.png", ["missing"]),
        ("detect run good.png --sigma 0.1", ["--certify with --sigma", "alone"]),
        ("detect run good.png --draws 9", ["--certify with --draws", "alone"]),
        ("detect run good.png --seed 9", ["--certify with --seed", "alone"]),
        ("detect run good.png --held-out mixed", ["--certify with --held-out", "alone"]),
        ("detect run good.png --certify 0.5 --held-out empty", ["held-out images", "'empty'", "got none"]),
        ("detect run good.png --certify 0.5 --held-out missing", ["--held-out", "missing", "No such file"]),
        ("detect run good.png --certify 0.5 --held-out mixed --alpha 0.1", ["at least 9 held-out images", "got 3"]),
        ("detect run good.png --certify 0.5 --draws 9", ["draws or a larger sigma", "got 9 draws"]),
        ("detect run good.png --certify 0.5 --sigma 0.01", ["a larger sigma", "0.01"]),
        ("detect run good.png --certify 0.5 --alpha 0.01", ["at least 99 held-out images", "got 64"]),
        ("detect run good.png --maps new --certify 0.5 --draws 9", ["got 9 draws"]),
        ("detect run mixed --maps mixed/maps", ["--maps outside of 'mixed'", "mixed/maps"]),
        ("detect run good.png --maps page.png", ["--maps", "'page.png'", "which is a file"]),
        ("evaluate missing", ["missing"]),
        ("evaluate run --data missing", ["missing"]),
        ("evaluate run --data empty", ["empty"]),
        ("report missing", ["missing"]),
        ("report empty", ["empty"]),
        ("presets nopreset", ["nopreset"]),
        ("demo --run mixed", ["mixed", "earlier demo"]),
        ("demo --run good.png", ["good.png"]),
        ("demo --run run", ["run", "earlier demo"]),
    ],
)
def test_the_other_commands_refuse(run_cli: Cli, place: Path, command: str, words: list[str]) -> None:
    _refuses(run_cli, place, command, *words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train tiny.yaml --run good.png/deeper", ["genat: good.png/deeper: Not a directory"]),
        ("transform run good.png --output good.png", ["genat: good.png: File exists"]),
    ],
)
def test_a_file_in_the_way_of_a_folder(run_cli: Cli, place: Path, command: str, words: list[str]) -> None:
    _refuses(run_cli, place, command, *words, notes=True)


def test_a_folder_with_another_programs_configuration_is_no_demo(run_cli: Cli, place: Path) -> None:
    (place / "empty" / "config.yaml").write_text("colour: blue\n", encoding="utf-8")
    _refuses(run_cli, place, "demo --run empty", "empty/config.yaml", "colour")


READING = ["sample run --seeds 1", "transform run good.png", "detect run good.png", "evaluate run", "report run"]


@pytest.mark.parametrize("command", READING)
def test_a_run_without_checkpoints(run_cli: Cli, place: Path, command: str) -> None:
    for path in (place / "run" / "checkpoints").iterdir():
        path.unlink()
    _refuses(run_cli, place, command, "run/checkpoints", "checkpoint, got none")


@pytest.mark.parametrize("content", [b"\x00\xff", b"steps: [", b"5", b"iterations: 3\nhorse: 1\n"])
@pytest.mark.parametrize("command", ["detect run good.png", "report run", "train --resume --run run"])
def test_a_corrupt_configuration(run_cli: Cli, place: Path, command: str, content: bytes) -> None:
    (place / "run" / "config.yaml").write_bytes(content)
    _refuses(run_cli, place, command)


@pytest.mark.parametrize("command", [*READING, "train --resume --run run"])
def test_altered_checkpoints(run_cli: Cli, place: Path, command: str) -> None:
    for path in (place / "run" / "checkpoints").glob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    _refuses(run_cli, place, command, "step-00000040.safetensors", "altered")


def test_of_two_checkpoints_the_readable_one_is_used(run_cli: Cli, place: Path) -> None:
    (place / "run" / "checkpoints" / "step-00000040.json").write_text("{", encoding="utf-8")
    code, out, err = run_cli("detect", "run", "good.png")
    named, refused = err.strip().splitlines()
    assert (code, out) == (2, "")
    assert named.startswith("passed over: run/checkpoints/step-00000040.json: expected a checkpoint")
    assert "step 20: resume it" in refused  # the threshold was the later weights'
    assert runs.load("run").iteration == 20


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"logits": [], "tpr": 0.95}', '{"logits": "x", "tpr": 0.95}',
                '{"logits": [NaN], "tpr": 0.95}', '{"logits": [1.0], "tpr": 7}', '{"logits": [[1.0]], "tpr": "a"}']
)  # fmt: skip
def test_a_corrupt_calibration(run_cli: Cli, place: Path, content: str) -> None:
    (place / "run" / "calibration.json").write_text(content, encoding="utf-8")
    _refuses(run_cli, place, "detect run good.png", "run/calibration.json")


def test_a_training_that_has_not_ended_detects_nothing(run_cli: Cli, place: Path) -> None:
    (place / "run" / "calibration.json").unlink()
    _refuses(run_cli, place, "detect run good.png", "finished training")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("figures.json", b"{"),
        ("figures.json", b"[]"),
        ("figures.json", b"{}"),
        ("figures.json", b"\xff"),
        ("logits.safetensors", b"short"),
        ("logits.safetensors", None),
    ],
)
def test_a_corrupt_evaluation(
    run_cli: Cli, evaluated_run: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    assert run_cli("report", evaluated_run)[0] == 0
    path = evaluated_run / "evaluation" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    _refuses(run_cli, tmp_path, f"report {evaluated_run}", str(path))


@pytest.mark.parametrize(
    "command",
    ["nonsense", "train --nonsense", "sample", "sample run --steps 0", "sample run --steps x", "train --seed=-1",
     "sample run --step-size nan", "evaluate run --samples 1", "detect run", "detect run good.png --batch-size 0",
     "detect run good.png --format xml"],
)  # fmt: skip
def test_typers_own_refusals(run_cli: Cli, place: Path, command: str) -> None:
    before = _tree(place)
    code, out, err = run_cli(*command.split())
    assert (code, out) == (2, "")
    assert "Usage" in err
    assert "Traceback" not in err
    assert _tree(place) == before


def test_divergence_names_the_step(run_cli: Cli, place: Path) -> None:
    code, out, err = run_cli("train", "tiny.yaml", "optimizer.name=sgd", "optimizer.lr=1e30", "--run", "new")
    assert (code, out) == (1, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("genat: step ")
    assert "expected finite" in last
    assert "Traceback" not in err
    assert runs.load(place / "new").iteration >= 1


def test_an_interrupt_is_130(run_cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Path, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "load", interrupted)
    code, out, err = run_cli("report", place / "run")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_debug_shows_the_error_itself(run_cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAT_DEBUG", "1")
    assert not (place / "missing").exists()
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        run_cli("report", "missing")


def test_an_error_of_many_lines_is_said_in_one(run_cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path, **__: object) -> None:
        raise ValueError("one\n  two\n\nthree")

    monkeypatch.setattr(runs, "load", broken)
    assert run_cli("report", place)[2] == "genat: one two three\n"


def test_no_training_may_follow_a_refused_one(run_cli: Cli, place: Path) -> None:
    """The line says what to do, and doing it works."""
    assert run_cli("train", "tiny.yaml", "--run", "run")[0] == 2
    code, out, _ = run_cli("train", "tiny.yaml", "--run", "run", "--resume", "--json")
    assert (code, json.loads(out)["iterations"]) == (0, 40)
    assert (place / "run" / "report.html").is_file()
