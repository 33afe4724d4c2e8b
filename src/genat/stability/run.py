"""Trainings on disk: every method at several learning rates, widths and seeds, gone on with where it was left."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from genat.simulations import folders
from genat.simulations.failures import FACTORS
from genat.simulations.folders import Cell
from genat.stability import outcome as outcomes
from genat.stability.measure import measure
from genat.stability.methods import Method
from genat.stability.outcome import Outcome
from genat.stability.ruler import Exam, Material, Ruler, make_ruler
from genat.stability.watch import Watch

STABILITY = "stability.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """One training that is to be made.

    Attributes:
        name: of the method.
        method: its settings, of this rate and width.
        factor: of its own learning rate.
        seed: of weights, batches and noise.
    """

    name: str
    method: Method
    factor: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name}  width {self.method.width}  rate {self.method.rate:g}  seed {self.seed}"

    def place(self, output: Path) -> Path:
        """Return its folder."""
        return output / self.name / f"width-{self.method.width}" / f"rate-{self.method.rate:g}" / f"seed-{self.seed}"


def plans(methods: Mapping[str, Method], *, seeds: Sequence[int], widths: Sequence[int]) -> list[Plan]:
    """Return the trainings of a study: every method at every width, at a tenth, once and ten times its learning rate.

    Example:
        >>> from genat.stability.methods import Gan
        >>> [str(plan) for plan in plans({"gan": Gan()}, seeds=[7], widths=[6])]
        ['gan  width 6  rate 2e-05  seed 7', 'gan  width 6  rate 0.0002  seed 7', 'gan  width 6  rate 0.002  seed 7']
    """
    return [
        Plan(name, replace(method, rate=method.rate * factor, width=width), factor, seed)
        for name, method in methods.items()
        for width in widths
        for factor in FACTORS
        for seed in seeds
    ]


def run(
    methods: Mapping[str, Method],
    material: Material,
    *,
    seeds: Sequence[int],
    widths: Sequence[int],
    budget: int,
    output: Path,
    exam: Exam,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[Outcome], Ruler]:
    """Make the trainings of a study, each in a folder `output/METHOD/width-W/rate-R/seed-S`.

    What is finished is read instead of trained again. Seeds, widths and methods can be added later.

    Args:
        methods: settings by name; their own learning rate is the one that is varied.
        material: what is learned.
        seeds: at least one, all different.
        widths: of the networks, likewise, at least 1.
        budget: passes that every training may spend.
        output: made where it is not there.
        exam: how images are measured.
        device: "cpu" or "cuda".
        say: called with lines of progress.

    Returns:
        The outcomes by method, width, rate and seed, and what measured them.

    Raises:
        ValueError: for arguments out of range, an absent device, a folder made with other settings or one that cannot
            be read; nothing is written then.
    """
    folders.check_seeds(seeds)
    if not widths or min(widths) < 1 or len(set(widths)) < len(widths):
        raise ValueError(f"expected at least one width, all different and 1 or more, got {list(widths)}")
    folders.check_device(device)
    paid = {name: method.with_budget(budget) for name, method in methods.items()}
    settings = _agreed(output, describe(paid, material, budget=budget, exam=exam))
    wanted = plans(paid, seeds=seeds, widths=widths)
    done = folders.read_finished(output, [plan.place(output) for plan in wanted], load=outcomes.load)
    folders.claim(output, STABILITY, settings)
    ruler = make_ruler(material, exam, folder=output, say=say)
    options: dict[str, Any] = {"output": output, "device": device, "say": say}
    cells = [Cell(str(plan), plan.place(output), partial(train, plan, material, ruler, **options)) for plan in wanted]
    return folders.complete(cells, done, say=say), ruler


def train(
    plan: Plan,
    material: Material,
    ruler: Ruler,
    *,
    output: Path,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Make one training, measure it and write its folder."""
    method = plan.method
    watch = Watch(str(plan), method.passes, method.iterations, ruler, say=say)
    began, diverged = time.perf_counter(), False
    try:
        method.train(material, ruler.starts, seed=plan.seed, device=device, watch=watch)
    except FloatingPointError as error:
        diverged = True
        say(f"{plan}  {error}")
    row = measure(watch, diverged=diverged, references=ruler.references)
    row |= {"method": plan.name, "factor": plan.factor, "rate": method.rate, "width": method.width, "seed": plan.seed}
    row["seconds"] = time.perf_counter() - began
    images = ruler.starts[: outcomes.SHOWN]
    shown = torch.zeros_like(images) if diverged or watch.images is None else watch.images[: outcomes.SHOWN]
    result = Outcome(row=row, curve=watch.curve, history=watch.history, samples=outcomes.as_bytes(shown))
    outcomes.save(result, plan.place(output), settings=asdict(method))
    return result


def describe(methods: Mapping[str, Method], material: Material, *, budget: int, exam: Exam) -> dict[str, Any]:
    """Return what a folder of trainings must agree on, as JSON holds it."""
    settings = {name: {"kind": type(method).__name__, **asdict(method)} for name, method in methods.items()}
    study = {"data": material.name, "budget": budget, **asdict(exam)}
    content: dict[str, Any] = json.loads(json.dumps({"study": study, "methods": settings}))
    return content


def _agreed(output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with those of a folder's other methods, and refuse what differs from before."""
    before = folders.known(
        output,
        STABILITY,
        what="a stability study",
        holds="a study and its methods",
        fits=lambda content: isinstance(content.get("study"), dict) and folders.of_dicts(content.get("methods")),
    )
    if before is None:
        return settings
    folders.check_same(output, "a study", before=before["study"], now=settings["study"])
    for name, wanted in settings["methods"].items():
        folders.check_same(output, name, before=before["methods"].get(name, wanted), now=wanted)
    return settings | {"methods": before["methods"] | settings["methods"]}
