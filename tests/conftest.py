"""Fixtures and the doctests' namespace."""

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
import torch
from torch import nn

from genat import config, ranking, runs
from genat.cli import main
from genat.evaluation import judge, ood, protocol

hypothesis.settings.register_profile("genat", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.load_profile("genat")

SHARED_DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


TINY = """
name: tiny
network: mlp
network_options: {hidden: [32]}
iterations: 40
batch_size: 16
steps: {first: 0, last: 3}
checkpoint_every: 20
ema: 0.9
sampling: {steps: 5, step_size: 0.2}
"""


class Outcome(NamedTuple):
    """What a command line said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `genat ARGUMENTS` in this process."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["genat", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Outcome(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained_once(tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    runs.train(config.load(tiny_yaml), folder)
    return folder


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an evaluation take seconds: its classifier two epochs, its intervals few resamples."""
    monkeypatch.setattr(judge, "_EPOCHS", (2, 2))
    monkeypatch.setattr(ood, "auroc_interval", functools.partial(ranking.auroc_interval, resamples=50))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture(scope="session")
def evaluated_once(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(trained_once, folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        protocol.evaluate(runs.load(folder), n_samples=20, n_outside=10, attack_steps=2)
    return folder


@pytest.fixture
def tiny_run(trained_once: Path, tmp_path: Path) -> Path:
    """A copy of a run that is trained and nothing else."""
    return shutil.copytree(trained_once, tmp_path / "run")


@pytest.fixture
def evaluated_run(evaluated_once: Path, tmp_path: Path) -> Path:
    """A copy of a run that is trained and evaluated."""
    return shutil.copytree(evaluated_once, tmp_path / "evaluated")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def smooth_net() -> nn.Module:
    """A smooth detector of (N, 3, 2, 2) with gradients of size 1, in float64 and train mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(4)
    return net


@pytest.fixture(autouse=True)
def _no_global_randomness() -> Iterator[None]:
    """No verb may draw from or reseed the global random state; a test that does so itself forks it."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "the global random state was touched"


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace["torch"] = torch
