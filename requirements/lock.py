"""Pin what pyproject.toml asks for: install each set into a fresh environment and write down what came.

Usage: python requirements/lock.py [demo|dev]. PyTorch itself is pinned in the Makefile and installed first.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"
SETS = {"demo": "attacks", "dev": "dev,docs"}
OWN = ("torch==", "genat", "pip==", "setuptools==", "-e ")


def lock(name: str) -> None:
    """Write requirements/NAME.txt."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text(TORCH + "\n", encoding="utf-8")
        subprocess.run([*pip, "install", TORCH], check=True)
        subprocess.run([*pip, "install", "-c", str(constraints), f"{ROOT}[{SETS[name]}]"], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    lines = [line for line in frozen.splitlines() if not line.startswith(OWN)]
    header = f"# Written by `make lock` from pyproject.toml [{SETS[name]}]. The Makefile installs {TORCH} first.\n"
    (ROOT / "requirements" / f"{name}.txt").write_text(header + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SETS:
        lock(wanted)
