"""pytorch-ood's detectors with and without its torchvision, and without itself."""

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest
import torch

from genat.adapters import _pytorch_ood


def test_the_detectors_are_the_real_packages() -> None:
    detectors, api = _pytorch_ood.detectors(), _pytorch_ood.api()
    assert detectors.__name__ == "pytorch_ood.detector"
    for name in ("MaxSoftmax", "ODIN", "Mahalanobis", "KNN", "ViM"):
        assert issubclass(getattr(detectors, name), api.Detector)
    logits = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    expected = -torch.logsumexp(logits, dim=1)
    assert torch.allclose(detectors.EnergyBased(torch.nn.Identity())(logits), expected)


@pytest.mark.parametrize("error", [ImportError, RuntimeError])
def test_a_torchvision_that_does_not_import_is_passed_by(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> ModuleType:
        if name == "pytorch_ood":
            raise error("operator torchvision::nms does not exist")
        return importlib.import_module(name)

    for name in [name for name in sys.modules if name.split(".")[0] == "pytorch_ood"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(_pytorch_ood, "import_module", refuse)
    detectors = _pytorch_ood.detectors()
    score = detectors.MaxSoftmax(torch.nn.Identity())(torch.tensor([[0.0, 0.0]]))
    assert score.tolist() == [-0.5]
    assert detectors is sys.modules["pytorch_ood.detector"]


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pytorch_ood, "find_spec", lambda _name: None)
    assert importlib.util.find_spec("pytorch_ood") is not None
    with pytest.raises(ImportError, match=r"expected pytorch-ood, got none: pip install 'genat\[ood\]'"):
        _pytorch_ood.detectors()
