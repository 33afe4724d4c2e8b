"""Residual detectors, after He et al., with a learned affine map where they have batch normalisation."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from genat.networks.layers import (
    Affine,
    Norm,
    Normalize,
    Residual,
    Scaled,
    Statistic,
    activation,
    head,
    image_shape,
    normalization,
)

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
_AT_EBM_STD = (0.2023, 0.1994, 0.2010)  # a mean of per-image deviations, not CIFAR-10's own; kept as in the paper


def resnet(
    shape: Sequence[int],
    *,
    blocks: Sequence[int] = (2, 2, 2),
    width: int = 32,
    bottleneck: bool = False,
    norm: Norm = "affine",
    negative_slope: float = 0.0,
    mean: Statistic = 0.5,
    std: Statistic = 0.5,
    outputs: int = 1,
    logit: int | None = 0,
) -> nn.Module:
    """Build a residual network for images of about 32 pixels.

    A 3x3 convolution without pooling, then stages of residual blocks, each stage but the first halving the sides and
    doubling the width; the mean over the image; a linear output. Initialised by PyTorch's defaults from the global
    random state, which `build` sets aside.

    Args:
        shape: `(C, H, W)`.
        blocks: how many in each stage.
        width: of the first stage.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, the last four times as wide, rather than of two 3x3.
        norm: "affine" for `Affine`; "batch" for `nn.BatchNorm2d`, to train a classifier for `from_classifier`.
        negative_slope: of the leaky ReLU, in [0, 1); 0 is ReLU.
        mean: of the pixels, for all channels or each.
        std: of the pixels, likewise.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        Deep residual learning for image recognition (He, Zhang, Ren, Sun, 2016) https://arxiv.org/abs/1512.03385

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> detector = resnet((1, 28, 28), blocks=(1, 1), width=8)
        >>> detector(torch.zeros(5, 1, 28, 28)).shape, parameter_count(detector)
        (torch.Size([5]), 4969)
    """
    channels, _, _ = image_shape(shape)
    if not blocks or min(*blocks, width) < 1:
        raise ValueError(f"expected at least one stage, of blocks and width >= 1, got {blocks} and {width}")
    expansion = 4 if bottleneck else 1
    stages: list[nn.Module] = []
    inputs = width
    for stage, count in enumerate(blocks):
        inner = width * 2**stage
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            branch = _bottleneck if bottleneck else _basic
            residual = Residual(
                branch(inputs, inner, stride, norm=norm, negative_slope=negative_slope),
                _shortcut(inputs, inner * expansion, stride, norm=norm),
            )
            stages.append(nn.Sequential(residual, activation(negative_slope, inplace=True)))
            inputs = inner * expansion
    layers: dict[str, nn.Module] = {
        "normalize": Normalize(mean, std, channels=channels),
        "stem": nn.Sequential(_convolution(channels, width, 3, 1, norm=norm), activation(negative_slope, inplace=True)),
        "stages": nn.Sequential(*stages),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    }
    return nn.Sequential(OrderedDict(layers | head(inputs, outputs, logit)))


def resnet50(
    shape: Sequence[int] = (3, 32, 32),
    *,
    norm: Norm = "affine",
    mean: Statistic = CIFAR_MEAN,
    std: Statistic = _AT_EBM_STD,
    outputs: int = 10,
    logit: int | None = 0,
) -> nn.Module:
    """Build the CIFAR ResNet-50 of the adversarially trained energy-based models.

    23,520,842 parameters with 10 outputs, of which one is used; trained from scratch with batch normalisation always
    in eval mode, hence `Affine`. Initialised by PyTorch's defaults, as there, from the global random state, which
    `build` sets aside.

    Args:
        shape: `(C, H, W)`.
        norm: "affine" for `Affine`; "batch" for `nn.BatchNorm2d`, to train a classifier for `from_classifier`.
        mean: of the pixels, for all channels or each; the paper's by default.
        std: of the pixels, likewise.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> with torch.device("meta"):
        ...     parameter_count(resnet50())
        23520842
    """
    return resnet(
        shape,
        blocks=(3, 4, 6, 3),
        width=64,
        bottleneck=True,
        norm=norm,
        mean=mean,
        std=std,
        outputs=outputs,
        logit=logit,
    )


def _convolution(inputs: int, outputs: int, size: int, stride: int, *, norm: Norm) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    after = normalization(norm, outputs)
    return Scaled(convolution, after) if isinstance(after, Affine) else nn.Sequential(convolution, after)


def _basic(inputs: int, width: int, stride: int, *, norm: Norm, negative_slope: float) -> nn.Module:
    return nn.Sequential(
        _convolution(inputs, width, 3, stride, norm=norm),
        activation(negative_slope, inplace=True),
        _convolution(width, width, 3, 1, norm=norm),
    )


def _bottleneck(inputs: int, width: int, stride: int, *, norm: Norm, negative_slope: float) -> nn.Module:
    return nn.Sequential(
        _convolution(inputs, width, 1, 1, norm=norm),
        activation(negative_slope, inplace=True),
        _convolution(width, width, 3, stride, norm=norm),
        activation(negative_slope, inplace=True),
        _convolution(width, 4 * width, 1, 1, norm=norm),
    )


def _shortcut(inputs: int, outputs: int, stride: int, *, norm: Norm) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return _convolution(inputs, outputs, 1, stride, norm=norm)
