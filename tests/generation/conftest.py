"""A detector of 8 x 8 images with random weights: its logit is as rugged as a trained one's."""

import pytest
import torch
from torch import Tensor, nn

from genat import networks, sources

SHAPE = (1, 8, 8)


@pytest.fixture(scope="session")
def detector() -> nn.Module:
    network = networks.build("mlp", SHAPE, {"hidden": [64, 64], "negative_slope": 0.2}, seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network.eval()


@pytest.fixture(scope="session")
def outside() -> sources.Source:
    return sources.Noise(SHAPE)


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.rand(37, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def mask() -> Tensor:
    """A third of the pixels, not alike in any row."""
    return torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) < 1 / 3
