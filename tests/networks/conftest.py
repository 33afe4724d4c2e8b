"""Layers draw their weights from the global random state; here it is seeded and set aside, test by test."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _forked(_no_global_randomness: None) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
