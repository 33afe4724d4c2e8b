"""Take what `genat simulate` and `genat stability` left in runs/ into the repository.

Tables go to results/, chosen pictures to docs/images/.

Usage: python docs/collect.py, after `make simulations` or `make stability`. What is not there is left as it was.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS, RESULTS, IMAGES = ROOT / "runs", ROOT / "results", ROOT / "docs/images"
PICTURES = {
    "simulations/paper": (
        "samples.png",
        "trajectories-spirals.png",
        "surfaces-spirals.png",
        "areas-spirals.png",
        "animation-checkerboard.gif",
    ),
    "simulations/figure": ("overview-gat.png",),
    "simulations/line": ("strip-gat.png",),
    "simulations/modes": ("samples.png",),
    "simulations/others": ("overview-gat.png",),
    "simulations/ablation": ("ablation.png",),
    "simulations/failures": ("failures.png",),
    "stability": ("distances.png", "samples-gat.png", "samples-gan.png", "samples-jem.png"),
}
"""Studies by the name of their folder in runs/simulations, and their pictures that the documentation shows."""


def main() -> None:
    for study, names in PICTURES.items():
        table = RUNS / study / "table.json"
        if not table.exists():
            print(f"{table}: not there, left as it was")
            continue
        result, stem = RESULTS / f"{study}.json", IMAGES / study
        result.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table, result)
        stem.parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (RUNS / study / name).exists():
                shutil.copyfile(RUNS / study / name, stem.with_name(f"{stem.name}-{name}"))


if __name__ == "__main__":
    main()
