"""`genat detect`: any number of images, a line each, whatever their names and state."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from PIL import Image

from genat import plots, runs
from genat.cli.arguments import verdict
from genat.cli.detecting import Format, writer
from genat.detection import Calibration
from genat.detection.evidence import occluded
from genat.detection.smoothing import bounds, medians, noisy_logits, robust_p_values
from genat.sources import load_image

Cli = Callable[..., tuple[int, str, str]]

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two folders of random pictures, three files that cannot be read, and a text."""
    folder, generator = tmp_path / "photos", np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "5.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / name)
    (folder / "a" / "torn.png").write_bytes((folder / "5.png").read_bytes()[:50])
    (folder / "b" / "page.png").write_text("<html>", encoding="utf-8")
    (folder / "link.png").symlink_to("nothing")
    (folder / "notes.txt").write_text("a text", encoding="utf-8")
    return folder


def _feed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> IO[str]:
    path = tmp_path / "standard-input"
    path.write_bytes(content)
    stream = path.open(encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stream)
    return stream


GOOD = ["5.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png"]


def test_a_folder_is_judged_whole_and_the_unreadable_named(run_cli: Cli, tiny_run: Path, photos: Path) -> None:
    code, out, err = run_cli("detect", tiny_run, photos)
    assert code == 0
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(photos / name) for name in GOOD]
    *skipped, ignored, count = err.splitlines()
    assert [line.partition(", got ")[0] for line in skipped] == [
        f"skipped: expected an image in '{photos}/{name}'" for name in ("a/torn.png", "b/page.png", "link.png")
    ]
    assert skipped[1].endswith("got no PNG, JPEG, WEBP, BMP, GIF, TIFF")
    assert skipped[2].endswith("got a broken link")
    assert (ignored, count) == ("files ignored, not named as images: 1", "3 of 8 files could not be read")


def test_every_format_says_the_same(run_cli: Cli, tiny_run: Path, photos: Path) -> None:
    whole = json.loads(run_cli("detect", tiny_run, photos, "--json")[1])
    rows = whole["images"]
    assert [
        json.loads(line) for line in run_cli("detect", tiny_run, photos, "--format", "jsonl")[1].splitlines()
    ] == rows
    table = list(csv.DictReader(io.StringIO(run_cli("detect", tiny_run, photos, "--format", "csv")[1])))
    assert [row["file"] for row in table] == [row["file"] for row in rows]
    assert [[json.loads(row[name]) for name in ("score", "p_value", "in_distribution")] for row in table] == [
        [row["score"], row["p_value"], row["in_distribution"]] for row in rows
    ]
    for line, row in zip(run_cli("detect", tiny_run, photos)[1].splitlines(), rows, strict=True):
        verdict = "in" if row["in_distribution"] else "out of"
        assert line.startswith(
            f"{row['file']}: {verdict} distribution  score {row['score']:.4f}  p {row['p_value']:.4f}"
        )
    assert [one["file"] for one in whole["skipped"]] == [
        f"{photos}/{n}" for n in ("a/torn.png", "b/page.png", "link.png")
    ]
    assert whole["tpr"] == 0.95
    assert whole["threshold"] == runs.load(tiny_run).threshold
    assert whole["alpha"] is None


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_scores_do_not_depend_on_batches(run_cli: Cli, tiny_run: Path, photos: Path, batch_size: int) -> None:
    run = runs.load(tiny_run)
    rows = json.loads(run_cli("detect", tiny_run, photos, "--batch-size", batch_size, "--json")[1])["images"]
    images = torch.cat([load_image(row["file"], shape=run.shape)[0] for row in rows])
    torch.testing.assert_close(
        torch.tensor([row["score"] for row in rows]), run.predict(images).score.float(), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.9])
def test_alpha_judges_by_the_p_value(run_cli: Cli, tiny_run: Path, photos: Path, alpha: float) -> None:
    whole = json.loads(run_cli("detect", tiny_run, photos, "--alpha", alpha, "--json")[1])
    calibration = runs.load(tiny_run).calibration
    assert calibration is not None
    assert (whole["alpha"], whole["threshold"]) == (alpha, calibration.threshold_at(alpha))
    for row in whole["images"]:
        assert row["in_distribution"] == (row["p_value"] > alpha)


def test_what_was_converted_is_counted(run_cli: Cli, tiny_run: Path, tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB" if i else "L", (9, 9), "red" if i else 3).save(tmp_path / f"{i}.png")
    _, out, err = run_cli("detect", tiny_run, *sorted(tmp_path.glob("*.png")))
    assert len(out.splitlines()) == 3
    assert err.splitlines() == ["2 of 3 images converted from RGB to grey", "3 of 3 images resized to 8 x 8"]


# standard input


@pytest.mark.parametrize("null", [False, True])
def test_paths_come_from_standard_input(
    run_cli: Cli, tiny_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, null: bool
) -> None:
    """Missing paths and folders are skipped; empty lines are none; the last path needs no end."""
    odd = photos / ("new\nline.png" if null else "a b.png")
    (photos / "5.png").rename(odd)
    names = [b"", bytes(odd), b"", bytes(photos / "a"), bytes(photos / "gone.png"), bytes(photos / "b" / "3.png")]
    with _feed(monkeypatch, tmp_path, (b"\0" if null else b"\n").join(names)):
        code, out, err = run_cli("detect", tiny_run, "-", "--format", "jsonl", *(["-0"] if null else []))
    assert code == 0
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(odd), str(photos / "b" / "3.png")]
    assert [line.rpartition(", got ")[2] for line in err.splitlines()] == [
        "Is a directory",
        "No such file or directory",
        "2 of 4 files could not be read",
    ]


def test_standard_input_may_stand_among_others(
    run_cli: Cli, tiny_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _feed(monkeypatch, tmp_path, bytes(photos / "5.png")):
        _, out, _ = run_cli(
            "detect", tiny_run, photos / "b" / "3.png", "-", photos / "a" / "1.png", "--format", "jsonl"
        )
    assert [Path(json.loads(line)["file"]).name for line in out.splitlines()] == ["3.png", "5.png", "1.png"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "genat: expected paths of images on standard input, got none"),
        (b"\n\n", "genat: expected paths of images on standard input, got none"),
        (b"gone.png\n", "genat: expected at least one image that can be read, got none among 1 files"),
        (b"x" * 140_000, "genat: expected paths on standard input, got one of more than 65536 bytes"),
    ],
)
def test_nothing_to_judge_is_a_mistake(
    run_cli: Cli, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, content: bytes, says: str
) -> None:
    with _feed(monkeypatch, tmp_path, content):
        code, out, err = run_cli("detect", tiny_run, "-")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == says


# exit codes


def _judged_by(run: Path, logit: float) -> None:
    path = run / "calibration.json"
    content = json.loads(path.read_text(encoding="utf-8")) | {"logits": [logit] * 20}
    path.write_text(json.dumps(content), encoding="utf-8")


def test_exit_codes_tell_verdicts_and_what_was_skipped(run_cli: Cli, tiny_run: Path, photos: Path) -> None:
    """Held-out logits below all accept every image, and above all none."""
    good, all_in, all_out = photos / "5.png", -1e6, 1e6
    for level, arguments, expected in (
        (all_out, (photos,), 0),
        (all_out, (photos, "--strict"), 3),
        (all_out, (good, "--strict"), 0),
        (all_out, (good, "--exit-code"), 1),
        (all_out, (photos, "--exit-code", "--strict"), 3),
        (all_in, (photos, "--exit-code"), 0),
    ):
        _judged_by(tiny_run, level)
        code, out, _ = run_cli("detect", tiny_run, *arguments)
        assert code == expected, arguments
        assert out.count(": out of distribution" if level == all_out else ": in distribution") == len(out.splitlines())
        assert run_cli("detect", tiny_run, *arguments, "--json")[0] == expected


# certificates

COLUMNS = ["smoothed_score", "smoothed_p_value", "lowest_score", "highest_score", "robust_p_value", "certified"]


def test_certificates_are_those_of_the_smoothed_detector(run_cli: Cli, tiny_run: Path, photos: Path) -> None:
    options = ("--certify", 0.3, "--sigma", 0.2, "--draws", 300, "--seed", 4)
    code, out, err = run_cli("detect", tiny_run, photos, *options, "--json")
    whole, run = json.loads(out), runs.load(tiny_run)
    assert code == 0
    held_out = noisy_logits(run.detector, run.held_out().tensor(), sigma=0.2, draws=300, seed=4)
    calibration = Calibration(medians(held_out), tpr=0.95)
    assert whole["certificate"] == {
        "radius": 0.3, "sigma": 0.2, "draws": 300, "seed": 4, "confidence": 0.999,
        "threshold": calibration.threshold, "held_out": 64,
    }  # fmt: skip
    assert len(whole["images"]) == 5
    for row in whole["images"]:
        rows = noisy_logits(run.detector, load_image(row["file"], shape=run.shape)[0], sigma=0.2, draws=300, seed=4)
        low, high = bounds(rows, sigma=0.2, radius=0.3)
        assert (row["lowest_score"], row["highest_score"]) == (-high.item(), -low.item())
        assert row["smoothed_score"] == -medians(rows).item()
        assert row["smoothed_p_value"] == calibration.p_values(medians(rows)).item()
        assert row["robust_p_value"] == robust_p_values(calibration, rows, sigma=0.2, radius=0.3).item()
        safe = {"out": high < calibration.threshold, "in": low >= calibration.threshold}
        assert safe.get(row["certified"], not any(safe.values()))
    assert [line for line in err.splitlines() if line.startswith("certif")] == [
        "certificates are of the smoothed detector, the median logit under noise of standard deviation 0.2, calibrated "
        f"on 64 held-out images: in from a logit of {calibration.threshold:.4f}",
        "certified out (in): no change of L2 length 0.3 or less gets the image accepted (rejected), with probability "
        "0.999 over 300 draws of noise, if the image was chosen not knowing their seed",
    ]


def test_the_smoothed_logit_can_be_calibrated_on_other_images(run_cli: Cli, tiny_run: Path, photos: Path) -> None:
    """What depends on the calibration changes, and nothing else."""
    run, how = runs.load(tiny_run), ("--certify", 0.2, "--draws", 150, "--json")
    own = json.loads(run_cli("detect", tiny_run, photos / "b" / "3.png", *how)[1])
    (photos / "a" / "torn.png").unlink()
    given = json.loads(run_cli("detect", tiny_run, photos / "b" / "3.png", *how, "--held-out", photos / "a")[1])
    images = torch.cat([load_image(photos / "a" / name, shape=run.shape)[0] for name in ("1.png", "2.png")])
    threshold = Calibration(medians(noisy_logits(run.detector, images, sigma=0.2, draws=150)), tpr=0.95).threshold
    assert (given["certificate"]["threshold"], given["certificate"]["held_out"]) == (threshold, 2)
    assert given["images"][0]["smoothed_p_value"] in (1 / 3, 2 / 3, 1.0)
    for name in ("smoothed_score", "lowest_score", "highest_score"):
        assert given["images"][0][name] == own["images"][0][name]


def test_every_format_has_the_certificates(run_cli: Cli, tiny_run: Path, photos: Path) -> None:
    """Whatever the batches: noise depends on the image alone."""
    how = ("--certify", 0.2, "--draws", 150, "--alpha", 0.1)
    rows = json.loads(run_cli("detect", tiny_run, photos, *how, "--json")[1])["images"]
    lines = run_cli("detect", tiny_run, photos, *how, "--format", "jsonl", "--batch-size", 2)[1].splitlines()
    for line, row in zip(lines, rows, strict=True):
        assert json.loads(line) == pytest.approx(row, abs=1e-5)
        assert list(row) == ["file", "score", "p_value", "in_distribution", *COLUMNS]
    table = csv.DictReader(io.StringIO(run_cli("detect", tiny_run, photos, *how, "--format", "csv")[1]))
    for cells, line, row in zip(table, run_cli("detect", tiny_run, photos, *how)[1].splitlines(), rows, strict=True):
        assert cells["certified"] == row["certified"]
        assert float(cells["highest_score"]) == row["highest_score"]
        words = f"  certified {row['certified']}  smoothed {row['smoothed_score']:.4f} in [{row['lowest_score']:.4f}, "
        assert line.partition(f"p {row['p_value']:.4f}")[2].startswith(words)
        assert line.endswith(f"{row['highest_score']:.4f}]  robust p {row['robust_p_value']:.4f}")


# maps


def test_maps_are_drawn_beside_their_images(run_cli: Cli, tiny_run: Path, photos: Path, tmp_path: Path) -> None:
    long = photos / ("x" * 250 + ".png")
    (photos / "5.png").rename(long)
    maps = tmp_path / "deep" / "maps"
    code, out, _ = run_cli("detect", tiny_run, photos, "--maps", maps, "--format", "jsonl")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    names = [f"{i:05d}-{name}.png" for i, name in enumerate(["1", "2", "3", "4", "x" * 200])]
    assert [row["map"] for row in rows] == [str(maps / name) for name in names]
    assert sorted(path.name for path in maps.iterdir()) == names
    run, image = runs.load(tiny_run), load_image(rows[0]["file"], shape=(1, 8, 8))[0]
    title = f"{verdict(inside=rows[0]['in_distribution'])}  score {rows[0]['score']:.2f}  p {rows[0]['p_value']:.4f}"
    expected = plots.evidence(image[0], occluded(run.detector, image)[0], title=title)
    assert (maps / names[0]).read_bytes() == expected


# names


@pytest.fixture
def odd_names(tmp_path: Path, photos: Path) -> tuple[Path, list[bytes]]:
    """A folder of images named in bytes that are no UTF-8, a line feed, a terminal's escape; and one broken."""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [b'caf\xe9,".png', b"two\nlines.png", "数字\x1b[31m.png".encode()]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes((photos / "5.png").read_bytes())
    (folder / os.fsdecode(b"bad\xff.png")).write_bytes(b"no image")
    return folder, [bytes(folder / os.fsdecode(name)) for name in sorted(names, key=os.fsdecode)]


def test_names_that_are_no_text_are_escaped_in_text(
    run_cli: Cli, tiny_run: Path, odd_names: tuple[Path, list[bytes]]
) -> None:
    folder, _ = odd_names
    code, out, err = run_cli("detect", tiny_run, folder)
    assert code == 0
    shown = [r'caf\xe9,".png', r"two\nlines.png", r"数字\x1b[31m.png"]
    assert [line.partition(": ")[0] for line in out.splitlines()] == [f"{folder}/{name}" for name in shown]
    assert len(err.splitlines()) == 2
    assert r"bad\udcff.png" in err


def test_names_that_are_no_text_come_back_from_json(
    run_cli: Cli, tiny_run: Path, odd_names: tuple[Path, list[bytes]]
) -> None:
    folder, names = odd_names
    out = run_cli("detect", tiny_run, folder, "--format", "jsonl")[1]
    assert [os.fsencode(json.loads(line)["file"]) for line in out.splitlines()] == names
    whole = json.loads(run_cli("detect", tiny_run, folder, "--json")[1])
    assert [os.fsencode(row["file"]) for row in whole["images"]] == names
    assert os.fsencode(whole["skipped"][0]["file"]) == bytes(folder) + b"/bad\xff.png"


def test_names_that_are_no_text_are_csv_as_they_are(
    odd_names: tuple[Path, list[bytes]], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    names = odd_names[1]
    write = writer(Format.CSV)
    for name in names:
        write({"file": os.fsdecode(name), "score": 1.5})
    rows = csv.DictReader(io.StringIO(os.fsdecode(capsysbinary.readouterr().out), newline=""))
    assert [(os.fsencode(row["file"]), row["score"]) for row in rows] == [(name, "1.5") for name in names]


# pipes


def test_a_closed_pipe_ends_quietly(tiny_run: Path, photos: Path) -> None:
    """The list has no end: only the closed pipe can stop it."""
    endless = f"while true; do echo {photos}/5.png; done"
    command = f"({endless}) | {sys.executable} -m genat detect {tiny_run} - | head -n 2"
    done = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, check=False, timeout=120)
    assert len(done.stdout.splitlines()) == 2
    assert b"genat" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_lines_come_while_more_is_awaited(tiny_run: Path, photos: Path) -> None:
    """With batches of one, a verdict is there before the next path is sent."""
    command = [sys.executable, "-m", "genat", "detect", str(tiny_run), "-", "--batch-size", "1"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in ("5.png", "a/1.png"):
            process.stdin.write(bytes(photos / name) + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(bytes(photos / name) + b": ")
        process.stdin.close()
        assert process.wait(timeout=60) == 0


# progress


@pytest.mark.parametrize(("total", "count"), [(2, "2/2"), (None, "2")])
def test_a_bar_counts_on_a_terminal_and_nowhere_else(total: int | None, count: str) -> None:
    from rich.console import Console

    from genat.progress import Counting

    for terminal, quiet in ((True, False), (False, False), (True, True)):
        stream = io.StringIO()
        console = Console(file=stream, width=100, force_terminal=terminal)
        with Counting("judged", total=total, quiet=quiet, console=console) as progress:
            progress.advance()
            progress.say("skipped: [red]x[/blue]")
            progress.advance()
        assert "skipped: [red]x[/blue]" in stream.getvalue()
        assert (count in stream.getvalue()) == (terminal and not quiet)


def test_the_first_row_of_csv_alone_has_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    write = writer(Format.CSV)
    for inside in (True, False):
        write({"file": "a", "in_distribution": inside})
    assert capsys.readouterr().out == "file,in_distribution\na,true\na,false\n"


# size

MEASURE = """
import resource, sys
from genat.cli import main
sys.argv = ["genat", "detect", *sys.argv[1:]]
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
def test_twenty_thousand_images_need_no_more_memory_than_two_hundred(trained_once: Path, tmp_path: Path) -> None:
    """50 of them cannot be read, in five ways, and are named; the others have a line each."""
    generator = np.random.default_rng(0)
    content = []
    for _ in range(50):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, format="PNG")
        content.append(buffer.getvalue())
    peaks, broken = {}, set()
    for count in (200, 20_000):
        folder = tmp_path / str(count)
        for i in range(count):
            path = folder / f"{i // 1000:02d}" / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[i % 50])
        broken = {path for i, path in enumerate(sorted(folder.glob("*/*.png"))) if i % 400 == 7 and count > 200}
        for i, path in enumerate(sorted(broken)):
            _break(path, i % 5)
        command = [sys.executable, "-c", MEASURE, str(trained_once), str(folder)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=600)
        *said, peak = done.stderr.splitlines()
        peaks[count] = int(peak) / 1024
        assert len(done.stdout.splitlines()) == count - len(broken)
        skipped = [line for line in said if line.startswith("skipped: ")]
        assert {Path(line.split("'")[1]) for line in skipped} == broken
        assert len(skipped) == len(broken)
    assert len(broken) == 50
    assert said[-1] == "50 of 20000 files could not be read"
    assert peaks[20_000] - peaks[200] < 300, peaks


def _break(path: Path, how: int) -> None:
    content = path.read_bytes()
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    match how:
        case 0:
            path.write_bytes(b"")
        case 1:
            path.write_bytes(content[: len(content) // 2])
        case 2:
            path.write_text("<html>", encoding="utf-8")
        case 3:
            path.symlink_to("nothing")
        case _:
            os.mkfifo(path)
