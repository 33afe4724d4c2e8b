"""What the studio's pages do, without a browser."""

import base64
import csv
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import genat
from genat import config, generation, plots, report, runs
from genat.simulations import panels
from genat.simulations.watch import Watch
from genat.sources.toy import TOYS
from genat.studio.logic import (
    Opened,
    browsing,
    climbing,
    comparing,
    detecting,
    fields,
    markup,
    open_runs,
    sheets,
    simulating,
)
from genat.studio.logic.climbing import Settings, Way
from genat.studio.logic.sheets import Sheet
from genat.studio.logic.streaming import stream

KEYS = ["iterations=2", "outside=[{kind: uniform-noise}]", "sampling.steps=5", "batch_size=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "detector"
    runs.train(config.load("digits", [*KEYS, "network_options.hidden=[8]"]), place)
    return place


@pytest.fixture(scope="module")
def one(folder: Path) -> Opened:
    return open_runs([folder])[str(folder)]


@pytest.fixture(scope="module")
def committee(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    place = tmp_path_factory.mktemp("runs") / "committee"
    runs.train(config.load("committee-digits", [*KEYS, "network_options.width=4"]), place)
    return open_runs([place])[str(place)]


def went(opened: Opened, sheet: Sheet, **how: object) -> tuple[Way, Tensor]:
    settings = replace(climbing.asked(opened, steps=5, step_size=0.1, strength=1, kind=None), **how)  # type: ignore[arg-type]
    way = climbing.begun(opened, sheet, settings)
    last = torch.empty(0)
    for moment in climbing.climb(opened, sheet, settings):
        way, last = way.then(moment), moment.image
    return way, last


def with_mask(sheet: Sheet) -> Sheet:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 1:7] = True
    return Sheet(sheet.pixels, mask, sheet.origin)


# work that is watched


def test_what_is_told_comes_in_order_and_the_work_is_one_thing_ahead_at_most() -> None:
    told: list[int] = []

    def work(tell: Callable[[int], None]) -> None:
        for i in range(5):
            told.append(i)
            tell(i)

    looks = stream(work)
    for i in range(5):
        assert next(looks) == i
        assert len(told) <= i + 3  # taken, waiting, and about to be told
    assert list(looks) == []


def test_closing_ends_the_work_at_what_it_tells_next() -> None:
    ended = threading.Event()

    def work(tell: Callable[[int], None]) -> None:
        try:
            while True:
                tell(0)
        finally:
            ended.set()

    looks = stream(work)
    next(looks)
    looks.close()
    assert ended.wait(30)


def test_it_ends_while_it_waits_for_what_is_told() -> None:
    over, heard, ended = threading.Event(), threading.Event(), threading.Event()

    def work(tell: Callable[[int], None]) -> None:
        try:
            tell(0)
            heard.wait(30)
            tell(1)
        finally:
            ended.set()

    looks = stream(work, ends=over.is_set)
    assert next(looks) == 0
    over.set()
    assert list(looks) == []
    assert not ended.is_set()  # the work goes on to what it tells next, which nobody hears
    heard.set()
    assert ended.wait(30)


def test_an_error_comes_after_what_was_told() -> None:
    def work(tell: Callable[[int], None]) -> None:
        tell(1)
        raise ValueError("no more")

    looks = stream(work)
    assert next(looks) == 1
    with pytest.raises(ValueError, match="no more"):
        next(looks)


# runs


def test_runs_are_opened_by_name(one: Opened, folder: Path) -> None:
    assert one.name == str(folder)
    assert one.starts is not None
    assert one.missing == ""


def test_what_is_told_of_runs(tiny_run: Path) -> None:
    (tiny_run / runs.CALIBRATION).unlink()
    settings = config.load(tiny_run / runs.CONFIG, ["outside=[{kind: folder, path: gone}]"])
    (tiny_run / runs.CONFIG).write_text(config.dump(settings), encoding="utf-8")
    lines: list[str] = []
    opened = open_runs([tiny_run], say=lines.append)[str(tiny_run)]
    assert opened.starts is None
    assert len(lines) == 2
    assert lines[0].startswith(f"{tiny_run}: no samples, climbs have nowhere to start: ")
    assert lines[1] == f"{tiny_run}: no p-values and no verdicts: the run's training has not ended"
    with pytest.raises(ValueError, match="expected outside data to draw from, got none: "):
        sheets.drawn(opened, "outside", 0)
    (row,) = next(detecting.judge(opened, [_png(tiny_run / "a.png")]))
    assert (row.p_value, row.inside) == (None, None)
    assert row.cells()[2:4] == ["", ""]
    assert "none: the training has not ended" in browsing.facts(opened)


def test_a_run_is_opened_once(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected each run once, got it again"):
        open_runs([folder, folder / "."])


# sheets


def test_a_sheet_comes_back_as_it_was(one: Opened) -> None:
    sheet = with_mask(sheets.drawn(one, "outside", 7))
    back = sheets.read(sheet.dump(), one.run.shape)
    assert back.pixels.equal(sheet.pixels)
    assert back.mask.equal(sheet.mask)
    assert back.origin == ("outside", 7)


def test_a_seed_begins_where_its_draw_is_and_a_picture_at_its_bytes(one: Opened) -> None:
    assert one.starts is not None
    exact = generation.draw_starts(one.starts, seeds=[7])
    assert sheets.start(sheets.drawn(one, "outside", 7), one).equal(exact)
    painted = Sheet(sheets.drawn(one, "outside", 7).pixels, torch.zeros(8, 8, dtype=torch.bool))
    assert sheets.start(painted, one).equal((exact * 255).round() / 255)


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"shape": [1, 8, 8], "pixels": "?", "mask": "", "origin": null}']
)
def test_what_is_no_sheet_is_refused(text: str | None) -> None:
    with pytest.raises(ValueError, match="expected a sheet of pixels, got something else"):
        sheets.read(text, (1, 8, 8))


def test_a_sheet_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a sheet of 1 x 8 x 8 pixels, got one of 3 x 4 x 4"):
        sheets.read(sheets.blank((3, 4, 4)).dump(), (1, 8, 8))


@pytest.mark.parametrize(
    ("seed", "words"), [(None, "nothing"), (-1, "-1"), (0.5, "0.5"), (float("nan"), "nan"), (2.0**53, "9")]
)
def test_a_seed_is_a_whole_number(seed: float | None, words: str) -> None:
    with pytest.raises(ValueError, match=f"expected a seed, a whole number from 0 on, got {words}"):
        sheets.check_seed(seed)


def test_an_upload_is_called_by_its_name(one: Opened, tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    sheet, notes = sheets.uploaded(tmp_path / "red.png", one)
    assert (sheet.pixels == 76).all()
    assert notes == ("converted from RGB to grey", "resized to 8 x 8")
    (tmp_path / "broken.png").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"^expected an image in 'broken\.png', got no PNG"):
        sheets.uploaded(tmp_path / "broken.png", one)


# climbs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["outside", "noise", "picture"])
def test_a_climb_is_the_one_that_its_lines_repeat(
    one: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, masked: bool
) -> None:
    sheet = sheets.drawn(one, "noise" if kind == "noise" else "outside", 3)
    if kind == "picture":
        sheet = Sheet(sheet.pixels, sheet.mask)
    sheet = with_mask(sheet) if masked else sheet
    way, last = went(one, sheet, strength=0.5)
    monkeypatch.chdir(tmp_path)
    Path("start.png").write_bytes(plots.single(sheet.pixels.float() / 255))
    Path("mask.png").write_bytes(climbing.mask_png(sheet))
    names: dict[str, Tensor] = {}
    exec(climbing.python(way), names)
    assert names["made"][0].equal(last)
    assert len(way.logits) == 6
    moved = (last - sheets.start(sheet, one)[0]).abs()[0] > 0
    assert moved.any()
    assert not masked or not (moved & ~sheet.mask).any()


def test_what_comes_with_genat_is_named_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_runs([Path("shipped:digits")])["shipped:digits"]
    way, last = went(opened, sheets.drawn(opened, "outside", 3))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Tensor] = {}
    exec(climbing.python(way), names)
    assert names["made"][0].equal(last)
    assert (climbing.command(way) or "").startswith("genat sample shipped:digits --seeds 3 ")


def test_the_logits_are_those_of_the_points(one: Opened) -> None:
    moments = list(climbing.climb(one, sheets.drawn(one, "outside", 0), Settings(4, 0.1)))
    images = torch.stack([moment.image for moment in moments])
    expected = [one.run.detector(image[None]).item() for image in images]
    assert [moment.logit for moment in moments] == pytest.approx(expected, abs=1e-5)
    assert [moment.step for moment in moments] == [0, 1, 2, 3, 4]
    assert moments[-1].logit > moments[0].logit


def test_a_class_climbs_its_own_logit(committee: Opened) -> None:
    sheet = sheets.drawn(committee, "noise", 1)
    way, last = went(committee, sheet, kind="7")
    start, how = sheets.start(sheet, committee), committee.run.climbing(steps=5, step_size=0.1)
    how["chunk"] = 1
    expected = genat.transform(committee.run.of_class("7"), start, **how)
    assert last.equal(expected.points[0])
    assert way.threshold is None
    assert "--class" not in (climbing.command(way) or "")
    assert "run.of_class('7')" in climbing.python(way)
    with pytest.raises(ValueError, match="expected a class of 0, 1"):
        climbing.asked(committee, steps=1, step_size=1, strength=1, kind="cat")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "expected 1 to 256 steps, got 0"),
        ({"steps": 1.5}, "expected 1 to 256 steps, got 1.5"),
        ({"step_size": 0}, "expected a step size above 0, pixels in [0, 1], got 0"),
        ({"step_size": float("nan")}, "expected a step size above 0, pixels in [0, 1], got nan"),
        ({"strength": 0}, "expected a strength above 0 and up to 1, got 0"),
        ({"strength": 1.5}, "expected a strength above 0 and up to 1, got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(one: Opened, settings: dict[str, float], words: str) -> None:
    given = {"steps": None, "step_size": None, "strength": None} | settings
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole line is compared
        climbing.asked(one, kind=None, **given)
    assert str(error.value) == words


def test_a_record_says_all_that_repeats_a_climb(one: Opened) -> None:
    way, _ = went(one, with_mask(sheets.drawn(one, "outside", 3)))
    record = json.loads(climbing.record(way, one))
    assert record["start"] == {"drawn": "outside", "seed": 3}
    assert record["digest"] == one.run.digest
    assert record["logits"] == list(way.logits)
    with Image.open(io.BytesIO(base64.b64decode(record["mask"]))) as mask:
        assert sum(value > 0 for value in mask.tobytes()) == 18
    assert record["command"] is None  # a seed's start under a mask has no command
    assert "\n".join(record["python"]) == climbing.python(way).rstrip("\n")


def test_commands_are_those_of_the_command_line(
    one: Opened, run_cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, last = went(one, sheets.drawn(one, "outside", 3))
    command = climbing.command(way)
    assert command is not None
    code, _, error = run_cli(*command.split()[1:])
    assert (code, error) == (0, "")
    made, _ = genat.sources.load_image(one.run.folder / "samples" / "seed-00003.png", shape=one.run.shape)
    torch.testing.assert_close(made[0], last, rtol=0, atol=0.51 / 255)
    monkeypatch.chdir(tmp_path)
    for sheet in (sheets.blank(one.run.shape), with_mask(sheets.blank(one.run.shape))):
        way, last = went(one, sheet)
        Path("start.png").write_bytes(plots.single(sheet.pixels.float() / 255))
        Path("mask.png").write_bytes(climbing.mask_png(sheet))
        command = climbing.command(way)
        assert command is not None
        code, out, _ = run_cli(*command.split()[1:])
        assert code == 0
        made, _ = genat.sources.load_image(out.splitlines()[0], shape=one.run.shape)
        torch.testing.assert_close(made[0], last, rtol=0, atol=0.51 / 255)


def test_a_stage_has_words_for_its_pictures(one: Opened) -> None:
    way, _ = went(one, sheets.drawn(one, "outside", 0))
    html = climbing.stage(way, 2)
    assert f"step 2 of 5, logit {way.logits[2]:.3f}" in html
    assert html.count("alt=") == 2
    assert 'role="img" aria-label="logit by step' in html
    assert climbing.stage(way, 99) == climbing.stage(way, 5)
    takes = climbing.takeaways(way, one)
    assert [part.split('"')[0] for part in takes.split('download="')[1:]] == ["climb.png", "climb.gif", "climb.json"]


def test_a_gif_has_the_frames_of_the_way() -> None:
    with Image.open(
        io.BytesIO(markup.moving(torch.rand(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))))
    ) as picture:
        assert picture.size == (256, 256)
        assert picture.n_frames == 64  # type: ignore[attr-defined]


def test_a_curve_of_what_is_not_finite_is_drawn() -> None:
    assert "polyline" in markup.curve([1.0, float("nan"), 2.0], steps=2, at=1)
    assert "circle" not in markup.curve([1.0, float("nan")], steps=2, at=1)


# judging


def _png(path: Path, seed: int = 0) -> Path:
    path.write_bytes(plots.single(torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(seed))))
    return path


def test_rows_come_in_the_order_of_the_files_and_a_broken_one_is_a_row(one: Opened, tmp_path: Path) -> None:
    files = [_png(tmp_path / f"{i}.png", i) for i in range(20)]
    files[3].write_bytes(b"?")
    seen = list(detecting.judge(one, files))
    assert [len(rows) for rows in seen] == [16, 20]
    rows = seen[-1]
    assert [row.file for row in rows] == [file.name for file in files]
    assert [bool(row.error) for row in rows] == [i == 3 for i in range(20)]
    images = torch.cat([genat.sources.load_image(file, shape=one.run.shape)[0] for file in files if file != files[3]])
    expected = one.run.predict(images)
    read = [row for row in rows if not row.error]
    assert [row.score for row in read] == pytest.approx(expected.score.tolist(), abs=1e-5)
    assert [row.inside for row in read] == expected.in_distribution.tolist()
    table = list(csv.DictReader(io.StringIO(detecting.written(rows))))
    assert [row["error"] for row in table if row["error"]] == [
        "expected an image in '3.png', got no PNG, JPEG, WEBP, BMP, GIF, TIFF"
    ]
    assert detecting.page(rows).count("<tr>") == 21
    assert detecting.choices(rows)[3] == "5: 4.png"


def test_a_level_judges_by_the_p_value(one: Opened, tmp_path: Path) -> None:
    files = [_png(tmp_path / "a.png")]
    (row,) = next(detecting.judge(one, files, alpha=0.5))
    assert row.p_value is not None
    assert row.inside is (row.p_value > 0.5)
    with pytest.raises(ValueError, match="alpha"):
        next(detecting.judge(one, files, alpha=2))


@pytest.mark.parametrize(("count", "words"), [(0, "none"), (513, "513")])
def test_too_few_and_too_many_files_are_refused(one: Opened, count: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 512 files, got {words}"):
        next(detecting.judge(one, ["a.png"] * count))


def test_a_name_is_neither_markup_nor_a_formula(one: Opened, tmp_path: Path) -> None:
    (rows,) = detecting.judge(one, [_png(tmp_path / "=<b>.png")])
    assert "&lt;b&gt;" in detecting.page(rows)
    assert "<b>" not in detecting.page(rows)
    assert detecting.written(rows).splitlines()[1].startswith("'=")


def test_the_map_is_of_the_image_that_was_chosen(one: Opened, tmp_path: Path) -> None:
    (rows,) = detecting.judge(one, [_png(tmp_path / "a.png"), _png(tmp_path / "b.png", 1)])
    assert 'alt="b.png: ' in detecting.mapped(one, rows, "2: b.png")
    with pytest.raises(ValueError, match="expected one of the images that were judged, got none"):
        detecting.mapped(one, rows, None)


# side by side


def test_each_run_climbs_as_it_does_alone(one: Opened, committee: Opened) -> None:
    opened = {one.name: one, committee.name: committee}
    *_, ways = comparing.compare(opened, list(opened), seed=2, steps=5)
    for way, single in zip(ways, opened.values(), strict=True):
        alone, _ = went(single, sheets.drawn(single, "outside", 2), step_size=single.run.climbing()["step_size"])
        assert way.logits == alone.logits
    assert comparing.page(ways).count("<section") == 2
    assert comparing.settings_of(ways, opened).count("download=") == 4


def test_a_picture_goes_before_the_seed(one: Opened, tmp_path: Path) -> None:
    *_, (way,) = comparing.compare({one.name: one}, [one.name], seed=None, picture=_png(tmp_path / "a.png"), steps=1)
    assert way.sheet.origin is None


@pytest.mark.parametrize(("count", "words"), [(0, "none"), (7, "7")])
def test_too_few_and_too_many_runs_are_refused(one: Opened, count: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to 6 runs, got {words}"):
        next(comparing.compare({one.name: one}, [one.name] * count, seed=0))


# simulations


@pytest.mark.parametrize("trainer", ["gat", "gan"])
def test_a_training_is_seen_and_is_the_same_for_a_seed(trainer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "__post_init__", _coarse)
    monkeypatch.setattr(fields, "_CELLS", 20)
    looks = simulating.simulate("ring", trainer, seed=1, passes=20_000)
    frames = [next(looks), next(looks)]
    looks.close()
    again = simulating.simulate("ring", trainer, seed=1, passes=20_000)
    assert [(one.line, one.field, one.points) for one in (next(again), next(again))] == [
        (one.line, one.field, one.points) for one in frames
    ]
    again.close()
    assert frames[1].iteration > frames[0].iteration
    assert frames[0].line.startswith(f"step {frames[0].iteration} of {frames[0].iterations}: ")
    assert simulating.page(frames[0]).count("<img") == 2


def _coarse(watch: Watch) -> None:
    watch.lattice = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "blobs"}, "expected a distribution among ring, "),
        ({"trainer": "sgd"}, "expected trainers among gat, "),
        ({"seed": None}, "expected a seed, a whole number from 0 on, got nothing"),
        ({"seed": 2**40}, "expected a seed below 2147483648, got 1099511627776"),
        ({"passes": 1}, "expected 20,000 to 3,300,000 passes, got 1"),
        ({"passes": None}, "expected 20,000 to 3,300,000 passes, got nothing"),
    ],
)
def test_what_cannot_be_simulated_is_refused(given: dict[str, object], words: str) -> None:
    settings = {"name": "ring", "trainer": "gat", "seed": 0, "passes": 20_000} | given
    with pytest.raises(ValueError, match=f"^{words}"):
        next(simulating.simulate(**settings))  # type: ignore[arg-type]


def test_points_are_drawn_where_they_are_by_where_the_target_is() -> None:
    toy = TOYS["grid"]()
    assert toy.centers is not None
    _, paint = fields.painter(toy)
    off = torch.tensor([[0.5, 0.5]]) + 0.5 * (toy.centers[0] - toy.centers[1]).abs().max()
    for point, color in ((toy.centers[:1], panels.TARGET), (off, panels.OUTSIDE)):
        with Image.open(io.BytesIO(paint(point))) as picture:
            pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(fields.SIDE, fields.SIDE, 3)
        drawn = (pixels == torch.tensor(bytearray.fromhex(color[1:]), dtype=torch.uint8)).all(dim=2).nonzero()
        assert 10 <= len(drawn) <= 25
        low, high = float(toy.target.min()) - 0.1, float(toy.target.max()) + 0.1
        place = (point[0] - low) / (high - low) * fields.SIDE
        torch.testing.assert_close(
            drawn.double().mean(0), torch.stack([fields.SIDE - 1 - place[1], place[0]]).double(), rtol=0, atol=1.5
        )


# runs that are looked at


def test_a_run_is_shown_with_what_its_folder_has(one: Opened, folder: Path) -> None:
    assert one.run.digest in browsing.facts(one)
    assert "iterations: 2" in browsing.configuration(one)
    assert "training curves over 2 steps" in browsing.curves(one)
    assert "No report yet" in browsing.report_of(one, "/reports/0.html")
    report.write(one.run)
    assert browsing.report_of(one, "/reports/0.html").count('href="/reports/0.html"') == 2
    assert "samples, one a seed" in browsing.samples(one)
    (folder / "samples" / "grid.png").write_bytes(b"?")
    assert "expected an image in &#x27;samples/grid.png&#x27;" in browsing.samples(one)
    (folder / "samples" / "grid.png").unlink()
    assert "No samples yet" in browsing.samples(one)
    (folder / "metrics.jsonl").write_text("?", encoding="utf-8")
    assert "No training curves" in browsing.curves(one)
