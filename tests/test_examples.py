"""Every example runs, with little to do; what it prints and writes is looked at."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN = {
    "own_folder.py photos new.png --tiny": r"new\.png",
    "sample.py grid.png --tiny": r"^4 samples from \d+ climbs, at most \d+ passes each: grid\.png",
    "transform.py new.png way.png": r"a face: (True|False)",
    "edit_with_mask.py out.png": r"^eight ways to complete one face: out\.png",
    "p_values.py": r"photographs: \d\.\d{3} refused at level 0\.1, median p-value 0\.0",
    "committee.py run --tiny": r"^accuracy \d\.\d{3}",
    "worst_case.py --tiny": r"shuffled patches: AUROC [01]\.\d{4} clean, [01]\.\d{4} attacked within L2 1",
    "simulate_2d.py --tiny": r"^intersection over union of level set and support: \d\.\d\d",
    "sklearn_outliers.py --tiny": r"^AUROC \d\.\d{3}\nbenign: .*\nmalignant: ",
    "own_network.py run --tiny": r"^threshold -?\d+\.\d+, on which 95% of held-out digits are accepted",
    "own_attack.py --tiny": r"by APGD-CE\n.* by steepest ascent\n.* by random search\n.* by the strongest of them",
}
ELSEWHERE = {"onnx_ascent.py"}  # needs exported files: tests/adapters/test_onnx.py


def test_every_example_is_here_and_short() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {line.split()[0] for line in SHOWN} | ELSEWHERE
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 50, path.name
        assert f"Usage: python examples/{path.name}" in text


def test_every_example_is_listed_in_the_documentation() -> None:
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    assert set(re.findall(r"examples/(\w+\.py)", page)) == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("line", SHOWN)
def test_it_runs(line: str, tmp_path: Path) -> None:
    name, *arguments = line.split()
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for path in [*(tmp_path / "photos" / f"{i}.png" for i in range(12)), tmp_path / "new.png"]:
        Image.fromarray(generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SHOWN[line], done.stdout, flags=re.MULTILINE), done.stdout
    for argument in arguments:
        if argument in ("grid.png", "way.png", "out.png"):
            with Image.open(tmp_path / argument) as picture:
                assert min(picture.size) >= 60
