"""pytorch-ood's detectors with and without its torchvision, and without itself."""

import importlib.util
import subprocess
import sys

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


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError"])
def test_a_torchvision_that_does_not_import_is_passed_by(error: str) -> None:
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            raise {error}("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Refuse())
from genat.adapters import _pytorch_ood
print(_pytorch_ood.detectors().KNN.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["KNN"]


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pytorch_ood, "find_spec", lambda _name: None)
    assert importlib.util.find_spec("pytorch_ood") is not None
    with pytest.raises(ImportError, match=r"expected pytorch-ood, got none: pip install 'genat\[ood\]'"):
        _pytorch_ood.detectors()
