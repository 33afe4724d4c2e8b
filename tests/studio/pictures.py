"""Write the documentation's pictures of the studio: each tab in use, in Chromium.

Usage: python -m tests.studio.pictures RUN... (the second of another shape than the first)
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page
from tests.studio.browser import CLIMB, COMPARE, DETECT, SIMULATE, go, launched, page_of, press, said, studio, upload

from genat import plots, runs

OUTPUT = Path(__file__).parents[2] / "docs" / "images" / "studio"
_COLORS = 256


def _keep(page: Page, name: str) -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as whole:
        small = whole.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    small.save(OUTPUT / f"{name}.png", optimize=True)
    print(OUTPUT / f"{name}.png", (OUTPUT / f"{name}.png").stat().st_size)  # noqa: T201 - a command's own output


def _pictures(run: str, folder: Path) -> list[Path]:
    """Write some of what a run held out, some of it damaged, and a file that is no picture."""
    paths = []
    for i, image in enumerate(runs.load(run).held_out().tensor()[:6]):
        if i % 2:
            image[:, : image.shape[1] // 2] = 1 - image[:, : image.shape[1] // 2]
        paths.append(folder / f"{'damaged' if i % 2 else 'held-out'}-{i}.png")
        paths[-1].write_bytes(plots.single(image))
    paths.append(folder / "notes.txt")
    paths[-1].write_text("no picture", encoding="utf-8")
    return paths


def _take(page: Page, folders: list[str], scratch: Path) -> None:
    def choose(name: str) -> None:
        page.get_by_label("Run", exact=True).locator("visible=true").click()
        page.get_by_role("option", name=name).click()

    choose(folders[1])
    page.wait_for_function("document.querySelector('#climb-canvas canvas').width !== 320")  # of another shape
    press(page, "Climb")
    said(page, CLIMB, "done")
    page.get_by_text("The command and the Python lines that repeat it").click()
    _keep(page, CLIMB)
    go(page, DETECT)
    choose(folders[1])
    upload(page, "Image files", _pictures(folders[1], scratch))
    press(page, "Judge")
    said(page, DETECT, "7 files")
    page.get_by_label("Image to explain").click()
    page.get_by_role("option", name="2: ").click()
    press(page, "Show what speaks for and against it")
    page.locator("#detect-map-shown img").wait_for()
    _keep(page, DETECT)
    go(page, COMPARE)
    press(page, "Climb with each")
    said(page, COMPARE, "done")
    _keep(page, COMPARE)
    go(page, SIMULATE)
    press(page, "Train")
    said(page, SIMULATE, "done")
    _keep(page, SIMULATE)
    go(page, "runs")
    choose(folders[-1])
    page.get_by_text("of the run").wait_for()
    page.wait_for_timeout(1500)
    _keep(page, "runs")


def main(folders: list[str]) -> None:
    """Write them all."""
    with tempfile.TemporaryDirectory() as scratch, studio(folders) as address, launched(height=760) as browser:
        with page_of(browser, address) as (page, seen):
            _take(page, folders, Path(scratch))
        if seen.complaints:
            sys.exit("\n".join(seen.complaints))


if __name__ == "__main__":
    main(sys.argv[1:])
