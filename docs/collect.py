"""Take what `genat simulate`, `genat stability`, `genat evaluate` left in runs/ into the repository.

Tables and figures go to results/, chosen pictures to docs/images/.

Usage: python docs/collect.py, after `make simulations`, `make stability`, `make images` or committees trained
into runs/committees/NAME/seed-N. What is not there is left as
it was.
"""

import json
import shutil
from pathlib import Path

from genat.report import robustness

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
    "simulations/replay": ("samples.png",),
    "stability": ("distances.png", "samples-gat.png", "samples-gan.png", "samples-jem.png"),
}
"""Studies by the name of their folder in runs/simulations, and their pictures that the documentation shows."""
OF_RUNS = {
    "digits": ("samples/trajectories.png",),
    "emoji-faces": (
        "transformed/way.png",
        "edited/inpaint/before-after.png",
        "evaluation/first.png",
        "evaluation/lowest.png",
    ),
    "fashion-mnist": ("evaluation/first.png", "samples-gan/grid.png"),
}
"""Presets by the name of their folder in runs/images, and the pictures of the first seed's run that are shown."""


def main() -> None:
    for study, names in PICTURES.items():
        table = RUNS / study / "table.json"
        if not table.exists():
            print(f"{table}: not there, left as it was")
            continue
        take(table, RESULTS / f"{study}.json")
        for name in names:
            if (RUNS / study / name).exists():
                stem = IMAGES / study
                take(RUNS / study / name, stem.with_name(f"{stem.name}-{name}"))
    for figures in sorted(RUNS.glob("images/*/seed-*/evaluation/figures.json")):
        run = figures.parents[1]
        preset = run.parent.name
        take(figures, RESULTS / "images" / preset / f"{run.name}.json")
        for name in OF_RUNS.get(preset, ()) if run.name == "seed-0" else ():
            if (run / name).exists():
                take(run / name, IMAGES / "images" / f"{preset}-{name.replace('/', '-')}")
    for table in sorted(RUNS.glob("images/*/seed-*/ood/table.json")):
        run = table.parents[1]
        take(table, RESULTS / "ood" / run.parent.name / f"{run.name}.json")
    take_committees()


def take_committees() -> None:
    for table in sorted(RUNS.glob("committees/*/seed-*/robustness/table.json")):
        run = table.parents[1]
        take(table, RESULTS / "robustness" / run.parent.name / f"{run.name}.json")
        if run.name == "seed-0":
            figures = json.loads(table.read_text(encoding="utf-8"))
            (IMAGES / f"robustness-{run.parent.name}.png").write_bytes(robustness.curves(figures))
            take(table.with_name("synthesis.png"), IMAGES / f"robustness-{run.parent.name}-synthesis.png")


def take(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
