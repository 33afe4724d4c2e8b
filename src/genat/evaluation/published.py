"""The tables of "GAT" (Yin, Kolouri, Rohde, 2020): each detector under the paper's attacks, its figure beside ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from genat import assemble, detection
from genat.adversaries import budget, worst_case
from genat.ascent import Rule, ascend
from genat.evaluation.keeping import read_table, write_table
from genat.evaluation.ood import row
from genat.networks import Committee
from genat.provenance import provenance
from genat.runs import Run

FOLDER, TABLE = "gat2020", "table.json"
_SEED = 123


@dataclass(frozen=True, slots=True)
class Budget:
    """One attack of the paper's tables.

    Attributes:
        steps: of the ascent.
        size: of a step, in pixels of [0, 1].
        auc: the published figures of the detectors of class 0 and class 1; None where there are none.
    """

    steps: int
    size: float
    auc: tuple[float, float] | None


MNIST: Mapping[tuple[str, float], Sequence[Budget]] = {
    ("linf", 0.3): (Budget(200, 0.01, (0.99959, 0.99971)), Budget(2000, 0.005, (0.99958, 0.99971))),
    ("linf", 0.5): (Budget(200, 0.01, (0.99830, 0.99869)), Budget(2000, 0.005, (0.99796, 0.99861))),
    ("l2", 2.5): (Budget(200, 0.1, (0.99962, 0.99968)), Budget(2000, 0.05, (0.99927, 0.99900))),
    ("l2", 5.0): (Budget(200, 0.1, (0.99578, 0.99987)), Budget(2000, 0.05, (0.99529, 0.99918))),
}
"""Table 2 of the paper, by norm and radius."""

CIFAR10: Mapping[tuple[str, float], Sequence[Budget]] = {
    ("linf", 8 / 255): (
        Budget(20, 2 / 255, (0.9224, 0.9533)),
        Budget(40, 0.5 / 255, (0.9234, 0.9553)),
        Budget(200, 0.1 / 255, (0.9231, 0.9550)),
        Budget(200, 0.5 / 255, (0.9205, 0.9504)),
        Budget(500, 0.5 / 255, (0.9203, 0.9500)),
    )
}
"""Table 4 of the paper."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        n: test images of the class at most, and of the others; None takes all.
        longest: steps of the longest attack of the paper's that is run.
        classes: the detectors, those of the first classes.
        steps, restarts, queries: of the independent attacks.
    """

    n: int | None
    longest: int
    classes: int
    steps: int
    restarts: int
    queries: int


SCALES: Mapping[str, Scale] = {
    "quick": Scale(n=200, longest=200, classes=2, steps=50, restarts=3, queries=200),
    "full": Scale(n=None, longest=2000, classes=2, steps=200, restarts=5, queries=2000),
}
"""`full` has the paper's test sets and all of its attacks."""


def budgets(run: Run) -> Sequence[Budget]:
    """Return the paper's attacks for a run's data and ball; those of its MNIST table in proportion elsewhere.

    In another ball of the same norm they take the same steps, of a size in the same proportion to the radius, and there
    is no published figure.
    """
    norm, radius = budget(run.config.ball.build())
    table = MNIST if run.shape[0] == 1 else CIFAR10
    found = next((ways for (n, r), ways in table.items() if n == norm and abs(r - radius) < 1e-6 * r), None)
    named = run.config.name.startswith(("committee-mnist", "committee-cifar10"))
    if found is not None and named:
        return found
    (_, smallest), ways = next(item for item in MNIST.items() if item[0][0] == norm)
    return [Budget(one.steps, one.size * radius / smallest, None) for one in ways]


def gat2020(
    run: Run,
    *,
    scale: Scale = SCALES["quick"],
    command: str = "genat reproduce gat2020",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure the detectors of a committee as the paper does, and by attacks of others.

    The paper's attack raises the logit by steps of Adam (and by steps of the norm's steepest direction), from the image
    itself; what counts is the AUROC of clean test images of the class against all perturbed others, by their true
    labels, as in the authors' code for MNIST. The strongest of APGD, Square and our ascents stands beside it.

    Args:
        run: of a committee that was trained in a ball.
        scale: see `SCALES`.
        command: what a person typed, for the record.
        say: called with lines of progress.

    Returns:
        What `gat2020/table.json` holds: a row a detector and attack, with the published figure where there is one.

    Raises:
        ImportError: where pyautoattack is not installed.
        ValueError: where the run is of no committee, or its ball has no radius.
    """
    if not isinstance(run.detector, Committee):
        raise ValueError(f"{run.folder}: expected a run of a committee, got one of another detector")
    ball, attacks = run.config.ball.build(), budgets(run)
    whole, part = assemble.measured(run.config, assemble.target(run.config), run.shape)
    assert whole.labels is not None, "as those that it was trained with"
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SEED))
    labels, device = whole.labels[order], assemble.device(run.config)
    rows: list[dict[str, Any]] = []
    for kind, name in enumerate(run.classes[: scale.classes]):
        detector = run.detector[kind].eval().to(device)
        own, others = (
            whole.take(order[chosen][: scale.n]).tensor().to(device) for chosen in (labels == kind, labels != kind)
        )
        of_own = detection.logits(detector, own).cpu()

        def tell(attack: str, found: dict[str, Any], published: float | None, name: str = name) -> None:
            rows.append({"class": name, "attack": attack, "published": published} | found)
            beside = "" if published is None else f", published {published:.5f}"
            say(f"detector {name}, {attack}: AUROC {found['auroc']:.5f}{beside}")

        tell("clean", asdict(row(of_own, detection.logits(detector, others).cpu(), family=name)), None)
        for one in attacks:
            if one.steps > scale.longest:
                continue
            rules: tuple[Rule, Rule] = ("adam", "steepest")
            for rule in rules:
                raised = [
                    ascend(detector, batch, ball=ball, steps=one.steps, step_size=one.size, rule=rule)
                    for batch in torch.split(others, 500)
                ]
                values = detection.logits(detector, torch.cat(raised)).cpu()
                published = one.auc[kind] if one.auc is not None and kind < len(one.auc) else None
                text = f"{one.steps} x {one.size:.4g}, {rule}"
                tell(text, asdict(row(of_own, values, family=name, ball=ball, evaluations=one.steps)), published)
        found = worst_case(
            detector, others, ball=ball, steps=scale.steps, restarts=scale.restarts, queries=scale.queries, seed=_SEED
        )
        worst = row(of_own, found.logits.cpu(), family=name, ball=ball, evaluations=found.evaluations, each=found.each)
        tell("worst of independent attacks and ours", asdict(worst), None)
    norm, radius = budget(ball)
    figures = {
        "data": {"name": whole.name, "part": part},
        "ball": {"norm": norm, "radius": radius},
        "scale": asdict(scale),
        "rows": rows,
        "made": provenance(command),
    }
    write_table(run.folder / FOLDER / TABLE, figures)
    return figures


def read(folder: str | Path) -> dict[str, Any] | None:
    """Return the figures of a run folder, None where it has none.

    Raises:
        ValueError: where the file cannot be read: one line that names it.
    """
    return read_table(Path(folder) / FOLDER / TABLE)
