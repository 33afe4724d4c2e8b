"""Every command, end to end, in this process."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genat import config, runs
from genat.sources import digits

Cli = Callable[..., tuple[int, str, str]]


def _mixed_folder(folder: Path, count: int) -> Path:
    """Images of many sizes and of every mode that people have."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    modes = ("L", "RGB", "RGBA", "P", "1", "I;16", "LA")
    for i in range(count):
        width, height = generator.integers(9, 40, size=2)
        mode = modes[i % len(modes)]
        if mode == "I;16":
            picture = Image.fromarray(generator.integers(0, 2**16, (height, width), dtype=np.uint16))
        else:
            picture = Image.fromarray(generator.integers(0, 256, (height, width, 4), dtype=np.uint8)).convert(mode)
        picture.save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A digit of the test set, noise, and others of other sizes and modes."""
    folder = tmp_path / "pictures"
    mixed = sorted(_mixed_folder(folder, 7).iterdir())
    digit, noise = folder / "digit.png", folder / "noise.png"
    Image.fromarray(digits("test").pixels[0, 0].numpy()).save(digit)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(noise)
    return [digit, noise, *mixed]


def _look(path: Path) -> tuple[tuple[int, int], str]:
    with Image.open(path) as image:
        return image.size, image.mode


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


def test_help_names_every_command(run_cli: Cli) -> None:
    code, out, _ = run_cli("--help")
    assert code == 0
    for command in (
        "demo",
        "train",
        "sample",
        "transform",
        "edit",
        "detect",
        "evaluate",
        "report",
        "presets",
        "doctor",
    ):
        assert command in out


def test_train_writes_a_run_and_says_so(
    run_cli: Cli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("train", tiny_yaml, "iterations=5", "steps.last=1", "--seed", 3)
    assert code == 0
    run = tmp_path / "runs" / "tiny"
    assert "run: runs/tiny" in out
    assert "digest: " in out
    assert "incidents: gate 1" in out
    assert "what was done" in (run / "report.html").read_text(encoding="utf-8")
    assert "958 images (1, 8, 8) to learn from, 240 held out" in err
    assert "step 5/5" in err
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "metrics.jsonl", "checkpoints", "calibration.json", "samples", "report.html"
    }  # fmt: skip
    loaded = runs.load(run)
    assert (loaded.config.seed, loaded.config.iterations, loaded.config.steps.last) == (3, 5, 1)


def test_train_json_is_the_one_thing_on_stdout(run_cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    code, out, _ = run_cli("train", tiny_yaml, "iterations=2", "--run", tmp_path / "a", "--json")
    result = json.loads(out)
    assert code == 0
    assert result.keys() == {"run", "iterations", "threshold", "digest", "report", "incidents"}
    assert result["iterations"] == 2
    assert result["incidents"] == {"gate": 1}  # a gate of 100 steps is not met in two
    assert Path(result["report"]).is_file()


def test_train_twice_gives_one_digest(run_cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    digests = [
        json.loads(run_cli("train", tiny_yaml, "iterations=3", "--run", tmp_path / name, "--json")[1])["digest"]
        for name in ("a", "b")
    ]
    assert digests[0] == digests[1]


def test_a_resumed_training_ends_as_an_unbroken_one(run_cli: Cli, tiny_run: Path, trained_once: Path) -> None:
    whole = sorted((trained_once / "checkpoints").glob("*.safetensors"))[-1].read_bytes()
    for newest in (tiny_run / "checkpoints").glob("step-00000040.*"):
        newest.unlink()
    (tiny_run / "calibration.json").unlink()
    code, out, err = run_cli("train", "--run", tiny_run, "--resume", "--json")
    assert code == 0
    assert "resumed after step 20" in err
    assert json.loads(out)["iterations"] == 40
    assert (tiny_run / "checkpoints" / "step-00000040.safetensors").read_bytes() == whole
    assert [record["iteration"] for record in runs.metrics(tiny_run)] == list(range(1, 41))


def test_a_tiny_budget_bounds_what_was_asked_for(run_cli: Cli, tmp_path: Path, tiny_yaml: Path) -> None:
    keys = ["iterations=3000", "steps.last=30", "batch_size=8"]
    _, out, _ = run_cli("train", "digits", *keys, "--budget", "tiny", "--dry-run", "--json")
    asked = json.loads(out)
    assert (asked["iterations"], asked["steps"]["last"], asked["batch_size"]) == (30, 4, 8)
    code, out, _ = run_cli("train", tiny_yaml, "--budget", "tiny", "--run", tmp_path / "run", "--json")
    assert (code, json.loads(out)["iterations"]) == (0, 30)


def test_dry_run_prints_what_load_reads_and_writes_nothing(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("train", "digits", "steps.last=10", "batch_size=32", "--seed", 7, "--dry-run")
    assert (code, err, list(tmp_path.iterdir())) == (0, "", [])
    (tmp_path / "it.yaml").write_text(out, encoding="utf-8")
    assert config.load(tmp_path / "it.yaml") == config.load("digits", ["steps.last=10", "batch_size=32", "seed=7"])
    as_json = run_cli("train", "digits", "steps.last=10", "batch_size=32", "--seed", 7, "--dry-run", "--json")[1]
    assert config.Config.model_validate(json.loads(as_json)) == config.load(tmp_path / "it.yaml")


def test_an_override_may_come_first_and_the_preset_is_digits_then(run_cli: Cli) -> None:
    _, out, _ = run_cli("train", "iterations=9", "--dry-run", "--json")
    assert (json.loads(out)["name"], json.loads(out)["iterations"]) == ("digits", 9)


def test_data_alone_means_the_preset_images(run_cli: Cli, tmp_path: Path) -> None:
    _, out, _ = run_cli("train", "--data", tmp_path / "my: 'pictures'", "--dry-run", "--json")
    settings = json.loads(out)
    assert (settings["name"], settings["data"]["kind"]) == ("images", "folder")
    assert settings["data"]["path"] == str(tmp_path / "my: 'pictures'")


def test_train_on_a_folder_of_mixed_sizes_and_modes(run_cli: Cli, tmp_path: Path) -> None:
    folder, run = _mixed_folder(tmp_path / "mine", 200), tmp_path / "run"
    arguments = ("train", "--data", folder, "data.size=8", "iterations=3", "batch_size=8", "--run", run)
    code, _, err = run_cli(*arguments, "network=mlp", "augment.flip=false", "steps.last=1", "sampling.steps=2")
    assert code == 0
    said = "\n".join(_lines(err))
    for converted in ("from grey to RGB", "from palette to RGB", "from 1-bit to RGB", "resized to 8 x 8",
                      "scaled to 8 bits", "flattened onto white"):  # fmt: skip
        assert converted in said
    assert "160 images (3, 8, 8) to learn from, 40 held out" in said
    assert _look(run / "samples" / "seed-00000.png") == ((8, 8), "RGB")


def test_one_truncated_file_is_named_and_no_run_is_left(run_cli: Cli, tmp_path: Path) -> None:
    folder, run = _mixed_folder(tmp_path / "mine", 20), tmp_path / "run"
    broken = folder / "013.png"
    broken.write_bytes(broken.read_bytes()[:-60])
    code, out, err = run_cli("train", "--data", folder, "iterations=3", "--run", run)
    assert (code, out, len(_lines(err))) == (2, "", 1)
    assert err.startswith("genat: ")
    assert "013.png" in err
    assert not run.exists()


@pytest.mark.parametrize(
    ("text", "seeds"), [("7", [7]), ("0-3", [0, 1, 2, 3]), ("1,5,9-11", [1, 5, 9, 10, 11]), (" 4 , 2", [4, 2])]
)
def test_forms_of_seeds(run_cli: Cli, tiny_run: Path, text: str, seeds: list[int]) -> None:
    code, out, _ = run_cli("sample", tiny_run, "--seeds", text, "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["seeds"], result["passes_per_sample"]) == (seeds, 5)
    made = {path.name for path in (tiny_run / "samples").iterdir()}
    assert made == {f"seed-{seed:05d}.png" for seed in seeds} | {"grid.png", "trajectories.png"}
    for seed in seeds:
        assert _look(tiny_run / "samples" / f"seed-{seed:05d}.png") == ((8, 8), "L")


def test_a_sample_depends_on_its_seed_alone(run_cli: Cli, tiny_run: Path) -> None:
    png = tiny_run / "samples" / "seed-00009.png"
    run_cli("sample", tiny_run, "--seeds", "9")
    alone = png.read_bytes()
    png.unlink()
    code, out, _ = run_cli("sample", tiny_run, "--seeds", "0-20")
    assert code == 0
    assert "21 samples, 5 passes each" in out
    assert png.read_bytes() == alone
    run_cli("sample", tiny_run, "--seeds", "8-9", "--steps", 3, "--step-size", 0.5)
    assert png.read_bytes() != alone


def test_sample_and_transform_can_be_turned(run_cli: Cli, tiny_run: Path, pictures: list[Path], tmp_path: Path) -> None:
    """Towards no strength a result is the input; a level that all have reached moves nothing; sizes shrink."""
    noise = pictures[1]
    for i, (turned, still) in enumerate(
        [(["--strength", "1e-6"], True), (["--stop-at", "-1e9"], True), (["--shrink", "0.01"], False), ([], False)]
    ):
        assert run_cli("transform", tiny_run, noise, "--output", tmp_path / f"{i}", *turned)[0] == 0
        assert _pixels_equal(tmp_path / f"{i}" / "000-noise.png", noise) == still
    assert not _pixels_equal(tmp_path / "2" / "000-noise.png", tmp_path / "3" / "000-noise.png")
    png = tiny_run / "samples" / "seed-00009.png"
    made = []
    for turned in ([], ["--strength", "0.1"], ["--shrink", "0.01"], ["--stop-at", "-1e9"]):
        code, out, _ = run_cli("sample", tiny_run, "--seeds", "9", *turned)
        assert code == 0
        made.append(png.read_bytes())
    assert out.startswith("1 samples, at most 1 passes each: ")
    assert len(set(made)) == 4


def _pixels_equal(first: Path, second: Path) -> bool:
    with Image.open(first) as one, Image.open(second) as other:
        return np.array_equal(np.asarray(one), np.asarray(other))


def test_transform_takes_any_size_and_mode(run_cli: Cli, tiny_run: Path, pictures: list[Path], tmp_path: Path) -> None:
    code, out, err = run_cli("transform", tiny_run, *pictures, "--output", tmp_path / "made", "--steps", 2)
    assert code == 0
    files = [Path(line) for line in _lines(out)]
    names = [f"{i:03d}-{path.stem}.png" for i, path in enumerate(pictures)]
    assert [file.name for file in files] == [*names, "before-after.png", "way.png"]
    assert {_look(file) for file in files[:-2]} == {((8, 8), "L")}
    # nine pairs on eight columns: two rows of pairs, none left out
    assert _look(files[-2])[0] == (8 * 66 + 2, 4 * 66 + 2)
    # the ways of the first eight: the start and two steps
    assert _look(files[-1])[0] == (3 * 66 + 2, 8 * 66 + 2)
    assert "resized to 8 x 8" in err
    assert not [line for line in _lines(err) if "digit.png" in line]
    _, out, _ = run_cli("transform", tiny_run, pictures[0], "--json")
    assert json.loads(out)["files"][0] == str(tiny_run / "transformed" / "000-digit.png")


def test_an_image_is_transformed_alike_in_any_company(
    run_cli: Cli, tiny_run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    run_cli("transform", tiny_run, pictures[0], "--output", tmp_path / "alone")
    run_cli("transform", tiny_run, *pictures, "--output", tmp_path / "company")
    name = "000-digit.png"
    assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "company" / name).read_bytes()


def test_detect_tells_score_p_value_and_verdict(run_cli: Cli, tiny_run: Path, pictures: list[Path]) -> None:
    code, out, _ = run_cli("detect", tiny_run, *pictures, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["tpr"] == 0.95
    assert [row["file"] for row in result["images"]] == [str(path) for path in pictures]
    for row in result["images"]:
        assert 0 < row["p_value"] <= 1
        assert row["in_distribution"] == (row["score"] <= -result["threshold"])
    code, out, _ = run_cli("detect", tiny_run, pictures[0])
    assert code == 0
    assert len(_lines(out)) == 1
    assert "in distribution  score " in out or "out of distribution  score " in out


def test_detect_tells_a_digit_from_noise(run_cli: Cli, tiny_yaml: Path, pictures: list[Path], tmp_path: Path) -> None:
    outside = "outside=[{kind: uniform-noise}]"
    assert run_cli("train", tiny_yaml, outside, "steps.last=0", "iterations=150", "--run", tmp_path / "r")[0] == 0
    digit, noise = json.loads(run_cli("detect", tmp_path / "r", *pictures[:2], "--json")[1])["images"]
    assert digit["in_distribution"]
    assert not noise["in_distribution"]
    assert noise["p_value"] < 0.05 < digit["p_value"]


@pytest.mark.usefixtures("quick")
def test_evaluate_prints_a_table_and_writes_figures(run_cli: Cli, tiny_run: Path) -> None:
    tiny = ("--samples", 20, "--outside", 10, "--attack-steps", 2)
    code, out, err = run_cli("evaluate", tiny_run, *tiny)
    assert code == 0
    assert "detection: 599 target images against 10 of each of uniform noise, dead leaves" in err
    assert len([line for line in _lines(out) if line.strip().startswith("shuffled patches")]) == 3
    assert out.strip().endswith("report.html")
    figures = json.loads((tiny_run / "evaluation" / "figures.json").read_text(encoding="utf-8"))
    assert figures["made"]["made_by"].startswith("genat evaluate ")
    assert {row["n_outside"] for row in figures["detection"]} == {10}
    assert figures["generation"]["n"] == 20


@pytest.mark.usefixtures("quick")
def test_evaluate_on_a_folder_says_what_it_converted(run_cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    tiny = ("--samples", 4, "--outside", 4, "--attack-steps", 1, "--json")
    code, out, err = run_cli("evaluate", tiny_run, "--data", _mixed_folder(tmp_path / "test", 14), *tiny)
    result = json.loads(out)
    assert code == 0
    assert "images resized to 8 x 8" in err
    assert result["inside"] == {"n": 14, "part": "test", "name": "test"}
    assert result["generation"]["classifier_accuracy"] is None  # the folder has no labels
    assert Path(result["report"]).is_file()


def test_report_is_written_anew(run_cli: Cli, evaluated_run: Path) -> None:
    code, out, _ = run_cli("report", evaluated_run)
    assert (code, out.strip()) == (0, str(evaluated_run / "report.html"))
    assert "<h2>Detection</h2>" in (evaluated_run / "report.html").read_text(encoding="utf-8")


def test_presets(run_cli: Cli, tmp_path: Path) -> None:
    code, out, _ = run_cli("presets")
    assert code == 0
    assert [line.split()[0] for line in _lines(out)] == list(config.presets())
    listed = json.loads(run_cli("presets", "--json")[1])
    assert {name: config.Config.model_validate(value) for name, value in listed.items()} == config.presets()
    (tmp_path / "digits.yaml").write_text(run_cli("presets", "digits")[1], encoding="utf-8")
    assert config.load(tmp_path / "digits.yaml") == config.load("digits")
    assert config.Config.model_validate(json.loads(run_cli("presets", "digits", "--json")[1])) == config.load("digits")


def test_doctor(run_cli: Cli) -> None:
    code, out, _ = run_cli("doctor")
    assert code == 0
    assert {line.split()[0] for line in _lines(out)} <= {"ok", "missing"}
    findings = json.loads(run_cli("doctor", "--json")[1])
    assert len(findings) == len(_lines(out))
    assert all(finding.keys() == {"name", "there", "detail"} for finding in findings)


def test_a_run_folder_may_have_spaces_and_any_script(run_cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "mes réseaux" / "数字 <b>run</b>"
    shutil.copytree(tiny_run, run)
    image = tmp_path / "ein Bild äöü.png"
    Image.new("L", (8, 8), 10).save(image)
    for arguments in (
        ("sample", run, "--seeds", "1"),
        ("transform", run, image),
        ("edit", run, image, "--mode", "denoise", "--sigma", "0.1"),
        ("detect", run, image),
        ("report", run),
    ):
        code, _, err = run_cli(*arguments)
        assert (code, err) == (0, "")
    assert (run / "transformed" / "000-ein Bild äöü.png").is_file()
    assert (run / "edited" / "denoise" / "000-ein Bild äöü.png").is_file()
    assert "数字 &lt;b&gt;run&lt;/b&gt;" in (run / "report.html").read_text(encoding="utf-8")
