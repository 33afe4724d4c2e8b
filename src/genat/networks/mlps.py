"""Fully connected detectors, for points and small images."""

from collections.abc import Sequence
from math import prod

from torch import nn

from genat.networks.layers import Normalize, head, hidden_layers, sample_shape
from genat.networks.perceptron import Perceptron


def mlp(
    shape: int | Sequence[int],
    *,
    hidden: Sequence[int] = (500,) * 5,
    negative_slope: float = 0.0,
    outputs: int = 1,
    logit: int | None = 0,
    mean: float = 0.0,
    std: float = 1.0,
) -> nn.Module:
    """Build the multilayer perceptron of the papers' toy problems.

    The default for points of the plane is their 2-[500]x5-1 with ReLU, 1,004,001 parameters; the 1-D problem has
    `hidden=(500,) * 3`. Any shape is flattened; the papers do not normalise. Initialised by PyTorch's defaults from the
    global random state, which `build` sets aside.

    Args:
        shape: of one sample; a number d is `(d,)`.
        hidden: widths of the hidden layers; none makes a linear detector.
        negative_slope: of the leaky ReLU, in [0, 1); 0 is ReLU.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, *) -> (N, K)`.
        mean, std: the first layer sees (x - mean) / std. A small std lets the network learn fine detail early.

    Returns:
        A detector `(N, *) -> (N,)`.

    Raises:
        ValueError: where an argument is out of its range.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification
        (Yin, Kolouri, Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> detector = mlp(2)
        >>> detector(torch.zeros(3, 2)).shape, parameter_count(detector)
        (torch.Size([3]), 1004001)
    """
    sides = sample_shape(shape)
    if any(width < 1 for width in hidden):
        raise ValueError(f"expected hidden widths >= 1, got {hidden}")
    widths = [prod(sides), *hidden]
    layers: list[nn.Module] = [nn.Flatten()] if (mean, std) == (0, 1) else [nn.Flatten(), Normalize(mean, std)]
    layers += hidden_layers(widths, negative_slope)
    return Perceptron(*layers, *head(widths[-1], outputs, logit).values())
