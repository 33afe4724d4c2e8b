"""The benchmark of detection in words and tables: every score, clean and attacked, on every family."""

from collections.abc import Mapping, Sequence
from typing import Any

from genat import plots
from genat.evaluation.ood import label
from genat.report.sections import Picture, Section, Table

Rows = Sequence[Mapping[str, Any]]

_FEWEST = 3  # places along the radius, clean among them, that make a curve


def budgets(rows: Rows) -> list[str]:
    """Return the names of the balls in their order, "clean" before them.

    Example:
        >>> budgets([{"norm": None, "radius": None}, {"norm": "l2", "radius": 1.0}, {"norm": None, "radius": None}])
        ['clean', 'L2 1']
    """
    return list(dict.fromkeys(_budget(one) for one in rows))


def means_table(figures: Mapping[str, Any]) -> Table:
    """Return each score's means over the families that training has not seen, the best worst case first."""
    means = figures["means"]
    names = budgets(means)
    columns = ["score", *(f"AUROC, {name}" for name in names), *(f"FPR95, {name}" for name in names)]
    found = {(one["score"], _budget(one)): one for one in means}
    scores = sorted(dict.fromkeys(one["score"] for one in means), key=lambda score: -found[score, names[-1]]["auroc"])
    cells = [
        [
            score,
            *(f"{found[score, name]['auroc']:.4f}" for name in names),
            *(f"{found[score, name]['fpr95']:.3f}" for name in names),
        ]
        for score in scores
    ]
    return Table(columns, cells)


def families_table(figures: Mapping[str, Any], budget: str) -> Table:
    """Return the AUROC of each score on each family, clean or in one ball: a row a family, a column a score."""
    rows = [one for one in figures["rows"] if _budget(one) == budget]
    scores = list(dict.fromkeys(one["score"] for one in rows))
    found = {(one["score"], one["family"]): one for one in rows}
    cells = [
        [
            family + (" (seen)" if found[scores[0], family]["seen"] else ""),
            str(found[scores[0], family]["n_outside"]),
            *(f"{found[score, family]['auroc']:.3f}" for score in scores),
        ]
        for family in dict.fromkeys(one["family"] for one in rows)
    ]
    return Table([f"outside data, {budget}", "n", *scores], cells)


def attacks_table(figures: Mapping[str, Any], score: str = "genat") -> Table:
    """Return one score's AUROC under each attack alone, under all of them, and with twice the steps."""
    rows = [one for one in figures["rows"] if one["score"] == score and one["radius"] is not None]
    attacks = list(dict.fromkeys(name for one in rows for name in one["each"]))
    cells = [
        [
            f"{one['family']}, {_budget(one)}",
            *(f"{one['each'][name]:.4f}" for name in attacks),
            f"{one['auroc']:.4f}",
            f"[{one['low']:.4f}, {one['high']:.4f}]",
            f"{one['doubled']:.4f}",
            str(one["evaluations"]),
        ]
        for one in rows
    ]
    return Table(["outside data", *attacks, "worst of all", "interval", "doubled", "passes"], cells)


def curves(figures: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a picture of the means over the radius for every norm that was measured at two radii or more, by norm."""
    pictures: dict[str, bytes] = {}
    for norm in dict.fromkeys(one["norm"] for one in figures["means"] if one["norm"]):
        kept = [one for one in figures["means"] if one["norm"] in (None, norm)]
        at = sorted({one["radius"] or 0.0 for one in kept})
        if len(at) < _FEWEST:
            continue
        found = {(one["score"], one["radius"] or 0.0): one["auroc"] for one in kept}
        scores = {
            score: [found[score, radius] for radius in at] for score in dict.fromkeys(one["score"] for one in kept)
        }
        pictures[norm] = plots.radii(at, scores, first=next(iter(scores)), x=f"{norm.capitalize()} radius")
    return pictures


def words(figures: Mapping[str, Any]) -> str:
    """Return what was measured on what, in a sentence or two."""
    inside, scale = figures["inside"], figures["scale"]
    starts = "" if scale["restarts"] == 1 else f", each from {scale['restarts']} starts"
    seen = ", ".join(figures["outside_of_training"])
    scores = {one["score"] for one in figures["rows"]}
    queries = f"Square of {scale['queries']} queries"
    attacks = f"{queries}, and the images made against all the other scores" if len(scores) > 1 else f"and {queries}"
    took = ""
    if "seconds" in figures:
        attacks_took, trained = figures["seconds"]["attacks"], figures["seconds"]["trainings"]
        took = f" All attacks took {attacks_took:,.0f} s" + (f", the trainings {trained:,.0f} s." if trained else ".")
    return (
        f"AUROC on {inside['n']} {inside['part']} images of {inside['name']} against {scale['n']} or fewer of each "
        f"family. The outside data of training was: {seen}. Every score is attacked by itself: APGD and our ascent of "
        f"{scale['steps']} steps{starts}, {attacks}; an image counts with the highest logit that any of them came to."
        f"{took}"
    )


def sections(figures: Mapping[str, Any]) -> list[Section]:
    """Return the benchmark as a report shows it."""
    note = (
        "Means are over the families that training has not seen. genat is this run's logit; msp to vim are scores of a "
        "plain classifier on the same data and network; the others are classifiers trained with outside data, under "
        "attack, or both, by their maximum softmax probability, each for at most as many passes as the run."
    )
    pictures = [
        Picture(png, f"means over families, {norm.capitalize()}", pixels=False) for norm, png in curves(figures).items()
    ]
    shown = [Section("Detection beside others", [words(figures)], pictures, means_table(figures), note)]
    shown += [
        Section(f"Outside data, {budget}", [], [], families_table(figures, budget), "")
        for budget in budgets(figures["rows"])
    ]
    attacked = "AUROC of this run's logit under each attack alone. Doubled: with APGD of twice the steps besides."
    return [*shown, Section("Attack by attack", [attacked], [], attacks_table(figures), "")]


def _budget(one: Mapping[str, Any]) -> str:
    return label("", one["norm"], one["radius"]).removeprefix(", ") or "clean"
