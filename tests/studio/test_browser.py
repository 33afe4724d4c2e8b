"""The studio in a real browser: Debian's Chromium clicks, types, uploads, cancels and saves."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page
from tests.studio.browser import (
    CLIMB,
    COMPARE,
    DETECT,
    SIMULATE,
    Seen,
    chromium,
    go,
    launched,
    page_of,
    press,
    said,
    studio,
    upload,
)

from genat import config, runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio of a detector and a committee, whose starts are noise."""
    place = tmp_path_factory.mktemp("studio")
    keys = ["iterations=2", "outside=[{kind: uniform-noise}]", "sampling.steps=6", "batch_size=8"]
    runs.train(config.load("digits", [*keys, "network_options.hidden=[8]"]), place / "detector")
    runs.train(config.load("committee-digits", [*keys, "network_options.width=4"]), place / "committee")
    with studio(["detector", "committee"], at=place) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with launched() as one:
        yield one


@pytest.fixture
def opened(browser: BrowserContext, address: str) -> Iterator[Page]:
    """A page that in the end has asked its own address alone, and has not complained."""
    with page_of(browser, address) as (page, seen):
        yield page
        _clean(seen)


def _clean(seen: Seen) -> None:
    assert seen.complaints == []
    assert "127.0.0.1" in seen.hosts
    assert seen.hosts <= {"127.0.0.1", "data", "blob"}


def _saved(page: Page, words: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("link", name=words, exact=True).locator("visible=true").click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def _choose_committee(page: Page) -> None:
    page.get_by_label("Run").locator("visible=true").click()
    page.get_by_role("option", name="committee").click()
    page.get_by_label("Towards").wait_for()


@pytest.fixture
def pictures(tmp_path: Path, pngs: list[bytes]) -> list[Path]:
    paths = [tmp_path / f"picture-{i}.png" for i in range(3)]
    for path, png in zip(paths, pngs, strict=False):
        path.write_bytes(png)
    return paths


def test_a_picture_climbs_is_scrubbed_and_taken_along(opened: Page, pictures: list[Path]) -> None:
    upload(opened, "Or a picture file", pictures[:1])
    said(opened, CLIMB, "picture-0.png: as it is")
    opened.get_by_label("A box that may move: x0,y0,x1,y1").fill("0,0,4,8")
    press(opened, "Mark the box")
    opened.get_by_text("32 of 64 pixels are marked: they alone move").wait_for()
    press(opened, "Climb")
    said(opened, CLIMB, "done at step 6 of 6")
    opened.get_by_role("slider", name="Step shown").press("ArrowLeft")
    opened.get_by_text("step 5 of 6, logit").first.wait_for()
    name, content = _saved(opened, "Picture (PNG)")
    assert name == "climb.png"
    with Image.open(io.BytesIO(content)) as end, Image.open(pictures[0]) as start:
        assert end.size == (8, 8)
        left, right = [(x, y) for x in range(4) for y in range(8)], [(x, y) for x in range(4, 8) for y in range(8)]
        assert all(end.getpixel(at) == start.getpixel(at) for at in right)
        assert any(end.getpixel(at) != start.getpixel(at) for at in left)
    assert _saved(opened, "The way (GIF)")[1][:6] == b"GIF89a"
    record = json.loads(_saved(opened, "Settings (JSON)")[1])
    assert (record["steps"], record["taken"], record["class"]) == (6, 6, None)
    assert base64.b64decode(record["start"]["picture"])[1:4] == b"PNG"
    assert record["command"].startswith("genat edit detector start.png --mode mask --mask mask.png")
    assert _saved(opened, "Mask (PNG)")[0] == "mask.png"


def test_a_climb_is_cancelled_and_what_was_seen_stays(opened: Page) -> None:
    _choose_committee(opened)  # ten networks, which are not done before they are cancelled
    opened.get_by_role("spinbutton", name="Steps").fill("256")
    opened.keyboard.press("Enter")
    press(opened, "Climb")
    said(opened, CLIMB, " of 256")
    press(opened, "Cancel")
    words = said(opened, CLIMB, "cancelled at step")
    assert int(words.split()[3]) < 256
    record = json.loads(_saved(opened, "Settings (JSON)")[1])
    assert record["taken"] == int(words.split()[3])
    assert record["start"] == {"drawn": "outside", "seed": 0}


def test_one_draws_with_keys_and_with_the_pointer(opened: Page) -> None:
    press(opened, "Blank")
    canvas = opened.locator("#climb-canvas canvas")
    canvas.focus()
    for key in ("ArrowDown", "ArrowRight", " "):
        canvas.press(key)
    opened.get_by_text("row 2, column 2; no pixel is marked").wait_for()
    opened.get_by_label("Mark what may move").check()
    box = canvas.bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + 20, box["y"] + 20)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 60, box["y"] + 20)
    opened.mouse.up()
    opened.get_by_text("row 1, column 2; 2 of 64 pixels are marked").wait_for()
    press(opened, "Climb")
    said(opened, CLIMB, "done")
    with Image.open(io.BytesIO(_saved(opened, "Start (PNG)")[1])) as start:
        lit = [(x, y) for x in range(8) for y in range(8) if start.getpixel((x, y))]
    assert lit == [(1, 1)]


def test_bad_input_is_one_line(opened: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    upload(opened, "Or a picture file", [broken])
    words = said(opened, CLIMB, "Not possible")
    assert words == "Not possible: expected an image in 'broken.png', got no PNG, JPEG, WEBP, BMP, GIF, TIFF"
    opened.get_by_label("A box that may move: x0,y0,x1,y1").fill("0,0,9,9")
    press(opened, "Mark the box")
    said(opened, CLIMB, "expected a box x0,y0,x1,y1 inside 8 x 8 pixels, got 0,0,9,9")


def test_a_committee_climbs_towards_a_class(opened: Page) -> None:
    _choose_committee(opened)
    opened.get_by_label("Towards").click()
    opened.get_by_role("option", name="7").click()
    press(opened, "Climb")
    said(opened, CLIMB, "done")
    assert json.loads(_saved(opened, "Settings (JSON)")[1])["class"] == "7"


def test_images_are_judged_a_broken_one_is_a_row(opened: Page, pictures: list[Path], tmp_path: Path) -> None:
    go(opened, DETECT)
    press(opened, "Judge")
    said(opened, DETECT, "Not possible: expected 1 to 512 files, got none")
    broken = tmp_path / "notes.txt"
    broken.write_text("no picture", encoding="utf-8")
    upload(opened, "Image files", [*pictures, broken])
    press(opened, "Judge")
    said(opened, DETECT, "4 files:")
    rows = list(csv.DictReader(io.StringIO(_saved(opened, "Table (CSV)")[1].decode())))
    assert [row["file"] for row in rows] == [*(path.name for path in pictures), "notes.txt"]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True]
    press(opened, "Show what speaks for and against it")
    image = opened.locator("#detect-map-shown img")
    image.wait_for()
    assert (image.get_attribute("alt") or "").startswith("picture-0.png: ")


def test_runs_climb_side_by_side(opened: Page) -> None:
    go(opened, COMPARE)
    press(opened, "Climb with each")
    said(opened, COMPARE, "done: 2 runs")
    assert opened.locator("#compare-shown section").count() == 2
    opened.get_by_label("Steps, 1 to 256").fill("many")
    press(opened, "Climb with each")
    said(opened, COMPARE, "Not possible: expected a number of steps, got 'many'")
    opened.get_by_label("Steps, 1 to 256").fill("256")
    press(opened, "Climb with each")
    said(opened, COMPARE, "step ")
    press(opened, "Cancel")
    said(opened, COMPARE, "cancelled: 2 runs")


def test_a_training_is_watched_and_cancelled(opened: Page) -> None:
    go(opened, SIMULATE)
    press(opened, "Train")
    said(opened, SIMULATE, "of 256 generated points as near to the target as its own")
    assert opened.locator("#simulate-shown img").count() == 2
    press(opened, "Cancel")
    words = said(opened, SIMULATE, "cancelled, step ")
    opened.wait_for_timeout(1500)
    assert opened.locator("#simulate-status p").inner_text() == words


def test_runs_are_looked_at(opened: Page) -> None:
    go(opened, "runs")
    opened.locator("#runs-curves-shown img").wait_for()
    opened.get_by_text("What was trained on what").wait_for()
    opened.get_by_text("No report yet").wait_for()


def test_two_people_do_not_see_each_other(opened: Page) -> None:
    other = opened.context.new_page()
    other.goto(opened.url)
    other.locator("#climb-canvas canvas").wait_for()
    for page, seed in ((opened, "3"), (other, "4")):
        page.get_by_role("spinbutton", name="Seed").locator("visible=true").fill(seed)
        press(page, "Draw this start")
        page.wait_for_timeout(500)
    for page in (opened, other):
        press(page, "Climb")
    for page, seed in ((opened, "3"), (other, "4")):
        said(page, CLIMB, "done")
        assert json.loads(_saved(page, "Settings (JSON)")[1])["start"]["seed"] == int(seed)


def test_every_control_has_a_name(opened: Page) -> None:
    for tab in (CLIMB, DETECT, COMPARE, SIMULATE, "runs"):
        go(opened, tab)
        for role in ("textbox", "spinbutton", "slider", "button", "radio", "checkbox", "link", "combobox"):
            for one in opened.get_by_role(role).all():
                if one.is_visible():
                    snapshot = one.aria_snapshot()
                    assert '"' in snapshot.splitlines()[0], (tab, role, one.evaluate("one => one.outerHTML"))
