"""`genat simulate`, end to end: a study trained, printed, drawn, gone on with, and refused."""

import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from genat.simulations import ablation, lineup, measure, studies, trainers, watch
from genat.simulations.lineup import Energy, Gan
from genat.simulations.trainers import Gat

Cli = Callable[..., tuple[int, str, str]]
SMALL = ("--seeds", "0-1", "--budget", 1500)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a study take seconds: small networks, small batches, few samples, cells and moments."""
    monkeypatch.setitem(lineup.TRAINERS, "gat", Gat(batch_size=8, hidden=(8,), last=3))
    monkeypatch.setitem(lineup.TRAINERS, "gan", Gan(batch_size=8, hidden=(8,)))
    monkeypatch.setitem(lineup.TRAINERS, "ebm", Energy(batch_size=8, hidden=(8,), chain_steps=3, sampling_steps=4))
    monkeypatch.setattr(trainers, "SAMPLES", 50)
    monkeypatch.setattr(lineup, "SAMPLES", 50)
    monkeypatch.setattr(measure, "RESOLUTION", 200)
    monkeypatch.setattr(measure, "_HELD_OUT", 200)
    monkeypatch.setattr(watch, "RESOLUTION", {1: 50, 2: 20})
    monkeypatch.setattr(watch, "MOMENTS", 3)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, where a test is not about them."""
    monkeypatch.setattr(studies, "pictures", lambda *_: {})


@pytest.fixture(scope="session")
def studied_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studied") / "it"
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch)
        monkeypatch.setattr(studies, "pictures", lambda *_: {"overview-gat.png": b"a picture"})
        studies.study("ring", trainers=["gat", "gan"], seeds=[0, 1], output=folder, budget=1500, device="cpu",
                      command="genat simulate ring", say=lambda _: None)  # fmt: skip
    return folder


@pytest.fixture
def place(studied_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study of the ring in `it`, a folder of other files and a file; the working directory."""
    shutil.copytree(studied_once, tmp_path / "it")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def strictly(text: str) -> Any:  # noqa: ANN401
    """Parse JSON as the standard has it, which knows no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def look(path: Path) -> tuple[str | None, int]:
    """Return a picture's format and its frames."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image.load()
        assert min(image.size) > 50
        return image.format, getattr(image, "n_frames", 1)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# made


def test_a_study_of_the_plane(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("simulate", "ring", *SMALL, "--threads", 1)
    assert code == 0
    folder = Path("runs/simulations/ring")
    head, _, *rows = [line.split(" | ") for line in out.splitlines() if line.startswith("|")]
    assert head[0] == "| data"
    assert [row[:3] for row in rows] == [
        ["| ring", "box", ""], ["| ring", "gat", "2"], ["| ring", "gan", "2"], ["| ring", "ebm", "2"]
    ]  # fmt: skip
    assert out.startswith((folder / "table.md").read_text())
    said = [line for line in err.splitlines() if line.startswith("gat  ring  step ")]
    assert len(said) in (3, 4)
    pictures = [Path(line) for line in out.splitlines() if not line.startswith("|") and line]
    assert {path.name: look(path) for path in pictures} == {
        "overview-gat.png": ("PNG", 1),
        "overview-gan.png": ("PNG", 1),
        "overview-ebm.png": ("PNG", 1),
        "samples.png": ("PNG", 1),
        "areas-ring.png": ("PNG", 1),
        "surfaces-ring.png": ("PNG", 1),
        "trajectories-ring.png": ("PNG", 1),
        "animation-ring.gif": ("GIF", len(said)),
    }
    assert not list(folder.rglob("current.png"))
    assert all(" half level set 0." in line and line.endswith(" s left") for line in said)
    content = strictly((folder / "table.json").read_text())
    assert content["made"]["made_by"] == "genat simulate ring --seeds 0-1 --budget 1500 --threads 1"
    assert content["made"]["threads"] == 1
    for row in content["rows"][1:]:
        assert 0.8 * 1500 < row["passes"]["mean"] <= 1.2 * 1500
        assert row["iou"]["n"] == 2
        assert row["modes"]["sd"] is not None


@pytest.mark.usefixtures("undrawn")
def test_one_more_time_is_read_and_the_json_is_the_tables(run_cli: Cli, place: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in place.rglob("outcome.*")}
    code, out, err = run_cli("simulate", "ring", *SMALL, "--output", "it", "--trainers", "gat,gan", "--json")
    assert code == 0
    assert len(stamps) == 4
    assert {path: path.stat().st_mtime_ns for path in place.rglob("outcome.*")} == stamps
    assert err.splitlines() == [f"ring  {name}: finished, read from it/ring/{name}" for name in ("gat", "gan")]
    (line,) = out.splitlines()
    assert strictly(line) == strictly((place / "it" / "table.json").read_text())


@pytest.mark.usefixtures("undrawn")
def test_what_is_missing_is_trained(run_cli: Cli, place: Path) -> None:
    (place / "it" / "ring" / "gan" / "outcome.json").unlink()
    kept = (place / "it" / "ring" / "gat" / "outcome.json").stat().st_mtime_ns
    before = strictly((place / "it" / "table.json").read_text())
    code, out, err = run_cli("simulate", "ring", *SMALL, "--output", "it", "--trainers", "gan,gat", "--json")
    assert code == 0
    assert "gan  ring  step " in err
    assert "gat  ring  step " not in err
    assert (place / "it" / "ring" / "gat" / "outcome.json").stat().st_mtime_ns == kept
    rows = {row["trainer"]: row for row in strictly(out)["rows"]}
    for row in before["rows"]:
        row.pop("seconds", None)
        rows[row["trainer"]].pop("seconds", None)
        assert rows[row["trainer"]] == row


def test_the_blobs_on_the_line(run_cli: Cli, tmp_path: Path) -> None:
    arguments = ("simulate", "blobs", *SMALL, "--trainers", "gat", "--output", tmp_path / "line", "--json")
    code, out, _ = run_cli(*arguments)
    assert code == 0
    (row,) = strictly(out)["rows"]  # no box on the line
    assert (row["toy"], row["trainer"], row["seeds"]) == ("blobs", "gat", [0, 1])
    assert look(tmp_path / "line" / "strip-gat.png") == ("PNG", 1)
    history = json.loads((tmp_path / "line" / "blobs" / "gat" / "outcome.json").read_text())["history"]
    assert all(len(record["ratio"]) == 2 and min(record["ratio"]) > 0 for record in history)


@pytest.mark.usefixtures("undrawn")
def test_one_seed(run_cli: Cli, tmp_path: Path) -> None:
    arguments = ("simulate", "ring", "--seeds", 7, "--budget", 500, "--trainers", "gan", "--output", tmp_path / "one")
    code, out, _ = run_cli(*arguments, "--json")
    assert code == 0
    box, row = strictly(out)["rows"]
    assert row["iou"]["sd"] is box["iou"]["sd"] is None
    assert row["seeds"] == [7]


def test_the_ablation(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ablation.families

    def two(base: Gat) -> dict[str, dict[str, Gat]]:
        return {name: dict(list(whole(base)[name].items())[:2]) for name in ("number of steps", "ball")}

    monkeypatch.setattr(ablation, "families", two)
    code, out, err = run_cli("simulate", "ablation", "--seeds", 0, "--budget", 150, "--output", tmp_path / "it")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 2 + 4 + 1
    assert lines[-1] == str(tmp_path / "it" / "ablation.png")
    assert look(tmp_path / "it" / "ablation.png") == ("PNG", 1)
    assert {path.name for path in (tmp_path / "it" / "spirals").iterdir()} == {
        "number-of-steps-to-3", "number-of-steps-to-1", "ball-Linf-0.05"
    }  # fmt: skip
    assert "ball-Linf-0.05  spirals  step " in err
    strictly((tmp_path / "it" / "table.json").read_text())


def test_failures(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "PLANE", ("ring", "moons"))
    arguments = ("simulate", "failures", *SMALL, "--trainers", "gan", "--output", tmp_path / "it")
    code, out, _ = run_cli(*arguments, "--json")
    content = strictly(out)
    assert code == 0
    assert [(row["trainer"], row["rate"], row["runs"]) for row in content["rows"]] == [
        ("gan", rate, 4) for rate in (0.0001, 0.001, 0.01)
    ]
    for row in content["rows"]:
        assert row["low"] <= row["failures"] / row["runs"] <= row["high"]
        assert sum(row["reasons"].values()) == row["failures"]
    assert look(tmp_path / "it" / "failures.png") == ("PNG", 1)


def test_where_everything_diverges_the_study_says_so(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gat", "gan", "ebm"):
        monkeypatch.setitem(lineup.TRAINERS, name, lineup.TRAINERS[name].with_rate(1e30))
    code, out, _ = run_cli("simulate", "ring,blobs", *SMALL, "--output", tmp_path / "it", "--json")
    assert code == 0
    rows = [row for row in strictly(out)["rows"] if row["trainer"] != "box"]
    assert len(rows) == 6
    for row in rows:
        assert (row["diverged"], row["failures"]) == (2, ["not finite"] * 2)
        assert "iou" not in row
    assert look(tmp_path / "it" / "overview-gat.png") == ("PNG", 1)


@pytest.mark.usefixtures("undrawn")
def test_spaces_between_names_change_nothing(run_cli: Cli, place: Path) -> None:
    shutil.copytree(place / "it", place / "runs" / "simulations" / "ring")
    code, _, err = run_cli("simulate", " ring ", *SMALL, "--trainers", " gat , gan", "--json")
    assert code == 0
    assert "finished, read from runs/simulations/ring/ring/gat" in err


def test_help_names_the_studies(run_cli: Cli) -> None:
    code, out, _ = run_cli("simulate", "--help")
    assert code == 0
    for word in (
        "ablation",
        "failures",
        "--trainers",
        "--seeds",
        "--budget",
        "--device",
        "--threads",
        "--output",
        "--json",
    ):
        assert word in out
    assert "simulate" in run_cli("--help")[1]


# mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("rong", ["data sets", "ring", "got rong"]),
        ("ring,rong", ["got rong"]),
        ("ring --trainers gna", ["trainers", "gat", "got gna"]),
        ("ring --trainers gat,gna --output it", ["got gna"]),
        ("ablation --trainers gat", ["ablation", "gat alone"]),
        ("failures --trainers gna", ["got gna"]),
        ("ring --seeds a", ["--seeds", "'a'"]),
        ("ring --seeds=-1", ["--seeds"]),
        ("ring --seeds 3-1", ["--seeds", "rise"]),
        ("ring --seeds 1,1", ["all different", "[1, 1]"]),
        ("ring --seeds 0-2,1", ["all different"]),
        ("ring --budget 0", ["budget of at least 1 pass", "got 0"]),
        ("ring --budget=-3", ["budget", "-3"]),
        ("ring --budget nan", ["budget", "nan"]),
        ("ring --budget inf", ["budget", "inf"]),
        ("ring --device tpu", ["cpu or cuda", "'tpu'"]),
        ("ring --device cuda", ["CUDA", "none"]),
        ("ring --seeds 0-1 --budget 1500 --output it --trainers gat --device cuda", ["CUDA"]),
        ("ring --seeds 0-2 --budget 1500 --output it", ["it", "seeds [0, 1]", "[0, 1, 2]", "name another folder"]),
        ("ring --seeds 0-1 --budget 9000 --output it", ["it", "gat", "iterations", "name another folder"]),
        ("moons --seeds 0-1 --budget 9000 --output it", ["it", "gat", "iterations"]),
        ("ring --seeds 0-1 --output letters", ["letters", "other files"]),
        ("ring --seeds 0-1 --output file", ["file", "expected a folder, got a file"]),
        ("ring --seeds 0-1 --output file/deeper", ["file/deeper", "Not a directory"]),
    ],
)
def test_simulate_refuses(
    run_cli: Cli, place: Path, arguments: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refuses(run_cli, place, arguments, *words)


def refuses(run_cli: Cli, place: Path, arguments: str, *words: str) -> None:
    """Expect one line with these words and every file as it was."""
    before = tree(place)
    code, out, err = run_cli("simulate", *arguments.split())
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("genat: ")
    for word in words:
        assert word in line
    assert tree(place) == before


def test_a_radius_below_zero_never_comes_to_a_folder(place: Path) -> None:
    before = tree(place)
    with pytest.raises(ValueError, match=r"radius .* got -1"):
        Gat(radius=-1)
    assert tree(place) == before


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("simulation.json", b""),
        ("simulation.json", b"{}"),
        ("simulation.json", b"[]"),
        ("simulation.json", b"\xff\xfe"),
        ("ring/gan/outcome.json", b""),
        ("ring/gan/outcome.json", b"5"),
        ("ring/gan/outcome.json", b"{}"),
        ("ring/gan/outcome.safetensors", b"short"),
        ("ring/gan/outcome.safetensors", None),
    ],
)
def test_a_corrupt_folder(run_cli: Cli, place: Path, path: str, content: bytes | None) -> None:
    file = place / "it" / path
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    arguments = "ring --seeds 0-1 --budget 1500 --output it --trainers ebm,gat,gan"  # nothing is trained before
    refuses(run_cli, place, arguments, "it/" + str(Path(path).parent if "/" in path else path))


def test_a_file_where_a_data_set_should_go(run_cli: Cli, place: Path) -> None:
    (place / "it" / "moons").write_text("x")
    refuses(run_cli, place, "moons --seeds 0-1 --budget 1500 --output it --trainers gat", "it/moons", "got a file")


@pytest.mark.parametrize("arguments", ["", "ring --budget many", "ring --nonsense", "ring moons"])
def test_typers_own_refusals(run_cli: Cli, place: Path, arguments: str) -> None:
    before = tree(place)
    code, out, err = run_cli("simulate", *arguments.split())
    assert (code, out) == (2, "")
    assert "Usage" in err
    assert "Traceback" not in err
    assert tree(place) == before


@pytest.mark.usefixtures("undrawn")
def test_an_interrupt_is_130_and_can_be_gone_on_from(
    run_cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "it" / "ring" / "gan" / "outcome.json").unlink()
    before = strictly((place / "it" / "table.json").read_text())
    arguments = ("simulate", "ring", *SMALL, "--output", "it", "--trainers", "gat,gan", "--json")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(watch, "lattice", interrupted)
        assert run_cli(*arguments)[:2] == (130, "")
    code, out, _ = run_cli(*arguments)
    assert code == 0
    after = strictly(out)["rows"]
    assert [row["iou"]["mean"] for row in after] == [row["iou"]["mean"] for row in before["rows"]]
    assert all(math.isfinite(row["iou"]["mean"]) for row in after)
