"""Take what `genat simulate`, `genat stability` and evaluated runs left in runs/ into the repository.

Tables and figures go to results/, chosen pictures to docs/images/.

Usage: python docs/collect.py, after `make simulations`, `make stability` or `make images`. What is not there is left as
it was.
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
OF_RUNS = (
    "evaluation/first.png",
    "evaluation/lowest.png",
    "evaluation/nearest-pixels.png",
    "samples/trajectories.png",
    "samples-gan/grid.png",
    "transformed/way.png",
    "edited/inpaint/before-after.png",
)
"""Pictures of an evaluated run that the documentation shows, of the first seed."""


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
    for figures in sorted(RUNS.glob("images/*/seed-*/evaluation/figures.json")):
        run = figures.parents[1]
        result = RESULTS / "images" / run.parent.name / f"{run.name}.json"
        result.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(figures, result)
        pictures = IMAGES / "images"
        pictures.mkdir(parents=True, exist_ok=True)
        for name in OF_RUNS if run.name == "seed-0" else ():
            if (run / name).exists():
                shutil.copyfile(run / name, pictures / f"{run.parent.name}-{name.replace('/', '-')}")


if __name__ == "__main__":
    main()
