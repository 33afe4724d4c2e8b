"""Take what `genat simulate` left in runs/ into the repository: tables to results/, chosen pictures to docs/images/.

Usage: python docs/collect.py, after `make simulations`. What is not there is left as it was.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS, RESULTS, IMAGES = ROOT / "runs/simulations", ROOT / "results/simulations", ROOT / "docs/images/simulations"
PICTURES = {
    "paper": (
        "overview-gat.png",
        "overview-gat-ball.png",
        "samples.png",
        "strip-gat.png",
        "trajectories-spirals.png",
        "surfaces-spirals.png",
        "areas-spirals.png",
        "animation-checkerboard.gif",
    ),
    "modes": (),
    "others": ("overview-gat.png",),
    "ablation": ("ablation.png",),
    "failures": ("failures.png",),
}
"""Studies by the name of their folder in runs/simulations, and their pictures that the documentation shows."""


def main() -> None:
    for study, names in PICTURES.items():
        table = RUNS / study / "table.json"
        if not table.exists():
            print(f"{table}: not there, left as it was")
            continue
        RESULTS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table, RESULTS / f"{study}.json")
        IMAGES.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (RUNS / study / name).exists():
                shutil.copyfile(RUNS / study / name, IMAGES / f"{study}-{name}")


if __name__ == "__main__":
    main()
