"""What a GAN of images is made of: DCGAN's generator and numbers, and spectral normalisation of a detector."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.baselines.gan import passes_each
from genat.networks.layers import image_shape
from genat.training.seeding import seeded_layers

_SMALLEST, _DOUBLINGS = 4, 4  # the side that is projected to is 4 to 7; sides end at 64 to 112
_DEVIATION = 0.02  # of DCGAN's initial weights


class _Options(TypedDict):
    iterations: int
    batch_size: int
    latent: int
    r1: float
    rates: tuple[float, float]
    betas: tuple[float, float]
    ema: float


@dataclass(frozen=True, slots=True)
class Dcgan:
    r"""The numbers of a DCGAN with R1.

    Rate, betas and latent are DCGAN's. The weight of R1 is the 10 of Mescheder et al.: theirs is for images in [-1, 1],
    whose gradient is half of that in [0, 1], and beside a loss that is twice `maximin`; 10 / 4 / 2 = 1.25.

    Attributes:
        iterations, batch_size, betas, r1, latent, ema: of the training, as in `baselines.gan.train_gan`.
        width: of `networks.small_convnet` and `image_generator`; None where the generator is a `mirrored_generator`.
        rate: of both networks.

    References:
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks (Radford, Metz,
        Chintala, 2016) https://arxiv.org/abs/1511.06434
        Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018)
        https://arxiv.org/abs/1801.04406

    Example:
        >>> Dcgan(iterations=10, width=12).each
        320
    """

    iterations: int
    width: int | None
    batch_size: int = 64
    rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    r1: float = 1.25
    latent: int = 100
    ema: float = 0.999

    @property
    def each(self) -> int:
        """Passes of an iteration."""
        return passes_each(self.r1) * self.batch_size

    @property
    def options(self) -> _Options:
        """What `baselines.gan.train_gan` is told of them."""
        return {
            "iterations": self.iterations,
            "batch_size": self.batch_size,
            "latent": self.latent,
            "r1": self.r1,
            "rates": (self.rate, self.rate),
            "betas": self.betas,
            "ema": self.ema,
        }


def image_generator(shape: Sequence[int], *, latent: int = 100, width: int = 24, seed: int) -> nn.Module:
    """Build DCGAN's generator for images of the sizes that `networks.small_convnet` is for.

    The noise is projected to 8 w channels of 4 to 7 pixels a side, and 4x4 transposed convolutions of stride 2 double
    the side and halve the channels, until an image is left. Batch normalisation and ReLU between, a sigmoid at the end,
    which is DCGAN's tanh for pixels in [0, 1], and weights of standard deviation 0.02 at the beginning.

    Of one w it has about as many parameters as `small_convnet` has.

    Args:
        shape: `(C, S, S)`, S from 4 to 7 times 2, 4, 8 or 16.
        latent: coordinates of the noise.
        width: w.
        seed: of the initial weights; the global random state is put back.

    Returns:
        A module `(N, latent) -> (N, C, S, S)` with values in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks (Radford, Metz,
        Chintala, 2016) https://arxiv.org/abs/1511.06434

    Example:
        >>> from genat.networks import parameter_count, small_convnet
        >>> for shape in ((1, 28, 28), (3, 32, 32)):
        ...     generator = image_generator(shape, width=16, seed=0)
        ...     tuple(generator(torch.zeros(2, 100)).shape), parameter_count(generator)
        ((2, 1, 28, 28), 759681)
        ((2, 3, 32, 32), 370627)
        >>> with torch.random.fork_rng(devices=[]):
        ...     [parameter_count(small_convnet(shape, width=16)) for shape in ((1, 28, 28), (3, 32, 32))]
        [863553, 360097]
    """
    outputs, height, breadth = image_shape(shape)
    side, doublings = height, 0
    while side >= 2 * _SMALLEST and side % 2 == 0:
        side, doublings = side // 2, doublings + 1
    if height != breadth or not _SMALLEST <= side < 2 * _SMALLEST or not 1 <= doublings <= _DOUBLINGS:
        raise ValueError(f"expected shape (C, S, S) with S from 4 to 7 times 2, 4, 8 or 16, got {tuple(shape)}")
    for name, value in (("latent", latent), ("width", width)):
        if value < 1:
            raise ValueError(f"expected {name} to be at least 1, got {value}")
    channels = 8 * width
    with seeded_layers(seed, torch.device("cpu")):
        layers = [*_projection(latent, (channels, side, side))]
        for _ in range(doublings - 1):
            layers += _doubling(channels, channels // 2)
            channels //= 2
        return _generator([*layers, nn.ConvTranspose2d(channels, outputs, 4, stride=2, padding=1)])


def mirrored_generator(
    shape: Sequence[int],
    *,
    channels: Sequence[int],
    flat: Sequence[int] = (),
    hidden: Sequence[int] = (),
    latent: int = 100,
    seed: int,
) -> nn.Module:
    """Build the mirror of `networks.strided_convnet`: its layers the other way, with about its arithmetic a pass.

    The noise goes through linear layers of the hidden widths, last first, then 3x3 convolutions, then 4x4 transposed
    ones of stride 2. Batch normalisation, activations and initial weights are those of `image_generator`. For channels
    of 64 and 128 and a hidden layer of 1024 this is the generator of InfoGAN for MNIST, with which GANs were compared
    on Fashion-MNIST by Lucic et al.

    Args:
        shape: `(C, H, W)`, sides multiples of 2 to the number of `channels`.
        channels, flat, hidden: those of the detector.
        latent: coordinates of the noise.
        seed: of the initial weights; the global random state is put back.

    Returns:
        A module `(N, latent) -> (N, C, H, W)` with values in [0, 1].

    Raises:
        ValueError: where an argument is out of its range.

    References:
        InfoGAN (Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel, 2016) https://arxiv.org/abs/1606.03657
        Are GANs Created Equal? A Large-Scale Study (Lucic, Kurach, Michalski, Gelly, Bousquet, 2018)
        https://arxiv.org/abs/1711.10337

    Example:
        >>> from genat.networks import build, parameter_count
        >>> options = {"channels": (64, 128), "hidden": (512, 256)}
        >>> generator = mirrored_generator((1, 28, 28), **options, seed=0)
        >>> tuple(generator(torch.zeros(2, 100)).shape), parameter_count(generator)
        ((2, 1, 28, 28), 3501953)
        >>> parameter_count(build("strided_convnet", (1, 28, 28), options, seed=0))
        3475649
    """
    outputs, height, breadth = image_shape(shape)
    halved = 2 ** len(channels)
    if not channels or height % halved or breadth % halved:
        raise ValueError(f"expected channels, and sides that are multiples of 2 to their number, got {tuple(shape)}")
    if min([latent, *channels, *flat, *hidden]) < 1:
        raise ValueError(f"expected latent and widths >= 1, got {latent}, {channels}, {flat} and {hidden}")
    with seeded_layers(seed, torch.device("cpu")):
        layers: list[nn.Module] = []
        for width in reversed(hidden):
            layers += [nn.Linear(latent, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            latent = width
        kept = [channels[-1], *flat]
        layers += _projection(latent, (kept[-1], height // halved, breadth // halved))
        for inputs, made in zip(kept[:0:-1], kept[-2::-1], strict=True):
            layers += [nn.Conv2d(inputs, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU()]
        for inputs, made in zip(channels[:0:-1], channels[-2::-1], strict=True):
            layers += _doubling(inputs, made)
        return _generator([*layers, nn.ConvTranspose2d(channels[0], outputs, 4, stride=2, padding=1)])


def _projection(inputs: int, shape: tuple[int, int, int]) -> list[nn.Module]:
    channels, height, breadth = shape
    linear = nn.Linear(inputs, channels * height * breadth, bias=False)
    return [linear, nn.Unflatten(1, shape), nn.BatchNorm2d(channels), nn.ReLU()]


def _doubling(inputs: int, outputs: int) -> list[nn.Module]:
    layer = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def _generator(layers: Sequence[nn.Module]) -> nn.Module:
    """Return layers with DCGAN's initial weights, and the sigmoid at the end."""
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=_DEVIATION)
    return nn.Sequential(*layers, nn.Sigmoid())


def spectral(detector: nn.Module) -> nn.Module:
    r"""Return a copy of a detector whose convolutions and linear maps are divided by their largest singular value.

    .. math:: \bar W = W / \sigma(W), \qquad \sigma(W) \approx u^\top W v, \quad
        v = W^\top u / \|W^\top u\|, \quad u = W v / \|W v\|

    with the kernels as matrices of as many rows as there are outputs. In train mode each forward takes one such step of
    the power iteration and keeps u, which begins exact; in eval mode nothing is kept. Members of `networks.Together`
    have each their own.

    Args:
        detector: `(N, *) -> (N,)`, of layers that are `nn.Conv2d`, `nn.Linear` or anything else, which stays as it is.

    Raises:
        ValueError: where there is no convolution or linear map inside.

    References:
        Spectral Normalization for Generative Adversarial Networks (Miyato, Kataoka, Koyama, Yoshida, 2018)
        https://arxiv.org/abs/1802.05957

    Example:
        >>> from genat.networks import build
        >>> detector = spectral(build("mlp", (2,), {"hidden": (32, 32)}, seed=0))
        >>> points = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> first, second = detector(points).tolist()
        >>> abs(first - second) <= 5
        True
    """
    network = copy.deepcopy(detector)
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not all(name for name, _ in layers) or not layers:
        raise ValueError(f"expected a network of convolutions or linear maps, got {type(detector).__name__}")
    for name, layer in layers:
        network.set_submodule(name, _Spectral(layer))
    return network


class _Spectral(nn.Module):
    left: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        matrix = layer.weight.detach().flatten(1)
        self.register_buffer("left", torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -1].clone())

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.layer.weight
        matrix = weight.flatten(1)
        with torch.no_grad():
            right = F.normalize(matrix.T @ self.left, dim=0)
            left = F.normalize(matrix @ right, dim=0)
            if self.training:
                self.left.copy_(left)
        norm = (left @ matrix @ right).clamp_min(torch.finfo(weight.dtype).tiny)  # a member at rest has weights of 0
        layer, bias = self.layer, self.layer.bias
        product = F.linear(x, weight) if isinstance(layer, nn.Linear) else layer._conv_forward(x, weight, None)
        product = product / norm  # rather than the weights, of which there are more
        if bias is None:
            return product
        return product + bias.to(product.dtype).view(-1, *[1] * (product.ndim - 2))
