"""Debian's Chromium, driven: a page that may ask its own address alone, and that may not complain."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, sync_playwright

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CLIMB, DETECT, COMPARE, SIMULATE = "climb", "detect", "compare", "simulate"
_PATIENCE = 60_000  # milliseconds


class Seen(NamedTuple):
    """What a page asked for, and what it complained of."""

    hosts: set[str]
    complaints: list[str]


def chromium() -> str | None:
    """Return where Chromium is, None where there is none."""
    return shutil.which("chromium")


@contextmanager
def studio(folders: Sequence[Path | str], *, at: Path | None = None) -> Iterator[str]:
    """Run `genat studio` in a process of its own and yield its address."""
    command = [
        sys.executable,
        "-m",
        "genat",
        "studio",
        *map(str, folders),
        "--port",
        "0",
        "--threads",
        "1",
        "--no-open",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=at) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        errors = threading.Thread(target=process.stderr.read)
        try:
            line = process.stdout.readline()
            assert " at http://127.0.0.1:" in line, line + process.stderr.read()
            errors.start()
            yield line.split(" at ")[1].split(",")[0]
        finally:
            process.terminate()
            process.wait(30)
            if errors.ident is not None:
                errors.join()


@contextmanager
def launched(*, width: int = 1280, height: int = 900) -> Iterator[BrowserContext]:
    """Start Chromium; pages of one window share what it has read of the studio's own files, and nothing else."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser.new_context(viewport={"width": width, "height": height})
        browser.close()


@contextmanager
def page_of(browser: BrowserContext, address: str) -> Iterator[tuple[Page, Seen]]:
    """Open an address in a new tab."""
    seen = Seen(set(), [])
    with browser.new_page() as page:
        page.set_default_timeout(_PATIENCE)
        page.on("request", lambda one: seen.hosts.add(urlsplit(one.url).hostname or urlsplit(one.url).scheme))
        page.on("console", lambda one: seen.complaints.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda one: seen.complaints.append(str(one)))
        page.goto(address)
        page.locator("#climb-canvas canvas").wait_for()
        page.wait_for_function("document.querySelector('#climb-canvas .where').textContent !== ''")
        yield page, seen


def go(page: Page, tab: str) -> None:
    """Go to a tab."""
    page.get_by_role("tab", name=tab.capitalize()).click()


def press(page: Page, name: str) -> None:
    """Press the button of a name on the tab that is seen."""
    page.get_by_role("button", name=name, exact=True).locator("visible=true").click()


def said(page: Page, tab: str, words: str) -> str:
    """Wait until a tab's status has the words, and return all of it."""
    script = """([id, words]) => {
      const line = document.querySelector(`#${id}-status p`).textContent;
      return line.includes(words) ? line : null;
    }"""
    return str(page.wait_for_function(script, arg=[tab, words]).json_value())


def upload(page: Page, label: str, files: Sequence[Path]) -> None:
    """Put files into the upload of a label, and wait until they are there."""
    place = page.locator(".block", has=page.get_by_text(label, exact=True)).locator("visible=true").last
    place.locator("input[type=file]").set_input_files(list(files))
    for file in files:
        place.get_by_text(file.stem[:12]).first.wait_for()
