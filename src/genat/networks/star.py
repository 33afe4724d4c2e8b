"""The residual detector for images of 256 pixels: the discriminator of StarGAN v2, read as an energy."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from genat.networks.layers import Normalize, Residual, Statistic, head, image_shape

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LAST = 4  # pixels a side where the last convolution takes all


def star(
    shape: Sequence[int] = (3, 256, 256),
    *,
    width: int = 64,
    widest: int = 512,
    mean: Statistic = IMAGENET_MEAN,
    std: Statistic = IMAGENET_STD,
    outputs: int = 1000,
    logit: int | None = 0,
) -> nn.Module:
    r"""Build the network of the 256-pixel experiments with adversarially trained energy-based models.

    It is the discriminator of StarGAN v2: a 3x3 convolution, residual blocks without normalisation that each halve
    the sides by averaging and double the width up to `widest` (six from 256 to 4 pixels), a 4x4 convolution and a
    linear output; leaky ReLU 0.2. At 256 pixels 21,364,264 parameters with 1000 outputs, of which one is used, and
    20,851,777 with one output. Every sum of branch and shortcut is divided by :math:`\sqrt 2`.

    Initialised from the global random state, which `build` sets aside, as StarGAN v2 is: weights by He's normal law,
    :math:`N(0, 2 / n)` for n inputs, biases 0. The energy-based models begin from an ImageNet classifier of this
    network instead, hence the 1000 outputs; where you have its weights, `networks.init` loads them.

    Args:
        shape: `(C, H, W)`, square, the side 8, 16, 32 and so on.
        width: of the first convolution.
        widest: what no block's width passes.
        mean: of the pixels, for all channels or each; ImageNet's by default, as in the paper.
        std: of the pixels, likewise.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        StarGAN v2: Diverse Image Synthesis for Multiple Domains (Choi, Uh, Yoo, Ha, 2020)
        https://arxiv.org/abs/1912.01865
        Learning Energy-Based Models With Adversarial Training (Yin, Li, Rohde, 2022) https://arxiv.org/abs/2012.06568
        Delving Deep into Rectifiers (He, Zhang, Ren, Sun, 2015) https://arxiv.org/abs/1502.01852

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> with torch.device("meta"):
        ...     parameter_count(star()), parameter_count(star(outputs=1))
        (21364264, 20851777)
    """
    channels, height, breadth = image_shape(shape)
    halvings = round(math.log2(height / _LAST))
    if height != breadth or halvings < 1 or height != _LAST * 2**halvings:
        raise ValueError(f"expected a square image (C, H, W) with sides 8, 16, 32 and so on, got {shape}")
    if not 1 <= width <= widest:
        raise ValueError(f"expected 1 <= width <= widest, got {width} and {widest}")
    widths = [min(width * 2**block, widest) for block in range(halvings + 1)]
    layers: dict[str, nn.Module] = {
        "normalize": Normalize(mean, std, channels=channels),
        "stem": _convolution(channels, width),
        "blocks": nn.Sequential(*(_block(*pair) for pair in pairwise(widths))),
        "last": nn.Sequential(
            nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], widths[-1], _LAST), nn.LeakyReLU(0.2), nn.Flatten()
        ),
    }
    network = nn.Sequential(OrderedDict(layers | head(widths[-1], outputs, logit)))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class EvenResidual(Residual):
    r"""Add a branch to a shortcut and divide by :math:`\sqrt 2`: two uncorrelated maps of one variance keep it.

    Args:
        branch: the part that learns.
        shortcut: the way round it.

    Example:
        >>> import torch
        >>> EvenResidual(nn.Identity(), nn.Identity())(torch.ones(1))
        tensor([1.4142])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled sum, of the branch's shape."""
        return super().forward(x) / math.sqrt(2)


def _block(inputs: int, outputs: int) -> nn.Module:
    branch = nn.Sequential(
        nn.LeakyReLU(0.2),
        _convolution(inputs, inputs),
        nn.AvgPool2d(2),
        nn.LeakyReLU(0.2),
        _convolution(inputs, outputs),
    )
    # the mean commutes with a 1x1 convolution: taken first it leaves a quarter of the work
    shortcut: list[nn.Module] = [nn.AvgPool2d(2)]
    if inputs != outputs:
        shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
    return EvenResidual(branch, nn.Sequential(*shortcut))


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
