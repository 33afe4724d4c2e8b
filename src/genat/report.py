"""One HTML file that shows a run: pictures, figures, and how they were made."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genat import assemble, checkpoints, config, plots, runs
from genat.evaluation import protocol
from genat.evaluation.families import families
from genat.evaluation.ood import label
from genat.generation import Samples, sample, transform
from genat.provenance import provenance
from genat.runs import Run

SAMPLES, REPORT = "samples", "report.html"
SHOWN_WAYS = 8  # trajectories in a picture


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with its caption; `pixels` keeps enlarged pixels square."""

    png: bytes
    caption: str
    pixels: bool = True

    @property
    def data(self) -> str:
        """The PNG in base64."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns' names and rows of cells, the first column left-aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands under it."""

    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    table: Table | None = None
    note: str = ""


def make_samples(
    run: Run,
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    step_size: float | None = None,
    trajectory: bool = False,
) -> Samples:
    """Sample a run as its configuration says; steps and step_size override it where they are not None."""
    settings = run.config.sampling
    return sample(
        run.detector,
        assemble.outside(run.config, run.shape),
        seeds=seeds,
        steps=steps or settings.steps,
        step_size=step_size or settings.step_size,
        trajectory=trajectory,
    )


def save_samples(run: Run, made: Samples, ways: Samples, seeds: Sequence[int]) -> Path:
    """Write a run's samples into its folder: one PNG a seed, a grid, and the trajectories of the first few.

    Args:
        run: whose samples they are.
        made: the samples.
        ways: the first few again, with their trajectories: those of all would not fit into memory.
        seeds: of the samples.

    Returns:
        The grid's path.
    """
    folder = run.folder / SAMPLES
    folder.mkdir(exist_ok=True)
    for seed, image in zip(seeds, made.images, strict=True):
        (folder / f"seed-{seed:05d}.png").write_bytes(plots.single(image))
    grid = folder / "grid.png"
    grid.write_bytes(plots.grid(made.images))
    if ways.trajectory is not None:
        (folder / "trajectories.png").write_bytes(plots.trajectories(ways.trajectory))
    return grid


def transform_files(
    run: Run,
    images: Tensor,
    names: Sequence[str],
    folder: Path,
    *,
    steps: int | None = None,
    step_size: float | None = None,
) -> list[Path]:
    """Transform images `(N, C, H, W)` and write each result, and a picture of all before and after.

    Returns:
        The results' paths in the images' order, the picture's last.
    """
    settings = run.config.sampling
    after = transform(
        run.detector, images, steps=steps or settings.steps, step_size=step_size or settings.step_size
    ).points
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        f"{i:03d}-{name}.png": plots.single(image) for i, (name, image) in enumerate(zip(names, after, strict=True))
    }
    pictures["before-after.png"] = plots.pairs(images, after)
    for name, png in pictures.items():
        (folder / name).write_bytes(png)
    return [folder / name for name in pictures]


def write(run: Run, *, command: str = "genat report") -> Path:
    """Write `report.html` into a run folder, from what the folder holds; nothing in it refers to another file.

    Args:
        run: as `genat.load` gives it.
        command: what a person typed, for the record.

    Returns:
        The report's path.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    sections = [_generation_pictures(run)]
    evaluation = protocol.read(run.folder)
    if evaluation is not None:
        sections += _evaluation_sections(run, *evaluation)
    sections.append(_training_section(run))
    environment = Environment(loader=PackageLoader("genat"), autoescape=True, undefined=StrictUndefined)
    html = environment.get_template("report.html").render(
        title=f"{run.config.name}: {run.folder.resolve().name}",
        lead=f"A detector trained for {run.iteration:,} steps by unconstrained generative adversarial training."
        if run.config.ball.radius is None
        else f"A detector trained for {run.iteration:,} steps by generative adversarial training.",
        sections=sections,
        provenance=provenance(command) if evaluation is None else evaluation[0]["made"],
        config=config.dump(run.config),
    )
    path = run.folder / REPORT
    checkpoints.write_text(path, html)
    return path


def _generation_pictures(run: Run) -> Section:
    seeds = range(64)
    made, ways = make_samples(run, seeds), make_samples(run, seeds[:SHOWN_WAYS], trajectory=True)
    if not (run.folder / SAMPLES).exists():
        save_samples(run, made, ways, seeds)
    pictures = [
        Picture(plots.grid(made.images), "samples for seeds 0 to 63, none left out"),
        Picture(plots.grid(run.held_out().tensor()), "target images held out of training, to compare"),
        _transformed(run),
    ]
    if ways.trajectory is not None:
        pictures.append(Picture(plots.trajectories(ways.trajectory), "from outside data to sample, seeds 0 to 7"))
    settings = run.config.sampling
    kinds = [part.kind for part in run.config.outside]
    fitted = "fitted" if "class-gaussians" in kinds else "not fitted"
    words = (
        f"Each sample is an ascent of {settings.steps} steps of {settings.step_size:g} (L2, pixels in [0, 1]) on the "
        f"detector's logit, from outside data ({', '.join(kinds)}) that was {fitted} to the "
        "target. There is no generator."
    )
    return Section("Generation", [words], pictures)


def _transformed(run: Run) -> Picture:
    """Before and after, a row for each family of the evaluation."""
    inputs = families(run.held_out(), n=8, seed=1)
    before = torch.cat(list(inputs.values()))
    settings = run.config.sampling
    after = transform(run.detector, before, steps=settings.steps, step_size=settings.step_size).points
    caption = f"any input can be transformed: {', '.join(inputs)}, with what became of each below it"
    return Picture(plots.pairs(before, after), caption)


def _evaluation_sections(run: Run, figures: dict[str, Any], logits: dict[str, Tensor]) -> list[Section]:
    sections = [] if "generation" not in figures else [_recognition(figures["generation"])]
    inside = figures["inside"]
    rows = figures["detection"]
    radii = sorted({row["radius"] for row in rows if row["radius"] is not None})
    target = logits["target"]
    clean = {row["family"]: logits[row["family"]] for row in rows if row["radius"] is None}
    pictures = [
        Picture(
            plots.histogram(target, clean, threshold=run.threshold),
            "logits of target and outside data, clean",
            pixels=False,
        ),
        Picture(plots.roc(target, clean, title="clean"), "ROC, clean", pixels=False),
    ]
    for radius in radii:
        attacked = {family: logits[label(family, "l2", radius)] for family in clean}
        title = f"worst case within L2 {radius:g}"
        pictures.append(Picture(plots.roc(target, attacked, title=title), f"ROC, {title}", pixels=False))
    words = (
        f"AUROC of the logit on {inside['n']} {inside['part']} images of the target against outside data. The outside "
        f"data of training was: {', '.join(figures['outside_of_training'])}. Attacked rows are the worst case, image "
        "by image, over an independent attack and this library's own; the target's images stay clean. In brackets: "
        "95 % bootstrap interval."
    )
    note = (
        "Doubled: the same attack with twice the steps; where it is far below the AUROC the attack had not converged. "
        "FPR95: outside data accepted at the threshold that accepts 95 % of the target."
    )
    table = detection_table(rows, figures.get("baseline"))
    return [*sections, Section("Detection", [words], pictures, table, note)]


def detection_table(rows: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]] | None) -> Table:
    """Return the detection figures as a table, a plain classifier's energy score beside them where there is one."""
    columns = ["outside data", "attack", "n", "AUROC", "interval", "doubled", "FPR95", "passes"]
    cells = [
        [
            row["family"] + (" (seen)" if row["seen"] else ""),
            "clean" if row["radius"] is None else f"L2 {row['radius']:g}",
            f"{row['n_inside']} / {row['n_outside']}",
            f"{row['auroc']:.4f}",
            f"[{row['low']:.4f}, {row['high']:.4f}]",
            "" if row["doubled"] is None else f"{row['doubled']:.4f}",
            f"{row['fpr95']:.3f}",
            str(row["evaluations"]),
        ]
        for row in rows
    ]
    if baseline is not None:
        columns.append("classifier's energy: AUROC")
        for line, row in zip(cells, baseline, strict=True):
            line.append(f"{row['auroc']:.4f}")
    return Table(columns, cells)


def recognition(figures: dict[str, Any]) -> str:
    """Return in words what a classifier recognises in the samples."""
    distance = figures["kernel_distance"]
    accuracy = figures["classifier_accuracy"]
    judged = "" if accuracy is None else f" (accuracy on test images {accuracy:.1%})"
    return (
        f"A classifier trained on real images{judged} is at least {figures['level']:.0%} sure of the class of "
        f"{figures['confident']:.1%} of {figures['n']} samples; its rarest class makes up {figures['smallest']:.1%}. "
        f"Kernel distance (unbiased, cubic kernel) of its features to those of real test images, n = "
        f"{figures['kernel_distance_n']}: samples {distance['samples']:.4g}, starts {distance['starts']:.4g} "
        f"(ratio {distance['samples'] / distance['starts']:.3f}), training images {distance['training images']:.4g}."
    )


def _recognition(figures: dict[str, Any]) -> Section:
    shares = [[name, f"{share:.1%}"] for name, share in zip(figures["classes"], figures["shares"], strict=True)]
    table = Table(["class", "share"], shares)
    return Section("What a classifier sees in the samples", [recognition(figures)], table=table)


def _training_section(run: Run) -> Section:
    records = runs.metrics(run.folder)
    seconds = sum(record["seconds"] for record in records)
    words = (
        f"{len(records):,} steps in {seconds:.0f} s of training time. The adversarial AUROC falls as the ascents grow "
        "longer and reach the target: at 1/2 the detector cannot tell where they end from the target."
    )
    return Section("Training", [words], [Picture(plots.curves(records), "means over at most 100 steps", pixels=False)])
