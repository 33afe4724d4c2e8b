"""The small parts the networks are put together from."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Statistic: TypeAlias = float | Sequence[float]
"""One number for all channels, or one for each."""

Norm: TypeAlias = Literal["affine", "batch"]


class Normalize(nn.Module):
    r"""Shift and scale pixels, channel by channel.

    .. math:: y_c = (x_c - \mu_c) / \sigma_c

    The statistics are buffers, so that they move with the network and are saved with it: weights carry the range they
    were trained for.

    Args:
        mean: :math:`\mu` in units of the input (pixels in [0, 1]); a number holds for every channel and any shape.
        std: :math:`\sigma > 0`, likewise.
        channels: how many channels the input has, where that is known; None leaves it to the first call.

    Raises:
        ValueError: where a statistic is not finite, std is not positive, or their number is not that of the channels.

    Example:
        >>> Normalize(0.5, (0.5, 0.25))(torch.ones(1, 2, 1, 1)).flatten()
        tensor([1., 2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Statistic, std: Statistic, *, channels: int | None = None) -> None:
        super().__init__()
        lengths = {len(values) for values in (mean, std) if isinstance(values, Sequence)}
        if len(lengths) > 1 or (channels is not None and lengths - {channels}):
            wanted = "as many means as stds" if channels is None else f"mean and std of {channels} channels"
            raise ValueError(f"expected {wanted}, got {mean} and {std}")
        if min(_numbers("std", std)) <= 0:
            raise ValueError(f"expected std > 0, got {std}")
        self._channels = next(iter(lengths), None)
        self.register_buffer("mean", _per_channel(mean, _numbers("mean", mean)))
        self.register_buffer("std", _per_channel(std, _numbers("std", std)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised input, `(N, C, *)`.

        Raises:
            ValueError: where the input is not of that many channels; broadcasting would invent some.
        """
        if self._channels is not None and (x.ndim != 4 or x.shape[1] != self._channels):
            raise ValueError(f"expected images (N, {self._channels}, H, W), got {tuple(x.shape)}")
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show the statistics."""
        return f"mean={_shown(self.mean)}, std={_shown(self.std)}"


def _numbers(name: str, values: Statistic) -> list[float]:
    numbers = [float(value) for value in values] if isinstance(values, Sequence) else [float(values)]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"expected a finite {name}, got {values}")
    return numbers


def _per_channel(values: Statistic, numbers: list[float]) -> Tensor:
    return torch.tensor(numbers).view(-1, 1, 1) if isinstance(values, Sequence) else torch.tensor(numbers[0])


def _shown(values: Tensor) -> str:
    return "?" if values.is_meta else ", ".join(f"{value:.4g}" for value in values.flatten().tolist())


class Standardize(nn.Module):
    r"""Standardise every image by its own mean and deviation, as a part of the network that gradients pass through.

    .. math:: y = \frac{x - \bar x}{\max(s, \; 1 / (255 \sqrt d))}

    with :math:`\bar x` and :math:`s` (divided by d) over all d pixels of an image. The floor is one 8-bit grey level
    over :math:`\sqrt d`, as in TensorFlow's `per_image_standardization`; it keeps a constant image, and the gradient
    there, finite.

    Example:
        >>> Standardize()(torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.5]]]])).flatten()
        tensor([-1.,  1.,  0.,  0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardised images, `(N, C, H, W)`."""
        axes = tuple(range(1, x.ndim))
        variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
        floor = 1 / (255**2 * math.prod(x.shape[1:]))
        return (x - mean) / variance.clamp(min=floor).sqrt()


class Affine(nn.Module):
    r"""Scale and shift each channel by two learned numbers.

    .. math:: y_c = w_c x_c + b_c

    This is what batch normalisation amounts to where it is always in eval mode and nothing ever sets its running mean
    0 and variance 1: the energy-based models of Yin, Li and Rohde train their CIFAR networks so from scratch, because
    batch statistics would tie a sample's logit to the rest of its batch. (PyTorch's :math:`1/\sqrt{1 + 10^{-5}}` is
    left to w.) Initially the identity.

    Args:
        channels: C.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568

    Example:
        >>> layer = Affine(2)
        >>> with torch.no_grad():
        ...     _ = layer.weight.copy_(torch.tensor([2.0, 3.0]))
        >>> layer(torch.ones(1, 2, 1, 1)).flatten().tolist()
        [2.0, 3.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted maps, `(N, C, H, W)`."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)  # else mixed precision would end at this layer
        return torch.addcmul(bias[:, None, None], x, weight[:, None, None])

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"{len(self.weight)}"


class Scaled(nn.Sequential):
    r"""A convolution and the affine map of its channels, in one.

    .. math:: y = (w \odot W) * x + b

    which is :math:`w \odot (W * x) + b` to rounding. Weights are scaled in the place of maps, which are many times as
    many: a pass forward and back through a `resnet` of 32 pixels takes nine tenths of the time.

    Args:
        convolution: without a bias.
        affine: of as many channels.

    Raises:
        ValueError: where the convolution has a bias.

    Example:
        >>> layer = Scaled(nn.Conv2d(1, 2, 1, bias=False), Affine(2))
        >>> with torch.no_grad():
        ...     for parameter, values in zip(layer.parameters(), ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0])):
        ...         _ = parameter.view(2).copy_(torch.tensor(values))
        >>> layer(torch.ones(1, 1, 1, 1)).flatten().tolist()
        [8.0, 14.0]
    """

    def __init__(self, convolution: nn.Conv2d, affine: Affine) -> None:
        if convolution.bias is not None:
            raise ValueError("expected a convolution without a bias: the affine map has one")
        super().__init__(convolution, affine)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted maps, `(N, C, H, W)`."""
        convolution, affine = self
        assert isinstance(convolution, nn.Conv2d), "as it was made"
        assert isinstance(affine, Affine), "as it was made"
        weight = convolution.weight * affine.weight[:, None, None, None]
        maps: Tensor = convolution._conv_forward(x, weight, affine.bias)
        return maps


class Residual(nn.Module):
    """Add a branch to a shortcut.

    Args:
        branch: the part that learns.
        shortcut: the way round it; `nn.Identity()` where the shapes agree.

    Example:
        >>> Residual(nn.ReLU(), nn.Identity())(torch.tensor([-1.0, 2.0]))
        tensor([-1.,  4.])
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, of the branch's shape."""
        result: Tensor = self.branch(x) + self.shortcut(x)
        return result


class Select(nn.Module):
    """Take one of K outputs as the logit: `(N, K) -> (N,)`.

    Args:
        logit: which, counted from 0.

    Raises:
        ValueError: where `logit` is negative.

    Example:
        >>> Select(2)(torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]))
        tensor([2., 5.])
    """

    def __init__(self, logit: int = 0) -> None:
        super().__init__()
        if logit < 0:
            raise ValueError(f"expected a logit >= 0, got {logit}")
        self.logit = logit

    def forward(self, outputs: Tensor) -> Tensor:
        """Return column `logit`, `(N,)`.

        Raises:
            ValueError: where the input is not `(N, K)` with K > `logit`.
        """
        if outputs.ndim != 2 or outputs.shape[1] <= self.logit:
            raise ValueError(
                f"expected outputs (N, K) with K > {self.logit} for that logit, got {tuple(outputs.shape)}"
            )
        return outputs[:, self.logit]

    def extra_repr(self) -> str:
        """Show which logit is taken."""
        return f"logit={self.logit}"


def activation(negative_slope: float, *, inplace: bool = False) -> nn.Module:
    """Return a ReLU, leaky where the slope is not 0.

    Args:
        negative_slope: in [0, 1).
        inplace: whether it may overwrite what comes in, as it may what a convolution has just made: memory for half as
            many maps.

    Raises:
        ValueError: where the slope is outside [0, 1).

    Example:
        >>> activation(0.0), activation(0.2)
        (ReLU(), LeakyReLU(negative_slope=0.2))
    """
    if not 0 <= negative_slope < 1:
        raise ValueError(f"expected a negative_slope in [0, 1), got {negative_slope}")
    return nn.LeakyReLU(negative_slope, inplace) if negative_slope else nn.ReLU(inplace)


def hidden_layers(widths: Sequence[int], negative_slope: float) -> list[nn.Module]:
    """Return linear layers from each width to the next, with an activation after every one.

    Args:
        widths: the inputs' first; one alone makes no layer.
        negative_slope: of the activation, as in `activation`.

    Example:
        >>> [type(layer).__name__ for layer in hidden_layers((4, 8, 2), 0.0)]
        ['Linear', 'ReLU', 'Linear', 'ReLU']
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation(negative_slope)]
    return layers


def normalization(norm: Norm, channels: int) -> nn.Module:
    """Return the layer that stands where the papers have batch normalisation.

    Args:
        norm: "affine" for `Affine`; "batch" for `nn.BatchNorm2d`, which follows its batches in train mode, to train
            a classifier that `from_classifier` then freezes.
        channels: how many.

    Raises:
        ValueError: where `norm` is neither.

    Example:
        >>> normalization("affine", 16)
        Affine(16)
    """
    if norm not in ("affine", "batch"):
        raise ValueError(f"expected norm affine or batch, got {norm}")
    return Affine(channels) if norm == "affine" else nn.BatchNorm2d(channels)


def head(features: int, outputs: int, logit: int | None) -> dict[str, nn.Module]:
    """Return the last layers of a network, by name: the linear map and the choice of a logit.

    Args:
        features: how many numbers come in.
        outputs: how many go out, K.
        logit: the one that is the detector's, in [0, K); None keeps all K, a classifier.

    Raises:
        ValueError: where `outputs` < 1 or `logit` is outside [0, K).

    Example:
        >>> head(8, 1, 0)
        {'head': Linear(in_features=8, out_features=1, bias=True), 'select': Select(logit=0)}
    """
    if outputs < 1:
        raise ValueError(f"expected outputs >= 1, got {outputs}")
    linear: dict[str, nn.Module] = {"head": nn.Linear(features, outputs)}
    if logit is None:
        return linear
    if not 0 <= logit < outputs:
        raise ValueError(f"expected a logit in [0, {outputs}), got {logit}")
    return linear | {"select": Select(logit)}


def sample_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one sample as a tuple; a number d is `(d,)`.

    Raises:
        ValueError: where the shape is empty or a side is not a whole number >= 1.

    Example:
        >>> sample_shape(2), sample_shape([1, 8, 8])
        ((2,), (1, 8, 8))
    """
    sides = (shape,) if isinstance(shape, int) else tuple(shape)
    if not sides or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"expected a shape of whole numbers >= 1, got {shape}")
    return sides


def image_shape(shape: Sequence[int], *, least: int = 1) -> tuple[int, int, int]:
    """Return the shape of an image, `(C, H, W)`.

    Args:
        shape: C, H and W.
        least: the smallest H and W that will do, in pixels.

    Raises:
        ValueError: where the shape is not three whole numbers >= 1, or a side is smaller than that.

    Example:
        >>> image_shape([1, 8, 8])
        (1, 8, 8)
    """
    sides = sample_shape(shape)
    if len(sides) != 3 or min(sides[1:]) < least:
        raise ValueError(f"expected an image (C, H, W) with sides >= {least}, got {shape}")
    return sides[0], sides[1], sides[2]


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the parameters hold, shared ones once, frozen ones too, buffers not.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in module.parameters())
