"""The detectors that come with the package: whole, small, of a recorded recipe, good for what they are there for."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import genat
from genat import assemble, checkpoints, config, demo, ranking, report, runs, shipped, sources
from genat.detection import logits
from genat.shipped import making

Cli = Callable[..., tuple[int, str, str]]

MOST_BYTES = 2_000_000
DIGESTS = {
    "digits": "2572bf142e91d47f446654bdd20bfd4799616d0429f6c0c05c79152bed95a5bf",
    "emoji-faces": "ddf1a513264a3c6a808b5012036b2b2e82cf95761df19d8b8c1f6a5ed4f42d06",
}


def test_all_of_them_together_are_small() -> None:
    files = [path for name in shipped.NAMES for path in shipped.folder(name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert not [path for path in files if path.suffix not in (".json", ".yaml", ".safetensors")]


@pytest.mark.parametrize("name", shipped.NAMES)
def test_its_weights_are_those_that_were_recorded(name: str) -> None:
    run, made = genat.load(shipped.folder(name)), json.loads((shipped.folder(name) / making.MADE).read_text())
    assert run.digest == made["digest"] == DIGESTS[name]
    assert made["made_by"] == f"python -m genat.shipped {name}"
    assert run.calibration is not None


@pytest.mark.parametrize("name", shipped.NAMES)
def test_its_configuration_is_the_recipe(name: str) -> None:
    assert genat.load(shipped.folder(name)).config == making.recipe(name)


@pytest.mark.parametrize("name", shipped.NAMES)
def test_no_file_names_a_place_of_some_machine(name: str) -> None:
    texts = [
        path.read_text(encoding="utf-8")
        for path in shipped.folder(name).rglob("*")
        if path.suffix in (".json", ".yaml")
    ]
    assert len(texts) == 4
    for text in texts:
        assert not re.search(r"[\"' ]/|\w:\\\\", text)
    for path in shipped.folder(name).rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert file.metadata() in (None, {"format": "pt"})


def test_digits_are_told_from_what_is_none() -> None:
    run, digits = genat.load(shipped.folder("digits")), sources.digits("test").tensor()
    assert run.predict(digits).in_distribution.double().mean() >= 0.9
    for starts in (sources.Noise(run.shape), sources.Photographs(run.shape), sources.DeadLeaves(run.shape)):
        outside = starts.draw(200, generator=torch.Generator().manual_seed(0))
        assert ranking.auroc(logits(run.detector, digits), logits(run.detector, outside)) >= 0.98, starts


def test_faces_are_told_from_what_is_none() -> None:
    run = genat.load(shipped.folder("emoji-faces"))
    faces = run.held_out().tensor()
    for starts in (sources.Noise(run.shape), sources.Photographs(run.shape), sources.DeadLeaves(run.shape)):
        outside = starts.draw(200, generator=torch.Generator().manual_seed(0))
        assert ranking.auroc(logits(run.detector, faces), logits(run.detector, outside)) >= 0.95, starts


@pytest.mark.parametrize("name", shipped.NAMES)
def test_it_samples_and_transforms_without_its_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_data(*_: object, **__: object) -> None:
        raise AssertionError("its data were read")

    monkeypatch.setattr(assemble, "read", no_data)
    run = genat.load(shipped.folder(name))
    made = report.make_samples(run, range(4), tries=2)
    assert run.predict(made.images).in_distribution.double().mean() >= 0.5
    noise = torch.rand(4, *run.shape, generator=torch.Generator().manual_seed(0))
    assert (logits(run.detector, noise) < run.threshold).all()
    ends = genat.transform(run.detector, noise, **run.climbing()).points
    assert (logits(run.detector, ends) > logits(run.detector, noise)).all()


def test_an_unknown_name_is_one_line() -> None:
    message = r"expected a detector that comes with genat \(digits, emoji-faces\), got '../x'"
    with pytest.raises(ValueError, match=message):
        shipped.folder("../x")
    with pytest.raises(ValueError, match=message):
        shipped.copy("../x", "anywhere")


def test_a_copy_takes_no_place_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="expected a new folder, got one that is there"):
        shipped.copy("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []


# condensed


def test_a_condensed_run_judges_and_generates_to_the_same_bits(tiny_run: Path, tmp_path: Path) -> None:
    run = genat.load(tiny_run)
    digest = making.condense(run, tmp_path / "small", command="a command")
    small = genat.load(tmp_path / "small")
    assert small.digest == digest != run.digest
    assert (small.shape, small.iteration, small.config) == (run.shape, run.iteration, run.config)
    assert small.threshold == run.threshold
    own, left = run.detector.state_dict(), small.detector.state_dict()
    assert all(torch.equal(own[key], left[key]) for key in own)
    assert torch.equal(small.held_out().pixels, run.held_out().pixels)
    assert {key.partition(".")[0] for key in checkpoints.latest(tmp_path / "small" / "checkpoints").tensors} == {"ema"}
    made = json.loads((tmp_path / "small" / making.MADE).read_text(encoding="utf-8"))
    assert (made["digest"], made["trained"], made["made_by"]) == (digest, run.digest, "a command")


def test_without_running_means_the_last_weights_stay(tiny_yaml: Path, tmp_path: Path) -> None:
    run, _ = runs.train(config.load(tiny_yaml, ["iterations=2", "ema=null"]), tmp_path / "run")
    making.condense(run, tmp_path / "small", command="")
    small = genat.load(tmp_path / "small")
    assert isinstance(small.detector, nn.Module)
    x = run.held_out().tensor()
    assert torch.equal(small.detector(x), run.detector(x))


def test_a_condensed_run_has_a_report_and_is_not_trained_on(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    making.condense(genat.load(tiny_run), folder, command="")
    page = report.write(genat.load(folder)).read_text(encoding="utf-8")
    assert "The records of this run&#39;s training are not part of its folder." in page
    with pytest.raises(ValueError, match="got the weights of one that has ended, alone"):
        runs.train(runs.load(folder).config, folder, resume=True)


def test_what_cannot_be_condensed_is_one_line(tiny_run: Path, tmp_path: Path) -> None:
    run = genat.load(tiny_run)
    with pytest.raises(ValueError, match="expected a new folder, got one with files"):
        making.condense(run, tiny_run, command="")
    (tiny_run / runs.CALIBRATION).unlink()
    with pytest.raises(ValueError, match="expected a finished training, got one at step 40: resume it"):
        making.condense(genat.load(tiny_run), tmp_path / "small", command="")


# made again


def test_one_command_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_yaml: Path) -> None:
    tiny = config.load(tiny_yaml)
    monkeypatch.setattr(making, "recipe", lambda _: tiny)
    (tmp_path / "package" / "digits").mkdir(parents=True)
    (tmp_path / "package" / "digits" / "of the last time").touch()
    trainings, package = tmp_path / "trainings", tmp_path / "package"
    first = making.make("digits", trainings=trainings, shipped=package)
    assert [path.name for path in package.iterdir()] == ["digits"]
    assert genat.load(package / "digits").digest == first
    assert not (package / "digits" / "of the last time").exists()
    steps = (trainings / "digits" / runs.METRICS).read_bytes()
    assert making.make("digits", trainings=trainings, shipped=package) == first
    assert (trainings / "digits" / runs.METRICS).read_bytes() == steps  # not trained again
    monkeypatch.setattr(making, "recipe", lambda _: config.load(tiny_yaml, ["iterations=41"]))
    with pytest.raises(ValueError, match="expected a training of the recipe, got one of another configuration"):
        making.make("digits", trainings=trainings, shipped=package)


# the command line


def test_shipped_names_a_run_wherever_one_is_taken(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("sample", "shipped:digits", "--seeds", "0-3", "--tries", "1", "--json")
    assert (code, json.loads(out)["grid"]) == (0, "runs/shipped/digits/samples/grid.png")
    assert err == "runs/shipped/digits: a copy of the detector that comes with genat\n"
    code, out, err = run_cli("detect", "shipped:digits", "runs/shipped/digits/samples/seed-00000.png", "--json")
    assert (code, err) == (0, "")
    (judged,) = json.loads(out)["images"]
    assert 1 / 121 <= judged["p_value"] <= 1  # of 120 held-out digits
    own = shipped.folder("digits")
    assert not (own / "samples").exists()


def test_shipped_nothing_is_one_line(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = "genat: expected a detector that comes with genat (digits, emoji-faces), got '../x'\n"
    assert run_cli("sample", "shipped:../x") == (2, "", message)
    assert list(tmp_path.iterdir()) == []


def test_the_quick_demo_shows_what_they_do(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_MADE", 2)
    monkeypatch.setattr(demo, "_QUICK_OUTSIDE", 20)
    code, out, err = run_cli("demo", "--quick", "--json")
    assert code == 0
    told = json.loads(out)
    first, *others = told["rows"]
    assert (first["images"], first["n"]) == ("test images of the target", "599")
    assert [row["images"] for row in others] == ["uniform noise", "dead leaves", "inverted", "shuffled patches"]
    clean = [float(row["AUROC"]) for row in others]
    climbed = [float(row["AUROC, climbed within L2 1"]) for row in others]
    assert all(0.9 <= high <= low <= 1 for low, high in zip(clean, climbed, strict=True))
    assert len(told["pictures"]) == 6
    assert all((tmp_path / path).stat().st_size > 0 for path in told["pictures"])
    assert "digits: detection" in err
    code, out, err = run_cli("demo", "--quick", "--run", "elsewhere")
    assert "elsewhere/digits-samples.png" in out
    assert run_cli("demo", "--quick", "--seed", "1")[2] == (
        "genat: --quick: expected no --seed, since nothing is trained, got 1\n"
    )


# the package


@pytest.mark.slow
def test_wheel_and_sdist_contain_them(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=120)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    own = root / "src" / "genat" / "shipped"
    wanted = {
        str(path.relative_to(root / "src")) for path in own.rglob("*") if path.suffix != ".pyc" and path.is_file()
    }
    assert {"genat/shipped/NOTICE", "genat/shipped/LICENSE-noto-emoji"} < wanted
    with zipfile.ZipFile(wheel) as file:
        assert wanted <= set(file.namelist())
        file.extractall(tmp_path / "installed")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in wanted} <= names
    code = "import genat; print([genat.load(genat.shipped.folder(name)).digest for name in genat.shipped.NAMES])"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == str(list(DIGESTS.values()))
