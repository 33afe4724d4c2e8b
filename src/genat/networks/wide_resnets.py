"""Wide pre-activation residual detectors: those of GAT, dual adversarial training and JEM on CIFAR."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from genat.networks.layers import (
    Norm,
    Normalize,
    Residual,
    Standardize,
    Statistic,
    activation,
    head,
    image_shape,
    normalization,
)
from genat.networks.resnets import CIFAR_MEAN

_STEM = 16
_CIFAR_STD = (0.2470, 0.2435, 0.2616)


def preact_resnet32(
    shape: Sequence[int] = (3, 32, 32),
    *,
    widen: int = 10,
    norm: Norm = "affine",
    outputs: int = 10,
    logit: int | None = 0,
) -> nn.Module:
    """Build the CIFAR network of generative adversarial training, which its authors call w28-10.

    Three stages of five pre-activation units (32 layers), leaky ReLU 0.1, shortcuts without weights (average pooling
    and channels of zeros), each image standardised inside the network: 45,901,914 parameters with 10 outputs.
    Initialised by PyTorch's defaults from the global random state, which `build` sets aside; the paper starts every
    detector from one trained classifier, whose batch normalisation it freezes. Strided convolutions pad one pixel on
    every side, where TensorFlow pads right and below only.

    Args:
        shape: `(C, H, W)`.
        widen: factor on the widths 16, 32 and 64.
        norm: "affine" for `Affine`; "batch" for `nn.BatchNorm2d`, to train a classifier for `from_classifier`.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification
        (Yin, Kolouri, Rohde, 2020) https://arxiv.org/abs/1905.11475
        Towards deep learning models resistant to adversarial attacks (Madry et al., 2018)
        https://arxiv.org/abs/1706.06083

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> with torch.device("meta"):
        ...     parameter_count(preact_resnet32())
        45901914
    """
    channels, _, _ = image_shape(shape)
    stages = _stages(channels, units=5, widen=widen, project=False, norm=norm, negative_slope=0.1)
    return _assemble(Standardize(), stages, head(4 * _STEM * widen, outputs, logit))


def wide_resnet(
    shape: Sequence[int],
    *,
    depth: int = 16,
    widen: int = 2,
    norm: Norm = "affine",
    negative_slope: float = 0.0,
    mean: Statistic = 0.5,
    std: Statistic = 0.5,
    outputs: int = 1,
    logit: int | None = 0,
) -> nn.Module:
    """Build a wide residual network, WRN-depth-widen.

    Three stages of (depth - 4) / 6 pre-activation units with 1x1 convolutions as shortcuts where the width changes.
    Initialised by PyTorch's defaults from the global random state, which `build` sets aside.

    Args:
        shape: `(C, H, W)`.
        depth: 10, 16, 22, ...
        widen: factor on the widths 16, 32 and 64.
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
        Wide residual networks (Zagoruyko, Komodakis, 2016) https://arxiv.org/abs/1605.07146

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> detector = wide_resnet((1, 28, 28), depth=10, widen=1)
        >>> detector(torch.zeros(5, 1, 28, 28)).shape, parameter_count(detector)
        (torch.Size([5]), 76977)
    """
    channels, _, _ = image_shape(shape)
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"expected a depth of 10, 16, 22 and so on, got {depth}")
    stages = _stages(
        channels, units=(depth - 4) // 6, widen=widen, project=True, norm=norm, negative_slope=negative_slope
    )
    return _assemble(Normalize(mean, std, channels=channels), stages, head(4 * _STEM * widen, outputs, logit))


def wide_resnet34_10(
    shape: Sequence[int] = (3, 32, 32),
    *,
    norm: Norm = "affine",
    mean: Statistic = CIFAR_MEAN,
    std: Statistic = _CIFAR_STD,
    outputs: int = 10,
    logit: int | None = 0,
) -> nn.Module:
    """Build the WRN-34-10 of dual adversarial training.

    46,160,474 parameters with 10 outputs. Initialised by PyTorch's defaults from the global random state, which
    `build` sets aside; the paper starts from an adversarially trained classifier, whose batch normalisation it
    freezes.

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
        Scalable Energy-Based Models via Adversarial Training: Unifying Discrimination and Generation
        (Yin et al., 2025) https://arxiv.org/abs/2510.13872

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> with torch.device("meta"):
        ...     parameter_count(wide_resnet34_10())
        46160474
    """
    return wide_resnet(shape, depth=34, widen=10, norm=norm, mean=mean, std=std, outputs=outputs, logit=logit)


def plain_wide_resnet28(
    shape: Sequence[int] = (3, 32, 32),
    *,
    widen: int = 10,
    mean: Statistic = 0.5,
    std: Statistic = 0.5,
    outputs: int = 10,
    logit: int | None = 0,
) -> nn.Module:
    """Build the WRN-28 of joint energy-based models, which has no normalisation.

    Three stages of four pre-activation units, leaky ReLU 0.2, convolutions with biases, a unit's second one strided,
    1x1 convolutions of the maps before activation as shortcuts where the shape changes: 36,471,338 parameters with
    widen 10 and 10 outputs. Initialised by PyTorch's defaults from the global random state, which `build` sets aside.

    Args:
        shape: `(C, H, W)`.
        widen: factor on the widths 16, 32 and 64.
        mean: of the pixels, for all channels or each; the paper's by default.
        std: of the pixels, likewise.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        Your classifier is secretly an energy based model and you should treat it like one (Grathwohl et al., 2020)
        https://arxiv.org/abs/1912.03263

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> with torch.device("meta"):
        ...     parameter_count(plain_wide_resnet28())
        36471338
    """
    channels, _, _ = image_shape(shape)
    _check_widen(widen)
    layers: list[nn.Module] = [nn.Conv2d(channels, _STEM, 3, padding=1)]
    inputs = _STEM
    for stage in range(3):
        for unit in range(4):
            width = _STEM * widen * 2**stage
            layers.append(_plain_unit(inputs, width, stride=2 if stage > 0 and unit == 0 else 1))
            inputs = width
    stages = nn.Sequential(*layers, activation(0.2))
    return _assemble(Normalize(mean, std, channels=channels), stages, head(inputs, outputs, logit))


def _assemble(first: nn.Module, stages: nn.Module, last: dict[str, nn.Module]) -> nn.Module:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict({"normalize": first, "stages": stages, "pool": pool} | last))


def _stages(channels: int, *, units: int, widen: int, project: bool, norm: Norm, negative_slope: float) -> nn.Module:
    _check_widen(widen)
    layers: list[nn.Module] = [_convolution(channels, _STEM, 1)]
    inputs = _STEM
    for stage in range(3):
        width = _STEM * widen * 2**stage
        for unit in range(units):
            first = unit == 0
            layers.append(
                _unit(
                    inputs,
                    width,
                    stride=2 if first and stage > 0 else 1,
                    project=project,
                    # where the width changes by a projection, or at the network's first unit, the shortcut too
                    # starts from the activated maps
                    shared=inputs != width if project else first and stage == 0,
                    norm=norm,
                    negative_slope=negative_slope,
                )
            )
            inputs = width
    return nn.Sequential(*layers, normalization(norm, inputs), activation(negative_slope))


def _unit(
    inputs: int, outputs: int, *, stride: int, project: bool, shared: bool, norm: Norm, negative_slope: float
) -> nn.Module:
    before = nn.Sequential(normalization(norm, inputs), activation(negative_slope))
    branch = nn.Sequential(
        _convolution(inputs, outputs, stride),
        normalization(norm, outputs),
        activation(negative_slope),
        _convolution(outputs, outputs, 1),
    )
    shortcut = _shortcut(inputs, outputs, stride, project=project)
    if shared:
        return nn.Sequential(before, Residual(branch, shortcut))
    return Residual(nn.Sequential(before, branch), shortcut)


def _plain_unit(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    branch = nn.Sequential(
        activation(0.2),
        nn.Conv2d(inputs, outputs, 3, padding=1),
        activation(0.2),
        nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1),
    )
    same = inputs == outputs and stride == 1
    return Residual(branch, nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride))


def _shortcut(inputs: int, outputs: int, stride: int, *, project: bool) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if project:
        return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    before = (outputs - inputs) // 2
    # ZeroPad3d pads the last three axes, so that its third pair is the channels'
    padding = nn.ZeroPad3d((0, 0, 0, 0, before, outputs - inputs - before))
    return nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), padding)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _check_widen(widen: int) -> None:
    if widen < 1:
        raise ValueError(f"expected widen >= 1, got {widen}")
