"""A committee under attack in words and tables: its detectors, whole systems, attack by attack."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genat import plots
from genat.evaluation.ood import label
from genat.evaluation.robustness import PICTURES
from genat.report.sections import Picture, Section, Table

Figures = Mapping[str, Any]


def words(figures: Figures) -> str:
    """Return what was measured on what, in a few sentences."""
    inside, scale, ball = figures["inside"], figures["scale"], figures["ball"]
    queries = f" and {scale['queries']} queries of Square" if scale["queries"] else ""
    starts = "start" if scale["starts"] == 1 else "starts"
    return (
        f"{inside['n']} {inside['part']} images of {inside['name']}, attacked within "
        f"{label('', ball['norm'], ball['radius']).removeprefix(', ')} by every attack in the table below: "
        f"{scale['steps']} steps from {scale['starts']} {starts} each{queries}. An image is an error at a threshold "
        "where any of them got it accepted under a wrong label; one that is rejected is none. Thresholds accept 95 % "
        "of validation images."
    )


def detectors_table(figures: Figures) -> Table:
    """Return each detector's AUROC, of clean images of its class against others moved towards it."""
    rows = figures["detectors"]
    attacks = list(dict.fromkeys(name for one in rows for name in one["worst"]["each"]))
    cells = [
        [
            one["class"],
            f"{one['worst']['n_inside']} + {one['worst']['n_outside']}",
            f"{one['clean']['auroc']:.4f}",
            *(f"{one['worst']['each'][name]:.4f}" for name in attacks),
            f"{one['worst']['auroc']:.4f}",
            f"[{one['worst']['low']:.4f}, {one['worst']['high']:.4f}]",
            f"{one['worst']['doubled']:.4f}",
            str(one["worst"]["evaluations"]),
        ]
        for one in rows
    ]

    def mean(values: Sequence[float]) -> str:
        return f"{sum(values) / len(values):.4f}"

    total = ["mean", "", mean([one["clean"]["auroc"] for one in rows])]
    total += [mean([one["worst"]["each"][name] for one in rows]) for name in attacks]
    total += [mean([one["worst"]["auroc"] for one in rows]), "", mean([one["worst"]["doubled"] for one in rows]), ""]
    return Table(["detector", "n", "clean", *attacks, "worst of all", "interval", "doubled", "passes"], [*cells, total])


def systems_table(figures: Figures) -> Table:
    """Return what each system does to clean images and under the worst of all attacks."""
    cells = [
        [
            one["system"],
            f"{one['accuracy']:.3f}",
            f"{one['tpr']:.3f}",
            f"{one['accepted_accuracy']:.3f}",
            f"{one['clean_error']:.3f}",
            f"{one['error']:.3f}",
            f"{one['error_without_rejection']:.3f}",
            f"{one['evaluations']:,}",
        ]
        for one in figures["systems"]
    ]
    columns = ["system", "accuracy", "accepted", "accepted and right", "clean error", "error under attack"]
    return Table([*columns, "without rejection", "passes"], cells)


def attacks_table(figures: Figures, key: str = "each") -> Table:
    """Return each system's error under each attack alone: a row an attack, the worst of all last.

    Args:
        figures: of the evaluation.
        key: "each" at the systems' thresholds, "each_without_rejection" where only the label counts.
    """
    rows = figures["systems"]
    whole = {"each": "error", "each_without_rejection": "error_without_rejection"}[key]
    attacks = list(dict.fromkeys(name for one in rows for name in one[key]))
    cells = [[name, *(_share(one[key].get(name)) for one in rows)] for name in attacks]
    cells.append(["worst of all", *(_share(one[whole]) for one in rows)])
    return Table(["attack", *(one["system"] for one in rows)], cells)


def compared_table(figures: Figures) -> Table:
    """Return every system's error under attack at the same shares of clean images accepted and right."""
    systems = [one["system"] for one in figures["systems"]]
    cells = [
        [f"{one['accuracy']:g}", *(_share(one["errors"][name]) for name in systems)] for one in figures["compared"]
    ]
    return Table(["accepted and right", *systems], cells)


def growing_table(figures: Figures) -> Table:
    """Return the committee's errors, where only the label counts, as ball and budget grow together."""
    norm = figures["ball"]["norm"].capitalize()
    cells = [[f"{one['radius']:.4g}", str(one["steps"]), f"{one['error']:.3f}"] for one in figures["growing"]]
    return Table([f"{norm} radius", "steps", "error, argmax"], cells)


def nearest_words(figures: Figures) -> str:
    """Return how far the nearest accepted errors are."""
    found = figures["nearest"]
    if found["mean"] is None:
        return f"No accepted error was found in any distance for {found['n']} images."
    return (
        f"Nearest accepted errors of the committee, by bisection: L2 {found['mean']:.3f} on average, found for "
        f"{found['rate']:.0%} of {found['n']} images."
    )


def published_table(figures: Figures) -> Table:
    """Return the paper's attacks on each detector, its AUROC beside ours."""
    cells = [
        [
            one["class"],
            one["attack"],
            f"{one['n_inside']} + {one['n_outside']}",
            f"{one['auroc']:.5f}",
            f"[{one['low']:.5f}, {one['high']:.5f}]",
            "" if one["published"] is None else f"{one['published']:.5f}",
        ]
        for one in figures["rows"]
    ]
    return Table(["detector", "attack", "n", "AUROC", "interval", "published"], cells)


def published_section(figures: Figures) -> Section:
    """Return the paper's attacks as a report shows them."""
    data, ball = figures["data"], figures["ball"]
    where = label("", ball["norm"], ball["radius"]).removeprefix(", ")
    text = (
        f"AUROC of {data['part']} images of {data['name']}: clean ones of a detector's class against all others, moved "
        f"within {where}. A published figure is the paper's own, of its own detector and its whole test set."
    )
    return Section('The attacks of "GAT" (2020)', [text], [], published_table(figures), "")


def curves(figures: Figures) -> bytes:
    """Return the picture of accuracy on clean images against error under attack, a curve a system."""
    found = {one["system"]: (one["curve"]["accuracy"], one["curve"]["error"]) for one in figures["systems"]}
    return plots.trade_offs(found, first=figures["systems"][0]["system"])


def noise_table(figures: Figures) -> Table:
    """Return the logit of noise climbed on each detector, after so many steps, and the mean logit of its samples."""
    found = figures["synthesis"]
    cells = [
        [name, *(f"{value:.2f}" for value in logits), f"{own:.2f}"]
        for name, logits, own in zip(figures["inside"]["classes"], found["noise"], found["samples"], strict=True)
    ]
    return Table(["detector", *(f"noise, {step} steps" for step in found["at"]), "samples"], cells)


def sections(figures: Figures, folder: Path) -> list[Section]:
    """Return the evaluation as a report shows it.

    Args:
        figures: of the evaluation.
        folder: that its pictures are in.
    """
    picture = Picture(curves(figures), "each point a threshold; lower and further right is better", pixels=False)
    made = [
        Picture((folder / name).read_bytes(), caption) for name, caption in PICTURES.items() if (folder / name).exists()
    ]
    alone = "AUROC of each detector, clean images of its class against images of the others, moved towards it."
    without = "The same where nothing is rejected: the share of images that get a wrong label."
    grown = "Where ball and budget grow and errors do not, it is the attack that fails. " + nearest_words(figures)
    return [
        Section("Detectors under attack", [alone], [], detectors_table(figures), ""),
        Section("Systems under attack", [words(figures)], [picture], systems_table(figures), ""),
        Section("At equal accuracy", [], [], compared_table(figures), ""),
        Section("System by system, attack by attack", [], [], attacks_table(figures), ""),
        Section("Without rejection", [without], [], attacks_table(figures, "each_without_rejection"), ""),
        Section("Growing balls", [grown], [], growing_table(figures), ""),
        Section("What each detector makes", ["Logits of what was climbed."], made, noise_table(figures), ""),
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
