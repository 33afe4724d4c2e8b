"""Fixtures and the doctests' namespace."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from torch import nn

hypothesis.settings.register_profile("genat", derandomize=True, deadline=None, max_examples=40)
hypothesis.settings.load_profile("genat")

SHARED_DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


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
