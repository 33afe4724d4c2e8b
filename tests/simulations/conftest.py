"""Settings and resolutions with which a simulation takes a fraction of a second."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from genat.networks import Together, build
from genat.simulations import lineup, measure, trainers, watch
from genat.simulations.lineup import Energy, Gan
from genat.simulations.outcome import Outcome, Row
from genat.simulations.run import simulate, toys
from genat.simulations.trainers import Gat, Trainer
from genat.training import Fitted, Step

Poison = Callable[..., None]


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "SAMPLES", 50)
    monkeypatch.setattr(lineup, "SAMPLES", 50)
    monkeypatch.setattr(measure, "RESOLUTION", 100)
    monkeypatch.setattr(measure, "_HELD_OUT", 200)
    monkeypatch.setattr(watch, "RESOLUTION", {1: 50, 2: 20})
    monkeypatch.setattr(watch, "MOMENTS", 3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples, few cells and few moments."""
    shrink(monkeypatch)


@pytest.fixture(scope="session")
def tiny() -> Mapping[str, Trainer]:
    """A trainer of each kind, of 24 iterations."""
    return MappingProxyType(
        {
            "gat": Gat(iterations=24, batch_size=8, hidden=(8,), last=3),
            "gan": Gan(iterations=24, batch_size=8, hidden=(8,), r1=0.1),
            "ebm": Energy(iterations=24, batch_size=8, hidden=(8,), chain_steps=3, sampling_steps=4),
        }
    )


@pytest.fixture(scope="session")
def made_once(tiny: Mapping[str, Trainer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "made"
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink(monkeypatch)
        simulate(toys(["ring"]), {"gat": tiny["gat"]}, seeds=[0, 1], output=folder)
    return folder


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Path:
    """A copy of a folder in which GAT has learned the ring from the seeds 0 and 1."""
    return shutil.copytree(made_once, tmp_path / "made")


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """Call with members: their weights are no numbers after that step of GAT, or from a peer's start."""

    def spoil(detector: Together, members: tuple[int, ...]) -> Together:
        with torch.no_grad():
            for weights in detector.parameters():
                weights[list(members)] = torch.nan
        return detector

    def apply(*members: int, after: int = 3) -> None:
        fit: Callable[..., Fitted] = vars(trainers)["fit"]
        detectors: Callable[..., Together] = vars(lineup)["detectors"]

        def poisoned_fit(
            detector: Together,
            *data: Tensor,
            callback: Callable[[Step], None],
            **options: Any,  # noqa: ANN401
        ) -> Fitted:
            def note(step: Step) -> None:
                callback(step)
                if step.iteration == after:
                    spoil(detector, members)

            return fit(detector, *data, callback=note, **options)

        def poisoned_detectors(dim: int, **options: Any) -> Together:  # noqa: ANN401
            return spoil(detectors(dim, **options), members)

        monkeypatch.setattr(trainers, "fit", poisoned_fit)
        monkeypatch.setattr(lineup, "detectors", poisoned_detectors)

    return apply


@pytest.fixture
def linear() -> Callable[..., Together]:
    """Return detectors `slope (x_1 - cut)` in the plane or on the line, a member for each pair."""

    def make(*pairs: tuple[float, float], dim: int = 2) -> Together:
        members = [build("mlp", (dim,), {"hidden": ()}, seed=0) for _ in pairs]
        for member, (slope, cut) in zip(members, pairs, strict=True):
            weight, bias = member.parameters()
            with torch.no_grad():
                weight.zero_()[:, 0] = slope
                bias.fill_(-slope * cut)
        return Together(members)

    return make


@pytest.fixture
def result() -> Callable[..., Outcome]:
    """Return an outcome of two seeds in the plane, made of nothing, with these changes."""
    rows: list[Row] = [
        {"seed": 0, "diverged": None, "failure": None, "passes": 900, "seconds": 2.0, "iou": 0.5},
        {"seed": 1, "diverged": None, "failure": None, "passes": 900, "seconds": 4.0, "iou": 0.7},
    ]
    empty = Outcome(
        toy="ring",
        trainer="gat",
        seeds=(0, 1),
        rows=rows,
        history=[{"iteration": 1, "steps": 1, "loss": [0.7, 0.6], "auroc": [0.5, 0.5]}],
        logits=torch.linspace(-3, 1, 64).repeat(2, 1),
        samples=torch.full((2, 5, 2), 0.5),
        moments=torch.tensor([1, 2]),
        surfaces=torch.zeros(2, 64),
        areas=torch.full((2, 2), 0.5),
        trajectory=torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0)),
    )

    def make(**changes: object) -> Outcome:
        return replace(empty, **changes)  # type: ignore[arg-type]

    return make
