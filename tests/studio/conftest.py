"""A service of a small run, and pictures for it."""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from genat import plots, runs
from genat.runs import Run
from genat.studio import Limits, application

DEFAULTS = Limits()


@pytest.fixture(scope="session")
def trained(trained_once: Path) -> Run:
    return runs.load(trained_once)


@pytest.fixture
def client(trained: Run) -> Iterator[TestClient]:
    with TestClient(application(trained)) as one:
        yield one


@pytest.fixture
def limited(trained: Run) -> Iterator[Callable[..., TestClient]]:
    """Make a client of a service with a run, limits and options of the test's own; an error in it is an answer."""
    with ExitStack() as stack:

        def make(
            run: Run = trained, *, limits: Limits = DEFAULTS, key: str | None = None, origins: Sequence[str] = ()
        ) -> TestClient:
            app = application(run, limits=limits, key=key, origins=origins)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture(scope="session")
def pngs() -> list[bytes]:
    """Eight random pictures of 8 x 8."""
    return [plots.single(one) for one in torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))]


@pytest.fixture(scope="session")
def texts(pngs: list[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in pngs]
