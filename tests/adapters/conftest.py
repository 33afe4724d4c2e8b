"""ONNX files that several tests look at: an export takes seconds."""

from pathlib import Path

import pytest
from torch import nn

from genat.networks import build

SHAPE = (1, 8, 8)


@pytest.fixture(scope="session")
def small() -> nn.Module:
    """A detector whose gradient changes from place to place."""
    return build("mlp", SHAPE, {"hidden": [32, 16], "negative_slope": 0.2}, seed=0)


@pytest.fixture(scope="session")
def logit_file(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from genat.adapters.onnx import export_logit

    return export_logit(small, tmp_path_factory.mktemp("onnx") / "logit.onnx", shape=SHAPE, name="small").path


@pytest.fixture(scope="session")
def step_file(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from genat.adapters.onnx import export_ascent_step

    path = tmp_path_factory.mktemp("onnx") / "new folder" / "step.onnx"
    return export_ascent_step(small, path, shape=SHAPE, step_size=0.2).path
