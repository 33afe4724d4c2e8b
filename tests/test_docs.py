"""The documentation says what the results say."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_figures_and_tables_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["figures.py", "--check"])
    written = runpy.run_path(str(ROOT / "docs" / "figures.py"), run_name="__main__")
    assert len(written["DEMO"]) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_the_readme_shows_exists() -> None:
    from typer.main import get_command

    from genat.cli import app

    known = set(getattr(get_command(app), "commands"))  # noqa: B009 - typer's type does not declare it
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r"^\$ (?:\.venv/bin/)?genat (\w+)", pages, flags=re.MULTILINE))
    assert shown
    assert shown <= known
