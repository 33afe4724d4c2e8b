"""Plain convolutional detectors: the papers' for MNIST, and two small ones that are fast to climb."""

from collections.abc import Sequence

from torch import nn

from genat.networks.layers import Normalize, Statistic, activation, head, hidden_layers, image_shape


def convnet(
    shape: Sequence[int] = (1, 28, 28),
    *,
    channels: Sequence[int] = (32, 64),
    width: int = 1024,
    outputs: int = 1,
    logit: int | None = 0,
) -> nn.Module:
    """Build the papers' MNIST network.

    For each of `channels` a 5x5 convolution that keeps the size, ReLU and 2x2 maximum; then a hidden layer and the
    output: 3,265,409 parameters at 28x28, and 3,274,634 with 10 outputs. There is no normalisation, as in the papers.
    Initialised by PyTorch's defaults from the global random state, which `build` sets aside.

    Args:
        shape: `(C, H, W)`, sides of at least 2 to the number of convolutions; odd sides lose a row in the maximum.
        channels: of the convolutions.
        width: of the hidden layer.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification
        (Yin, Kolouri, Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> from genat.networks import parameter_count
        >>> parameter_count(convnet()), parameter_count(convnet(outputs=10))
        (3265409, 3274634)
    """
    inputs, height, breadth = image_shape(shape, least=2 ** len(channels))
    if min(*channels, width) < 1:
        raise ValueError(f"expected channels and width >= 1, got {channels} and {width}")
    layers: list[nn.Module] = []
    for count in channels:
        layers += [nn.Conv2d(inputs, count, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs, height, breadth = count, height // 2, breadth // 2
    hidden = [nn.Flatten(), nn.Linear(inputs * height * breadth, width), nn.ReLU()]
    return nn.Sequential(*layers, *hidden, *head(width, outputs, logit).values())


def small_convnet(
    shape: Sequence[int],
    *,
    width: int = 24,
    mean: Statistic = 0.5,
    std: Statistic = 0.5,
    outputs: int = 1,
    logit: int | None = 0,
) -> nn.Module:
    """Build a small network for images of 8 to 32 pixels, made to be climbed on a processor without accelerator.

    Leaky ReLUs (0.2) and averages rather than maxima leave no flat or torn places where an unconstrained ascent would
    stop, and there are no normalisation layers. 3x3 convolutions of w, 2w and, after halving, 4w channels; sides of 8
    and more are halved again, each time with another convolution of 4w, until at most 7 are left; then a hidden layer
    of 256. Initialised by PyTorch's defaults from the global random state, which `build` sets aside.

    Args:
        shape: `(C, H, W)`, sides >= 4.
        width: w.
        mean: of the pixels, for all channels or each.
        std: of the pixels, likewise.
        outputs: K.
        logit: which of the K is the detector's; None keeps all, a classifier `(N, C, H, W) -> (N, K)`.

    Returns:
        A detector `(N, C, H, W) -> (N,)` of pixels in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> parameter_count(small_convnet((1, 8, 8)))
        445953
        >>> small_convnet((3, 32, 20), width=2)(torch.zeros(5, 3, 32, 20)).shape
        torch.Size([5])
    """
    channels, height, breadth = image_shape(shape, least=4)
    if width < 1:
        raise ValueError(f"expected width >= 1, got {width}")
    layers = [Normalize(mean, std, channels=channels), *_convolution(channels, width), *_convolution(width, 2 * width)]
    layers += [nn.AvgPool2d(2), *_convolution(2 * width, 4 * width)]
    height, breadth = height // 2, breadth // 2
    while max(height, breadth) >= 8:
        window = (2 if height >= 8 else 1, 2 if breadth >= 8 else 1)
        layers += [nn.AvgPool2d(window), *_convolution(4 * width, 4 * width)]
        height, breadth = height // window[0], breadth // window[1]
    hidden = [nn.Flatten(), nn.Linear(4 * width * height * breadth, 256), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, *hidden, *head(256, outputs, logit).values())


def strided_convnet(
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (32, 64),
    flat: Sequence[int] = (),
    hidden: Sequence[int] = (512, 256),
    negative_slope: float = 0.2,
    mean: Statistic = 0.5,
    std: Statistic = 0.5,
    outputs: int = 1,
    logit: int | None = 0,
) -> nn.Module:
    """Build a network that halves the image from its first convolution on, as DCGAN's discriminator does.

    Most of its arithmetic is on a quarter of the pixels and less, so that it is climbed in less than half of
    `small_convnet`'s time. 4x4 convolutions of stride 2, then 3x3 ones that keep the size, then linear layers, with
    leaky ReLUs between and no normalisation layers. Windows of 4 at steps of 2 cover every pixel equally often, so that
    gradients have no grid. Initialised by PyTorch's defaults from the global random state, which `build` sets aside.

    Args:
        shape: `(C, H, W)`, sides of at least 2 to the number of `channels`.
        channels: of the convolutions that halve, at least one.
        flat: channels of the convolutions that keep the size; none by default.
        hidden: widths of the linear layers before the output; none is allowed.
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
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks
        (Radford, Metz, Chintala, 2016) https://arxiv.org/abs/1511.06434

    Example:
        >>> import torch
        >>> from genat.networks import parameter_count
        >>> parameter_count(strided_convnet((1, 28, 28)))
        1771105
        >>> strided_convnet((3, 32, 20), channels=(4,), flat=(8, 8), hidden=())(torch.zeros(5, 3, 32, 20)).shape
        torch.Size([5])
    """
    inputs, height, breadth = image_shape(shape, least=2 ** len(channels))
    if not channels or min([*channels, *flat, *hidden]) < 1:
        raise ValueError(f"expected at least one of channels, and widths >= 1, got {channels}, {flat} and {hidden}")
    layers: list[nn.Module] = [Normalize(mean, std, channels=inputs)]
    for count in channels:
        layers += [nn.Conv2d(inputs, count, 4, stride=2, padding=1), activation(negative_slope, inplace=True)]
        inputs, height, breadth = count, height // 2, breadth // 2
    for count in flat:
        layers += _convolution(inputs, count, negative_slope=negative_slope)
        inputs = count
    widths = [inputs * height * breadth, *hidden]
    layers += [nn.Flatten(), *hidden_layers(widths, negative_slope)]
    return nn.Sequential(*layers, *head(widths[-1], outputs, logit).values())


def _convolution(inputs: int, outputs: int, *, negative_slope: float = 0.2) -> list[nn.Module]:
    """Return a 3x3 convolution that keeps the size, and its leaky ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), activation(negative_slope, inplace=True)]
