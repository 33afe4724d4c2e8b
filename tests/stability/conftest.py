"""Data and settings with which a stability study takes a second."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from genat.sources import Images, Noise
from genat.stability.methods import Gan, Gat, Jem, Method
from genat.stability.ruler import Exam, Material, Ruler, make_ruler
from genat.stability.run import run

EXAM = Exam(n=66, examples=60, epochs=1)
SHAPE = (1, 8, 8)


def images(n: int, *, seed: int) -> Images:
    """Four classes, each bright in a quarter of its own, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    pixels = torch.rand(n, *SHAPE, generator=generator) * 0.5
    for quarter in range(4):
        rows, columns = 4 * (quarter // 2), 4 * (quarter % 2)
        pixels[labels == quarter, :, rows : rows + 4, columns : columns + 4] += 0.5
    return Images.from_float(pixels, labels=labels, classes=("a", "b", "c", "d"), name=f"quarters {seed}")


@pytest.fixture(scope="session")
def material() -> Material:
    return Material("quarters", images(100, seed=0), images(220, seed=1), Noise(SHAPE, kind="uniform"))


@pytest.fixture(scope="session")
def ruler(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Ruler:
    return make_ruler(material, EXAM, folder=tmp_path_factory.mktemp("ruler"), say=lambda _: None)


@pytest.fixture(scope="session")
def tiny() -> Mapping[str, Method]:
    """A method of each kind."""
    return MappingProxyType(
        {
            "gat": Gat(batch_size=4, width=2, last=2, ema=0.9, sampling_steps=2),
            "gan": Gan(batch_size=4, width=2, latent=3, ema=0.9),
            "jem": Jem(batch_size=4, width=2, chain_steps=2, rows=66, sampling_steps=2),
        }
    )


@pytest.fixture
def settings(material: Material, tmp_path: Path) -> dict[str, Any]:
    """What `run` needs besides methods: one seed, one width and some iterations."""
    return {
        "material": material,
        "seeds": [3],
        "widths": [2],
        "budget": 160,
        "output": tmp_path / "made",
        "exam": EXAM,
    }


@pytest.fixture(scope="session")
def made_once(material: Material, tiny: Mapping[str, Method], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stability") / "made"
    run({"gan": tiny["gan"]}, material, seeds=[3], widths=[2], budget=160, output=folder, exam=EXAM)
    return folder
