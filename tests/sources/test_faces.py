"""scikit-image's faces: a stand-in for the package, and the package itself where it is installed."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from genat.sources import lfw_faces


def test_faces_come_first_and_are_rounded_to_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((200, 25, 25))
    stand_in = ModuleType("skimage.data")
    monkeypatch.setattr(stand_in, "lfw_subset", lambda: values, raising=False)
    monkeypatch.setitem(sys.modules, "skimage", ModuleType("skimage"))
    monkeypatch.setitem(sys.modules, "skimage.data", stand_in)
    images = lfw_faces()
    assert repr(images) == "Images('LFW faces', 200 of (1, 25, 25), 2 classes)"
    assert torch.equal(images.pixels[:, 0], torch.from_numpy(np.rint(values * 255).astype(np.uint8)))
    assert images.labels is not None
    assert images.labels.tolist() == [0] * 100 + [1] * 100
    assert images.notes == ("200 of 200 images rounded to 8 bits",)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ValueError, match=r"expected the package scikit-image, got none: pip install 'genat\[data\]'"):
        lfw_faces()


def test_the_packages_own_faces_are_told_from_the_rest_by_their_mean() -> None:
    pytest.importorskip("skimage", reason="needs the extra data")
    faces, others = (lfw_faces().only(name).tensor() for name in ("face", "other"))
    assert faces.shape == others.shape == (100, 1, 25, 25)

    def likeness(images: torch.Tensor) -> torch.Tensor:
        centred = images - images.mean((1, 2, 3), keepdim=True)
        pattern = (faces - faces.mean((1, 2, 3), keepdim=True)).mean(0)
        return torch.nn.functional.cosine_similarity(centred.flatten(1), pattern.flatten()[None])

    assert likeness(faces).median() > likeness(others).quantile(0.9)
