"""What stands in a report: sections of words, pictures and tables."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genat import plots, runs
from genat.evaluation.families import families
from genat.evaluation.ood import label
from genat.generation import transform
from genat.report.results import (
    BEFORE_AFTER,
    EDITED,
    MADE,
    SAMPLES,
    SHOWN_WAYS,
    TRANSFORMED,
    WAY,
    make_samples,
    save_samples,
)
from genat.runs import Run
from genat.sources import decoding

_MEMORY = {"ratio": "nearest training image", "close": "closer than 5 % of real ones"}


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


def generation(run: Run) -> Section:
    """Return samples, held-out images and trajectories; samples are written where there are none yet."""
    seeds = range(64)
    made, ways = make_samples(run, seeds), make_samples(run, seeds[:SHOWN_WAYS], trajectory=True)
    if not (run.folder / SAMPLES / "grid.png").exists():
        save_samples(run, made, ways, seeds)
    pictures = [
        Picture(plots.grid(made.images), "samples for seeds 0 to 63, none left out"),
        Picture(plots.grid(run.held_out().tensor()), "target images held out of training, to compare"),
        _families(run),
    ]
    if ways.trajectory is not None:
        pictures.append(Picture(plots.trajectories(ways.trajectory), "from outside data to sample, seeds 0 to 7"))
    how = run.climbing()
    kinds = [part.kind for part in run.config.outside]
    if run.config.sampling.starts != "outside":
        kinds = [run.config.sampling.starts]
    fitted = "fitted" if "class-gaussians" in kinds else "not fitted"
    words = (
        f"Each sample is an ascent of {how['steps']} {how['rule']} steps of {how['step_size']:g} on the detector's "
        f"logit, from starts ({', '.join(kinds)}) that were {fitted} to the target. There is no generator."
    )
    if made.climbs > len(made.images):
        words += (
            " A climb is kept with a probability that rises with its logit, else another start is drawn: "
            f"{made.climbs} climbs were made for these {len(made.images)} samples."
        )
    return Section("Generation", [words], pictures)


def _families(run: Run) -> Picture:
    """Before and after, a row for each family of the evaluation."""
    inputs = families(run.held_out(), n=8, seed=1)
    before = torch.cat(list(inputs.values()))
    after = transform(run.detector, before, **run.climbing()).points
    caption = f"any input can be transformed: {', '.join(inputs)}, with what became of each below it"
    return Picture(plots.pairs(before, after), caption)


def edits(run: Run) -> list[Section]:
    """Return what was transformed and edited into the run's folder, before and after; nothing where nothing was.

    Raises:
        ValueError: where a record or a picture cannot be read; one line that names it.
    """
    found = [run.folder / TRANSFORMED / MADE, *sorted((run.folder / EDITED).glob(f"*/{MADE}"))]
    pictures = [picture for record in found if record.is_file() for picture in _edit(record)]
    words = (
        "What was put in stands above what became of it; a strip shows the way, from where the climb began to its end."
    )
    return [Section("Transformed and edited", [words], pictures)] if pictures else []


def _edit(record: Path) -> list[Picture]:
    try:
        made = json.loads(record.read_text(encoding="utf-8"))
        verb, command = made["verb"], made["command"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{record}: expected a verb and a command, got a file that cannot be read: {error}") from None
    captions = {BEFORE_AFTER: f"{verb}, before and after: {command}", WAY: f"{verb}, the way"}
    for name in captions:
        decoding.read(record.with_name(name), name=str(record.with_name(name)))
    return [Picture(record.with_name(name).read_bytes(), caption) for name, caption in captions.items()]


def evaluation(run: Run, figures: dict[str, Any], logits: dict[str, Tensor]) -> list[Section]:
    """Return the figures of an evaluation, as `genat.evaluation.protocol.read` reads them."""
    sections = [] if "generation" not in figures else [_recognition(figures["generation"])]
    sections += _fidelity(run, figures)
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
    accuracy = figures["classifier_accuracy"]
    judged = "" if accuracy is None else f" (accuracy on held-out images {accuracy:.1%})"
    beside = f" and of {figures['confident_real']:.1%} of held-out images" if "confident_real" in figures else ""
    return (
        f"A classifier trained on real images{judged} is at least {figures['level']:.0%} sure of the class of "
        f"{figures['confident']:.1%} of {figures['n']} samples{beside}; the samples' rarest class makes up "
        f"{figures['smallest']:.1%}."
    )


def _recognition(figures: dict[str, Any]) -> Section:
    shares = [[name, f"{share:.1%}"] for name, share in zip(figures["classes"], figures["shares"], strict=True)]
    table = Table(["class", "share"], shares)
    return Section("What a classifier sees in the samples", [recognition(figures)], table=table)


def fidelity_words(figures: dict[str, Any]) -> str:
    """Return in one sentence or two what the columns of `fidelity_table` are, and what they are measured on."""
    words = (
        f"n = {figures['n']} images of each column against {figures['n']} held-out real ones, on {figures['features']} "
        f"features of {figures['dimension']} dimensions; starts: the outside images that the ascents began from; real: "
        "other held-out images in the samples' place, which is what there is to reach."
    )
    if "gan" not in figures:
        return words
    gan = figures["gan"]
    spent = f"{gan['passes']:,} passes, the run's training {gan['passes_of_run']:,}"
    return f"{words} GAN: DCGAN with R1 and spectral normalisation on the same images, {spent}."


def fidelity_table(figures: dict[str, Any]) -> Table:
    """Return how close samples come to real images, beside their starts, a GAN where there is one, and real images."""
    gan = figures.get("gan")
    sets = {"samples": figures["samples"], "starts": figures["starts"]}
    sets |= {} if gan is None else {"GAN": gan["samples"]}
    sets |= {"real": figures["floor"]}
    shares = figures["of_starts"]
    rows = [
        [name, *(_cell(measures[name]) for measures in sets.values()), f"{shares[name]:.3f}" if name in shares else ""]
        for name in figures["samples"]
        if name != "k"
    ]
    memories = {"samples": figures["memorisation"]} | ({} if gan is None else {"GAN": gan["memorisation"]})
    for space in ("pixels", "features"):
        for name, words in _MEMORY.items():
            cells = {column: _cell(memory[space][name]) for column, memory in memories.items()}
            rows.append([f"{words}, {space}", *(cells.get(column, "") for column in sets), ""])
    return Table(["", *sets, "samples / starts"], rows)


def _cell(value: float | dict[str, float]) -> str:
    """Return a figure, with its standard error where it has one."""
    return f"{value['value']:.4g} ± {value['error']:.2g}" if isinstance(value, dict) else f"{value:.3f}"


def _fidelity(run: Run, figures: dict[str, Any]) -> list[Section]:
    """Return how close the samples come; where that was not measured, what was missing; nothing of older evaluations.

    Raises:
        ValueError: where a picture cannot be read; one line that names it.
    """
    title = "How close the samples come to real images"
    if "fidelity_missing" in figures:
        return [Section(title, [f"Not measured: {figures['fidelity_missing']}"])]
    if "fidelity" not in figures:
        return []
    found = figures["fidelity"]
    pictures = []
    for name, caption in found["pictures"].items():
        decoding.read(run.folder / name, name=str(run.folder / name))
        pictures.append(Picture((run.folder / name).read_bytes(), caption))
    note = (
        "± one standard error over new images. Nearest training image: the mean distance to it over that of held-out "
        "real images, 0 for copies and 1 for new images; closer: the share of samples nearer to a training image than "
        "5 % of the held-out ones are."
    )
    return [Section(title, [fidelity_words(found)], pictures, fidelity_table(found), note)]


def training(run: Run) -> Section:
    """Return the training's curves; of a run that was condensed, which has no records, that it was."""
    if not (run.folder / runs.METRICS).exists():
        return Section("Training", ["The records of this run's training are not part of its folder."])
    records = runs.metrics(run.folder)
    seconds = sum(record["seconds"] for record in records)
    words = (
        f"{len(records):,} steps in {seconds:.0f} s of training time. The adversarial AUROC falls as the ascents grow "
        "longer and reach the target: at 1/2 the detector cannot tell where they end from the target."
    )
    seen = runs.incidents(run.folder)
    rows = [
        [
            str(incident.iteration),
            incident.kind,
            incident.text,
            incident.action if incident.back_to is None else f"back to step {incident.back_to}",
        ]
        for incident in seen
    ]
    table = Table(["step", "kind", "what was seen", "what was done"], rows) if rows else None
    curves = Picture(plots.curves(records), "means over at most 100 steps", pixels=False)
    return Section("Training", [words], [curves], table)
