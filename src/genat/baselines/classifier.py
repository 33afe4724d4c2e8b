"""A plain classifier, its energy score for out-of-distribution detection, and its features for fidelity."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.ascent import frozen
from genat.networks import Joint

_LARGE = 16  # sides from here up are halved twice


class Classifier(nn.Module):
    """A small convolutional classifier, `(N, C, H, W) -> (N, K)`.

    3x3 convolutions of 32, 64 and 64 channels, with a 2x2 maximum before the last, or, for sides of at least 16, before
    the second and after the last; dropout of 0.3, a hidden layer of 64 and the output, with ReLU between. Initialised
    by PyTorch's defaults from the global random state, which `train_classifier` sets aside.

    Args:
        shape: `(C, H, W)` of an image, sides >= 2.
        classes: K, at least 2.

    Raises:
        ValueError: where an argument is out of range.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     classifier = Classifier((1, 8, 8), classes=10)
        >>> classifier(torch.zeros(3, 1, 8, 8)).shape, classifier.features(torch.zeros(3, 1, 8, 8)).shape
        (torch.Size([3, 10]), torch.Size([3, 64]))
    """

    def __init__(self, shape: Sequence[int], *, classes: int) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1 or min(shape[1:]) < 2:
            raise ValueError(f"expected shape (C, H, W) with sides >= 2, got {tuple(shape)}")
        if classes < 2:
            raise ValueError(f"expected classes to be at least 2, got {classes}")
        channels, height, width = shape
        halvings = 2 if min(height, width) >= _LARGE else 1
        first, second, third = (
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            for inputs, outputs in ((channels, 32), (32, 64), (64, 64))
        )
        halve = nn.MaxPool2d(2)
        large = [*first, halve, *second, *third, halve]  # the costly convolutions see a quarter of the pixels
        self.body = nn.Sequential(
            *(large if halvings == 2 else [*first, *second, halve, *third]),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * (height >> halvings) * (width >> halvings), 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the output layer sees, `(N, 64)`."""
        hidden: Tensor = self.body(images)
        return hidden

    def forward(self, images: Tensor) -> Tensor:
        """Return the classes' logits, `(N, K)`."""
        outputs: Tensor = self.head(self.features(images))
        return outputs


def train_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int = 30,
    rate: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    half: bool = False,
) -> Classifier:
    """Train a classifier by Adam on cross-entropy, without augmentation.

    One seed gives one classifier on one machine. The global random state is untouched.

    Args:
        images: `(N, C, H, W)` floating point in [0, 1].
        labels: `(N,)` int64 from 0; the largest is K - 1.
        epochs: passes over the images, at least 1.
        rate: Adam's learning rate, above 0.
        batch_size: at least 1.
        seed: of weights, order and dropout, at least 0.
        half: compute in bfloat16 where that is safe, as in mixed precision.

    Returns:
        The classifier in eval mode, on the images' device.

    Raises:
        ValueError: where an argument is not as above.

    Example:
        >>> images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]).repeat(32, 1, 1, 1)
        >>> labels = torch.tensor([0, 1]).repeat(32)
        >>> accuracy(train_classifier(images, labels, epochs=5), images, labels)
        1.0
    """
    _check(images, labels)
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"expected {name} to be at least {least}, got {value}")
    if not rate > 0:
        raise ValueError(f"expected rate to be positive, got {rate}")
    devices = [images.device] if images.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(mode=False), torch.enable_grad():
        # generator by generator: torch.manual_seed would reseed devices that are not forked here
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device.index].manual_seed(seed)
        classifier = Classifier(images.shape[1:], classes=int(labels.max()) + 1).to(images)
        classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        optimizer = torch.optim.Adam(classifier.parameters(), lr=rate)
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(images)).to(images.device), batch_size):
                optimizer.zero_grad()
                with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
                    loss = F.cross_entropy(classifier(images[chosen]), labels[chosen])
                torch.autograd.backward(loss)
                optimizer.step()
    classifier.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # safetensors saves no other
    return classifier.eval()


def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is their label's.

    Args:
        classifier: `(N, *) -> (N, K)`.
        images: `(N, C, H, W)`, N >= 1.
        labels: `(N,)` int64.

    Raises:
        ValueError: where images and labels are not as above.

    Example:
        >>> accuracy(nn.Flatten(), torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    _check(images, labels)
    with frozen(classifier), torch.no_grad():
        found = torch.cat([classifier(batch).argmax(dim=1) for batch in torch.split(images, 256)])
    return (found == labels).double().mean().item()


def energy_detector(classifier: nn.Module) -> Joint:
    r"""Return a classifier's negated energy as a detector, :math:`f(x) = \log \sum_k \exp h_k(x)`.

    Args:
        classifier: `(N, *) -> (N, K)` logits; it is shared, not copied.

    Returns:
        A detector `(N, *) -> (N,)`, high in distribution.

    References:
        Energy-based Out-of-distribution Detection (Liu, Wang, Owens, Li, 2020) https://arxiv.org/abs/2010.03759

    Example:
        >>> energy_detector(nn.Flatten())(torch.tensor([[[0.0, 0.0]], [[9.0, 0.0]]]))
        tensor([0.6931, 9.0001])
    """
    return Joint(classifier)


def _check(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        shape = tuple(images.shape)
        raise ValueError(f"expected images (N, C, H, W), N >= 1, floating point, got {shape} {images.dtype}")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        shape = tuple(labels.shape)
        raise ValueError(f"expected labels of shape {(len(images),)}, torch.int64, got {shape} {labels.dtype}")
    if labels.min() < 0:
        raise ValueError(f"expected labels from 0, got {int(labels.min())}")
