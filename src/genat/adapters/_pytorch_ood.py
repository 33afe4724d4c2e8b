"""The parts of pytorch-ood that need no torchvision, also where there is none."""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def detectors() -> ModuleType:
    """Return the module `pytorch_ood.detector`: `MaxSoftmax`, `ODIN`, `Mahalanobis`, `KNN`, `ViM` and others.

    Raises:
        ImportError: where pytorch-ood is not installed: one line that names the extra.

    Example:
        >>> import torch
        >>> score = detectors().MaxSoftmax(torch.nn.Identity())  # minus the largest probability
        >>> score(torch.tensor([[0.0, 0.0], [0.0, 30.0]]))
        tensor([-0.5000, -1.0000])
    """
    return _part("detector")


def api() -> ModuleType:
    """Return the module `pytorch_ood.api`, which has the base class `Detector`.

    Raises:
        ImportError: as `detectors`.

    Example:
        >>> api().Detector.requires_fit
        False
    """
    return _part("api")


def _part(name: str) -> ModuleType:
    """Import a part of the package; where its data sets' torchvision does not import, past the package's own init."""
    spec = find_spec("pytorch_ood")
    if spec is None:
        raise ImportError(
            "expected pytorch-ood, got none: pip install 'genat[ood]', "
            "or without its torchvision: pip install --no-deps 'pytorch-ood>=0.4,<0.5'"
        )
    if "pytorch_ood" not in sys.modules:
        try:
            import_module("pytorch_ood")
        except (ImportError, RuntimeError):  # RuntimeError: a torchvision of another PyTorch's build
            sys.modules["pytorch_ood"] = module_from_spec(spec)
    return import_module(f"pytorch_ood.{name}")
