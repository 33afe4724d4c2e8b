"""The documentation says what the results say."""

import os
import re
import runpy
import subprocess
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


@pytest.mark.parametrize(
    ("rest", "markdown"),
    [
        ("with :math:`f(x)` and\n:math:`\\alpha`", "with $f(x)$ and\n$\\alpha$"),
        ("Loss:\n\n.. math:: a = b\n\nand", "Loss:\n\n$$\na = b\n$$\n\nand"),
        (".. math::\n    a\n    + b\n\nand", "$$\na + b\n$$\n\nand"),
        ("  .. math:: a,\n      b\n  c", "  $$\n  a, b\n  $$\n  c"),
        ("no formula: ``x``\n\nExample:\n    >>> 1", "no formula: ``x``\n\nExamples:\n    >>> 1"),
    ],
)
def test_formulas_of_docstrings_become_those_of_pages(rest: str, markdown: str) -> None:
    assert runpy.run_path(str(ROOT / "docs" / "docstrings.py"))["markdown"](rest) == markdown


def test_formulas_of_pages_become_mathml() -> None:
    replace = runpy.run_path(str(ROOT / "docs" / "mathematics.py"))["on_page_content"]
    inline, block = (
        replace(f'a <{tag} class="arithmatex">\\{left}x &lt; 1\\{right}</{tag}> b')
        for tag, left, right in (("span", "(", ")"), ("div", "[", "]"))
    )
    assert inline.startswith("a <math")
    assert 'display="inline"' in inline
    assert "<mo>&lt;</mo>" in inline.replace("&#x0003C;", "&lt;")
    assert inline.endswith("</math> b")
    assert 'display="block"' in block


@pytest.mark.slow
def test_the_site_is_whole_and_asks_no_other_host(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.parent.name: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("index.html")}
    assert len(pages) >= 25
    remote = re.compile(r"<(?:script|img|iframe|source|link rel=\"?(?:stylesheet|preconnect)\"?)[^>]*https?://")
    for name, page in pages.items():
        assert not remote.search(page), name
        assert "arithmatex" not in page, name
        assert not re.search(r":math:|\.\. math::", page), name
    for verb in ("fit", "Curriculum", "L2Ball"):
        assert re.search(rf'id="genat\.\w+\.{verb}"', pages["api-training"]), verb
    assert 'id="genat.networks.mlp"' in pages["api-networks"]
    for path in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?://|@import", path.read_text(encoding="utf-8")), path.name


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
