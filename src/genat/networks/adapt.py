"""Detectors from classifiers made elsewhere, and networks that compute elsewhere."""

import copy
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from genat.networks.layers import Normalize, Select, Statistic, sample_shape
from genat.networks.probe import check_detector
from genat.networks.weights import init


class Hosted(nn.Module):
    """A network that computes on a device of its own and is spoken to from any other.

    Code that knows of one device alone, such as another's attack, sees it as living there, gradients included.

    Args:
        network: any module of one tensor; it is moved, in place.
        device: where it computes.

    Example:
        >>> hosted = Hosted(nn.Linear(4, 1), "cpu")
        >>> hosted(torch.zeros(5, 4)).shape
        torch.Size([5, 1])
    """

    def __init__(self, network: nn.Module, device: torch.device | str) -> None:
        super().__init__()
        self.network = network.to(device)
        self.device = torch.device(device)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the network does, on the input's device."""
        outputs: Tensor = self.network(x.to(self.device)).to(x.device)
        return outputs


class Adapted(nn.Module):
    """A classifier read as a detector; `from_classifier` makes one.

    Args:
        network: `(N, *) -> (N, K)`, `(N, 1)` or `(N,)`.
        logit: which output is the detector's logit.
        normalize: what the pixels pass first.

    Example:
        >>> Adapted(nn.Linear(4, 3), logit=2, normalize=nn.Identity())(torch.zeros(5, 4)).shape
        torch.Size([5])
    """

    def __init__(self, network: nn.Module, *, logit: int, normalize: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.network = network
        self.select = Select(logit)
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `(N,)`.

        Raises:
            TypeError: where the network returns no tensor.
            ValueError: where the network has no such output.
        """
        outputs = self.network(self.normalize(x))
        if not isinstance(outputs, Tensor):
            raise TypeError(f"expected a tensor, got {type(outputs).__name__}; wrap the network to return its logits")
        logits: Tensor = self.select(outputs[:, None] if outputs.ndim == 1 else outputs)
        return logits

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers but those with running statistics, which stay in eval mode.

        Statistics of a training batch, half of it adversarial, would tie every logit to the rest of the batch, and
        ascent, which is in eval mode, would climb another function than the one that is trained.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _NormBase):
                module.training = False
        return self


def from_classifier(
    module: nn.Module,
    *,
    logit: int | Literal["new"] = 0,
    weights: Path | str | None = None,
    mean: Statistic | None = None,
    std: Statistic | None = None,
    shape: tuple[int, ...] | None = None,
) -> nn.Module:
    """Make a detector of a classifier.

    Batch normalisation (and instance normalisation with running statistics) keeps its statistics in every mode and
    trains its affine map; dropout and its like follow train and eval mode, and ascent is in eval mode. The detector
    works on a copy: `module` is left as it is, and one classifier may become many detectors.

    Args:
        module: a classifier `(N, *) -> (N, K)`, or a detector `(N, *) -> (N,)` or `(N, 1)`.
        logit: which of the K outputs to read; "new" puts a fresh `nn.Linear(..., 1)`, drawn by PyTorch's default from
            the global random state as any layer is, in the place of the last `nn.Linear`.
        weights: a safetensors file that fits `module`, loaded before the new head; None keeps the weights it has.
        mean: of the pixels, for all channels or each; with `std` it normalises pixels in [0, 1] before the network.
            None: the network normalises for itself.
        std: likewise.
        shape: of one input; given, the detector is probed at once by `check_detector` on random pixels.

    Returns:
        A detector `(N, *) -> (N,)`, in the mode `module` was in.

    Raises:
        TypeError: where `module` is not a module.
        ValueError: where `logit` is out of range (known only when the detector first runs, hence with `shape` at
            once), there is no linear layer to replace, only one of `mean` and `std` is given, `weights` do not fit,
            or the probe fails.

    Example:
        >>> classifier = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
        >>> detector = from_classifier(classifier, logit=3, shape=(4,))
        >>> x = torch.zeros(5, 4)
        >>> torch.equal(detector(x), classifier.eval()(x)[:, 3])
        True
        >>> detector.train().network[1].training
        False
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(module).__name__}")
    if (mean is None) != (std is None):
        raise ValueError(f"expected mean and std or neither, got mean={mean} and std={std}")
    if logit != "new" and (not isinstance(logit, int) or logit < 0):
        raise ValueError(f"expected a logit >= 0 or new, got {logit}")
    sides = None if shape is None else sample_shape(shape)
    channels = None if sides is None else sides[0]
    normalize = nn.Identity() if mean is None or std is None else Normalize(mean, std, channels=channels)
    network = copy.deepcopy(module)
    if weights is not None:
        init(network, weights)
    if logit == "new":
        network, logit = _with_new_head(network), 0
    anchor = next(network.parameters(), torch.empty(0))
    detector = Adapted(network, logit=logit, normalize=normalize.to(anchor.device))
    if sides is not None:
        check_detector(detector, example_of(sides).to(anchor.device))
    return detector


def example_of(shape: tuple[int, ...]) -> Tensor:
    """Return two fixed samples of random pixels, `(2, *shape)`, to probe a detector with.

    Example:
        >>> example_of((2,))
        tensor([[0.4963, 0.7682],
                [0.0885, 0.1320]])
    """
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))


def take_logit(network: nn.Module, logit: int) -> None:
    """Exchange the rows of a network's last linear layer so that its first logit is what another one was.

    So each detector of a committee, whose networks all take their first logit, can begin as a classifier's logit of its
    own class. A network of one logit stays as it is.

    Args:
        network: changed in place.
        logit: the one to take, counted from 0.

    Raises:
        ValueError: where the network has no linear layer, or more than one logit but not that one.

    Example:
        >>> network = nn.Linear(2, 3)
        >>> x = torch.ones(4, 2)
        >>> before = network(x)
        >>> take_logit(network, 2)
        >>> torch.equal(network(x), before[:, [2, 1, 0]])
        True
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise ValueError("expected a network with a linear layer, got none")
    outputs = layers[-1].out_features
    if outputs == 1:
        return
    if not 0 <= logit < outputs:
        raise ValueError(f"expected a logit from 0 to {outputs - 1}, got {logit}")
    order = list(range(outputs))
    order[0], order[logit] = logit, 0
    with torch.no_grad():
        for weights in layers[-1].parameters():
            weights.copy_(weights[order].clone())


def _with_new_head(network: nn.Module) -> nn.Module:
    linears = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linears:
        raise ValueError(f"expected a network with an nn.Linear to replace, got {type(network).__name__} without one")
    name, last = linears[-1]
    head = nn.Linear(last.in_features, 1, device=last.weight.device, dtype=last.weight.dtype)
    if not name:
        return head
    network.set_submodule(name, head)
    return network
