"""What the README and the documentation tell people to type does what it says: every block is run.

A block that is not run says why, to everyone who reads the page: the line above it begins with "Not run by the tests:".
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import genat
from genat import config, ranking, report, runs, shipped, sources
from genat.evaluation import judge, ood

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "console", "ini", "dockerfile"}
KEPT = {"ini", "dockerfile"}  # read, not run
_BLOCK = re.compile(r"^([^\n]*)\n\n?```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)

# Trainings and evaluations do little; what is typed stays as it is.
LESS = {
    "train": ["--budget", "tiny"],
    "evaluate": ["--samples", "16", "--outside", "8", "--attack-steps", "2"],
    "simulate": ["--budget", "1e3"],
    "stability": ["--budget", "1e3"],
}


class Block(NamedTuple):
    """A fenced block of a page, and the line above it."""

    above: str
    language: str
    text: str

    @property
    def left_out(self) -> bool:
        return self.above.startswith("Not run by the tests: ")


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [Block(*parts) for parts in _BLOCK.findall(text)]
    assert len(found) == text.count("\n```") / 2, f"{page.name}: expected a line of text above every block"
    return found


def commands(block: Block) -> list[str]:
    """Return what a console block types: the lines after a dollar, comments taken off."""
    return [re.sub(r"\s+# .*", "", line[2:]) for line in block.text.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_of_a_kind_that_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page.name}: {block.text}"
        if block.language == "console":
            assert commands(block), f"{page.name}: {block.text}"
        if block.left_out:
            assert len(block.above) > len("Not run by the tests: ") + 10, f"{page.name}: {block.above}"


# the house in which they are run


def _picture(path: Path, pixels: Tensor, *, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = (255 * pixels).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(array).resize((side, side)).save(path)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and runs under the names that the pages use."""
    root = tmp_path_factory.mktemp("house")
    colours = sources.DeadLeaves((3, 32, 32)).draw(60, generator=torch.Generator().manual_seed(0))
    for i, pixels in enumerate(colours):
        folder = ("cats", "cats-test", "anything")[i % 3]
        _picture(root / "photos" / folder / f"{i}.jpg", pixels)
        _picture(root / "pets" / ("cat", "dog")[i % 2] / f"{i}.png", pixels)
    for name in ("cat.png", "dog.jpg", "torn.png", "noisy.png", "new-photo.jpg", "apple.png", "peach.png", "face.png"):
        _picture(root / name, colours[0])
    hole = np.zeros((32, 32), np.uint8)
    hole[8:16, 8:24] = 255
    Image.fromarray(hole).save(root / "hole.png")
    (root / "notes.txt").write_text("no picture", encoding="utf-8")
    shutil.copytree(root / "photos" / "cats", root / "my" / "images")
    runs.train(config.tiny(config.load("digits")), root / "runs" / "digits")
    for name in ("demo", "images/digits/seed-0"):
        run = genat.load(shipped.copy("digits", root / "runs" / name))
        made, ways = (report.make_samples(run, range(2), tries=1, trajectory=kept) for kept in (False, True))
        report.save_samples(run, made, ways, range(2))
    for name in ("cats", "foxes"):
        keys = ["data.kind=folder", f"data.path={root / 'photos' / 'cats'}", "iterations=4", f"name={name}"]
        keys += ["data.validation=0.95"]  # enough held out for p-values of 0.05
        runs.train(config.tiny(config.load("images", keys)), root / "runs" / name)
    runs.train(config.tiny(config.load("committee-digits", ["iterations=2"])), root / "runs" / "committee-digits")
    (root / "examples").symlink_to(ROOT / "examples")
    return root


class Nearest(nn.Module):
    """A detector that needs no training: minus the squared distance to the nearest of the images that it knows."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = nn.Parameter(known.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return -(x.flatten(1)[:, None] - self.known).square().sum(-1).amin(1)


def _given() -> dict[str, Any]:
    """Return what blocks take as given: images of digits and a network."""
    digits, learned = sources.digits("test"), sources.digits("train")
    images, labels = digits.tensor()[:8], digits.labels
    assert labels is not None
    assert learned.labels is not None
    encoder = nn.Flatten()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels[:8]), batch_size=8)
    committee = genat.Committee([Nearest(learned.tensor()[learned.labels == k][:40]) for k in range(10)])
    return {
        "images": images, "labels": labels[:8], "validation": digits.tensor()[24:64], "attacked": images.flip(0),
        "committee": committee, "detector": genat.networks.mlp(2, hidden=[8]), "penultimate": encoder, "loader": loader,
        "train_images": learned.tensor()[:300], "train_labels": learned.labels[:300],
        "samples": learned.tensor()[300:500], "held_out": digits.tensor(),
    }  # fmt: skip


@pytest.fixture
def place(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the house, the working directory; trainings and attacks in Python do little."""
    copy = shutil.copytree(house, tmp_path / "house", symlinks=True)
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(str(copy))
    monkeypatch.setattr(judge, "_EPOCHS", (1, 1))
    monkeypatch.setattr(ood, "auroc_interval", functools.partial(ranking.auroc_interval, resamples=20))
    fit = genat.fit
    monkeypatch.setattr(genat, "fit", lambda *given, **named: fit(*given, **(named | {"iterations": 2})))
    yield copy
    for name in ("mynet",):
        sys.modules.pop(name, None)


def _shell(line: str) -> None:
    """Run a line with pipes, variables or programs other than genat as a shell does."""
    genat_is = f'genat() {{ "{sys.executable}" -m genat "$@"; }}; python() {{ "{sys.executable}" "$@"; }}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{genat_is}; export -f genat python; {line}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"


def _type(line: str, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    words = shlex.split(line.removeprefix(".venv/bin/"))
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE), line
    elif words[0] == "genat" and not re.search(r"[|<>]", line):
        less = [] if "--dry-run" in words else LESS.get(words[1], [])
        if words[1] == "train" and "--resume" not in words:
            name = words[words.index("--run") + 1] if "--run" in words else f"runs/{words[2]}"
            shutil.rmtree(name, ignore_errors=True)
        if words[1:2] == ["evaluate"] and "robustness" in words:
            less = []
        code, _, err = run_cli(*words[1:], *less)
        assert code == 0, f"{line}: {err}"
    else:
        _shell(f"{line} --games 4" if "genat.theory" in line else line)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```" in page.read_text(encoding="utf-8")], ids=lambda page: page.stem
)
def test_what_a_page_shows_runs(page: Path, place: Path, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    with torch.random.fork_rng(devices=[]):
        _run(page, place, run_cli)


def _run(page: Path, place: Path, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    names = _given()
    for block in blocks(page):
        if block.left_out or block.language in KEPT:
            continue
        if block.language == "python":
            title = re.match(r"# (\w+\.py)\n", block.text)
            if title:  # a file to be saved under its name
                (place / title[1]).write_text(block.text, encoding="utf-8")
            exec(compile(block.text, f"{page.name}: {block.text[:30]!r}", "exec"), names)
            continue
        for line in commands(block):
            _type(line, run_cli)
