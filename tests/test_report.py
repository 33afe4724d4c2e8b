"""The report: one file, whole, that refers to nothing outside itself."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from genat import config, plots, report, runs
from genat.config import SamplingConfig
from genat.evaluation import protocol
from genat.generation import Rejection
from genat.report import results

VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Page(HTMLParser):
    """Reads a page, expecting that every tag that is opened is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.alternatives: list[str | None] = []
        self.headings: list[str] = []
        self.scripts = 0
        self.tables: list[bool] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        self.scripts += tag == "script"
        if tag == "img":
            self.alternatives.append(found.get("alt"))
        if tag == "table":
            self.tables.append(self.open[-1] == "div")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def _written(folder: Path) -> tuple[str, _Page]:
    html = report.write(runs.load(folder), command="genat report & more").read_text(encoding="utf-8")
    return html, _Page(html)


def _check_alone(html: str, page: _Page) -> None:
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert page.scripts == 0
    assert page.sources
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
            image.load()
    assert all(page.alternatives)
    assert page.tables
    assert all(page.tables)
    assert ".scroll { overflow-x: auto; }" in html


def test_a_report_of_a_training_alone(tiny_run: Path) -> None:
    html, page = _written(tiny_run)
    _check_alone(html, page)
    assert page.headings == ["Generation", "Training", "How this was made"]
    assert "genat report &amp; more" in html
    assert "A detector trained for 40 steps by unconstrained generative adversarial training." in html
    assert "40 steps in" in html
    assert (tiny_run / "samples" / "seed-00063.png").is_file()


def test_a_report_of_an_evaluation(evaluated_run: Path) -> None:
    html, page = _written(evaluated_run)
    _check_alone(html, page)
    classes, close = "What a classifier sees in the samples", "How close the samples come to real images"
    assert page.headings == ["Generation", classes, close, "Detection", "Training", "How this was made"]
    assert "20 samples" in html
    assert "on classifier-pca5 features of 5 dimensions" in html
    figures = protocol.read(evaluated_run)
    assert figures is not None
    for name, caption in figures[0]["fidelity"]["pictures"].items():
        assert caption in page.alternatives
        assert _embedded(evaluated_run / name) in page.sources
    for said in ("599 test images", "photographs", "worst case within L2 0.5", "599 / 10", "95 % bootstrap interval",
                 "classifier&#39;s energy: AUROC", "made_by", "genat evaluate", "hardware", "torch"):  # fmt: skip
        assert said in html
    assert len(re.findall(r"<tr><td>(uniform noise|dead leaves|inverted|shuffled patches)</td>", html)) == 12
    assert _written(evaluated_run)[0] == html


def _embedded(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _close(*, gan: bool) -> dict[str, Any]:
    """What an evaluation says of how close the samples come."""

    def measures(value: float) -> dict[str, Any]:
        distance, score = {"value": value, "error": 0.25}, {"value": 2.0, "error": 0.5}
        return {"Fréchet-x distance": distance, "precision": value / 8, "k": 5, "x score": score}

    def memory(value: float) -> dict[str, Any]:
        return {"ratio": {"value": value, "error": 0.0125}, "median": 0.5, "close": value / 2}

    found: dict[str, Any] = {"features": "x", "n": 7, "dimension": 3, "distances": ["Fréchet-x distance"]}
    found |= {"samples": measures(2.0), "starts": measures(8.0), "floor": measures(1.0), "pictures": {}}
    found |= {"of_starts": {"Fréchet-x distance": 0.25}}
    found |= {"memorisation": {"pixels": memory(1.0), "features": memory(0.75)}}
    theirs = {"samples": measures(4.0), "memorisation": {"pixels": memory(0.5), "features": memory(0.25)}}
    return found | ({"gan": theirs | {"passes": 3200, "passes_of_run": 3333}} if gan else {})


def test_a_fidelity_table_says_of_every_column_the_same() -> None:
    table = report.fidelity_table(_close(gan=True))
    assert list(table.columns) == ["", "samples", "starts", "GAN", "real", "samples / starts"]
    assert [list(row) for row in table.rows] == [
        ["Fréchet-x distance", "2 ± 0.25", "8 ± 0.25", "4 ± 0.25", "1 ± 0.25", "0.250"],
        ["precision", "0.250", "1.000", "0.500", "0.125", ""],
        ["x score", "2 ± 0.5", "2 ± 0.5", "2 ± 0.5", "2 ± 0.5", ""],
        ["nearest training image, pixels", "1 ± 0.013", "", "0.5 ± 0.013", "", ""],
        ["closer than 5 % of real ones, pixels", "0.500", "", "0.250", "", ""],
        ["nearest training image, features", "0.75 ± 0.013", "", "0.25 ± 0.013", "", ""],
        ["closer than 5 % of real ones, features", "0.375", "", "0.125", "", ""],
    ]
    alone = report.fidelity_table(_close(gan=False))
    assert list(alone.columns) == ["", "samples", "starts", "real", "samples / starts"]
    assert [row[:3] for row in alone.rows] == [row[:3] for row in table.rows]
    assert "3,200 passes, the run's training 3,333" in report.fidelity_words(_close(gan=True))
    assert "GAN" not in report.fidelity_words(_close(gan=False))


def test_what_was_not_measured_is_said(evaluated_run: Path) -> None:
    path = evaluated_run / "evaluation" / "figures.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    del figures["fidelity"]
    path.write_text(json.dumps(figures | {"fidelity_missing": "pip install <x>"}), encoding="utf-8")
    html, page = _written(evaluated_run)
    assert "How close the samples come to real images" in page.headings
    assert "<p>Not measured: pip install &lt;x&gt;</p>" in html


def test_an_evaluation_from_before_there_was_fidelity_is_shown(evaluated_run: Path) -> None:
    path = evaluated_run / "evaluation" / "figures.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    del figures["fidelity"]
    path.write_text(json.dumps(figures), encoding="utf-8")
    assert "How close the samples come to real images" not in _written(evaluated_run)[1].headings


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_picture_of_an_evaluation_that_cannot_be_read_is_named(evaluated_run: Path, content: bytes | None) -> None:
    path = evaluated_run / "evaluation" / "nearest-pixels.png"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        report.write(runs.load(evaluated_run))
    assert "\n" not in str(caught.value)


def test_the_configuration_in_the_report_is_the_runs(tiny_run: Path) -> None:
    html, _ = _written(tiny_run)
    match = re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)
    assert match is not None
    assert config.Config.model_validate(yaml.safe_load(match[1])) == runs.load(tiny_run).config


def test_names_are_escaped(tiny_run: Path) -> None:
    path = tiny_run / "config.yaml"
    text = path.read_text(encoding="utf-8").replace("name: tiny", "name: <script>alert(1)")
    path.write_text(text, encoding="utf-8")
    html, page = _written(tiny_run)
    _check_alone(html, page)
    assert "&lt;script&gt;alert(1)" in html


def test_there_is_no_report_of_a_training_that_was_cut_short(tiny_run: Path) -> None:
    (tiny_run / "calibration.json").unlink()
    before = (tiny_run / "report.html").exists()
    with pytest.raises(ValueError, match="expected a finished training, got one at step 40: resume it"):
        report.write(runs.load(tiny_run))
    assert (tiny_run / "report.html").exists() == before


def test_the_detection_table_says_what_was_seen_and_what_was_not_measured() -> None:
    row = {
        "family": "uniform noise", "seen": True, "radius": None, "n_inside": 5, "n_outside": 6, "auroc": 0.5,
        "low": 0.25, "high": 0.75, "fpr95": 1.0, "evaluations": 0, "doubled": None,
    }  # fmt: skip
    attacked = row | {"seen": False, "radius": 0.5, "doubled": 0.4, "evaluations": 107}
    table = report.detection_table([row, attacked], None)
    assert table.columns[-1] == "passes"
    assert list(table.rows[0]) == [
        "uniform noise (seen)", "clean", "5 / 6", "0.5000", "[0.2500, 0.7500]", "", "1.000", "0"
    ]  # fmt: skip
    assert list(table.rows[1])[:2] == ["uniform noise", "L2 0.5"]
    assert table.rows[1][5] == "0.4000"
    beside = report.detection_table([row, attacked], [row, row | {"auroc": 0.125}])
    assert [line[-1] for line in beside.rows] == ["0.5000", "0.1250"]


def test_saved_samples_hold_the_pixels_that_were_made(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    made, ways = report.make_samples(run, [4, 2]), report.make_samples(run, [4], trajectory=True)
    grid = report.save_samples(run, made, ways, [4, 2])
    written = ["grid.png", "seed-00002.png", "seed-00004.png", "trajectories.png"]
    assert sorted(path.name for path in grid.parent.iterdir()) == written
    assert ways.trajectory is not None
    assert torch.equal(ways.trajectory[-1, 0], made.images[0]), "a sample with its way is the sample without"
    assert (grid.parent / "seed-00004.png").read_bytes() == plots.single(made.images[0])


def _edit_two_ways(folder: Path) -> runs.Run:
    run = runs.load(folder)
    images = run.held_out().tensor()[:9]
    how = run.climbing(strength=0.5)
    report.save(
        report.transformed(run, images, [f"{i}" for i in range(9)], how=how),
        folder / report.TRANSFORMED,
        command="a & b",
    )
    mask = torch.ones(8, 8, dtype=torch.bool)
    edited = report.inpainted(run, images[:1], mask=mask, seeds=range(3), how=how)
    report.save(edited, folder / report.EDITED / "inpaint", command="c")
    return run


def test_a_report_shows_what_was_transformed_and_edited(tiny_run: Path) -> None:
    _edit_two_ways(tiny_run)
    html, page = _written(tiny_run)
    _check_alone(html, page)
    assert page.headings == ["Generation", "Transformed and edited", "Training", "How this was made"]
    captions = [
        caption for caption in page.alternatives if caption and caption.startswith(("transform, ", "inpaint, "))
    ]
    assert captions == [
        "transform, before and after: a & b",
        "transform, the way",
        "inpaint, before and after: c",
        "inpaint, the way",
    ]
    picture = (tiny_run / "edited" / "inpaint" / "way.png").read_bytes()
    assert f"data:image/png;base64,{base64.b64encode(picture).decode()}" in page.sources


def test_ways_of_eight_are_shown_and_all_results_are_written(tiny_run: Path) -> None:
    _edit_two_ways(tiny_run)
    written = {path.name for path in (tiny_run / "transformed").iterdir()}
    assert written == {*(f"{i}.png" for i in range(9)), "before-after.png", "way.png", "made.json"}
    with Image.open(tiny_run / "transformed" / "way.png") as way:
        assert way.size == (6 * 66 + 2, 8 * 66 + 2)


def test_samples_climb_as_the_run_does_and_are_rejected_only_then(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.load(tiny_run)
    run = replace(run, config=run.config.model_copy(update={"sampling": SamplingConfig(steps=5, tries=3)}))
    asked: list[Rejection | None] = []

    def note(*_: object, rejection: Rejection | None, **__: object) -> None:
        asked.append(rejection)

    monkeypatch.setattr(results, "sample", note)
    own, other = run.climbing(), run.climbing(strength=0.5)
    for how, tries in ((None, None), (own, None), (other, None), (other, 2), (None, 1)):
        report.make_samples(run, [3], how=how, tries=tries)
    assert [one and one.tries for one in asked] == [3, 3, None, 2, None]


@pytest.mark.parametrize(
    ("name", "content"),
    [("made.json", b"{"), ("made.json", b"[]"), ("made.json", b"{}"), ("made.json", b"\xff"),
     ("before-after.png", b"no picture"), ("way.png", None)],
)  # fmt: skip
def test_an_edit_that_cannot_be_read_is_named(tiny_run: Path, name: str, content: bytes | None) -> None:
    run = _edit_two_ways(tiny_run)
    path = tiny_run / "edited" / "inpaint" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        report.write(run)
    assert "\n" not in str(caught.value)
    assert not (tiny_run / "report.html").exists()


def test_read_gives_what_evaluate_wrote(evaluated_run: Path, tiny_run: Path) -> None:
    assert protocol.read(tiny_run) is None
    found = protocol.read(evaluated_run)
    assert found is not None
    figures, logits = found
    assert logits["target"].shape == (figures["inside"]["n"],)
