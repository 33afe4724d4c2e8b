"""How close generated images come to the target, in the eyes of a classifier that the generator never met."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from genat.ascent import frozen

_BATCH = 256


class Recogniser(Protocol):
    """A classifier that shows its features too."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the classes' logits, `(N, K)`."""
        ...

    def features(self, images: Tensor, /) -> Tensor:
        """Return what the last layer sees, `(N, d)`."""
        ...


@dataclass(frozen=True, slots=True)
class ClassReport:
    """What a classifier recognises in N images.

    Attributes:
        n: how many images.
        confident: share of the images with a largest class probability of at least `level`.
        shares: of each of K classes among all images, by the largest logit; they sum to 1.
        smallest: the smallest of `shares`; 0 is a class that is never made.
        level: what counts as confident.
    """

    n: int
    confident: float
    shares: tuple[float, ...]
    smallest: float
    level: float


def kernel_distance(features_a: Tensor, features_b: Tensor) -> float:
    r"""Return the kernel distance of two sets of features, the unbiased squared MMD under a cubic kernel.

    .. math::
        \frac{\sum_{i \ne j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(b_i, b_j)}{m (m - 1)}
        - \frac{2}{n m} \sum_{i, j} k(a_i, b_j), \qquad k(x, y) = \Bigl(\frac{x^\top y}{d} + 1\Bigr)^3

    This is the Kernel Inception Distance only where the features are Inception's; with other features it is comparable
    under the same features alone. Every sample is used, in float64: there are no random subsets, and the sets may
    differ in size.

    Args:
        features_a: `(n, d)`, n >= 2.
        features_b: `(m, d)`, m >= 2.

    Returns:
        Around 0, on either side of it, for two sets from one distribution, since it is unbiased.

    Raises:
        ValueError: where features are not of these shapes or not finite.

    References:
        Demystifying MMD GANs (Bińkowski, Sutherland, Arbel, Gretton, 2018) https://arxiv.org/abs/1801.01401

    Example:
        >>> a, b = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.0], [0.0]])
        >>> kernel_distance(a, b)
        7.0
    """
    for name, features in (("features_a", features_a), ("features_b", features_b)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"expected {name} of shape (n, d) with n >= 2, got {tuple(features.shape)}")
        if not torch.isfinite(features).all():
            raise ValueError(f"expected {name} to be finite, got values that are not")
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(f"expected features of one width, got {features_a.shape[1]} and {features_b.shape[1]}")
    a, b = features_a.detach().double(), features_b.detach().double()
    return _mean_apart(a) + _mean_apart(b) - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def recognised(classifier: Callable[[Tensor], Tensor], images: Tensor, *, level: float = 0.9) -> ClassReport:
    """Count how many images a classifier recognises with confidence, and how evenly they cover its classes.

    Args:
        classifier: `(N, *) -> (N, K)` logits; one that had no part in making the images.
        images: `(N, *)`, N >= 1.
        level: the class probability from which an image counts as recognised, in (0, 1].

    Raises:
        ValueError: where there are no images, level is out of range or the classifier's output is not `(N, K)`.

    Example:
        >>> recognised(lambda x: 9 * x, torch.tensor([[1.0, 0.0], [0.6, 0.5], [0.0, 1.0], [0.9, 0.0]]))
        ClassReport(n=4, confident=0.75, shares=(0.75, 0.25), smallest=0.25, level=0.9)
    """
    if not 0 < level <= 1:
        raise ValueError(f"expected level in (0, 1], got {level}")
    probabilities = _rows(classifier, classifier, images).double().softmax(dim=1)
    largest, classes = probabilities.max(dim=1)
    shares = tuple((classes.bincount(minlength=probabilities.shape[1]).double() / len(images)).tolist())
    return ClassReport(len(images), (largest >= level).double().mean().item(), shares, min(shares), level)


def features(classifier: Recogniser, images: Tensor) -> Tensor:
    """Return a classifier's features of images, batch by batch, in eval mode and without gradients.

    Args:
        classifier: as `genat.baselines.Classifier`.
        images: `(N, *)`, N >= 1.

    Returns:
        `(N, d)`, for `kernel_distance`.

    Raises:
        ValueError: where there are no images or the features are not `(N, d)`.

    Example:
        >>> from genat.baselines import Classifier
        >>> with torch.random.fork_rng(devices=[]):
        ...     classifier = Classifier((1, 8, 8), classes=10)
        >>> features(classifier, torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    return _rows(classifier, classifier.features, images)


def _rows(network: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    if len(images) == 0:
        raise ValueError("expected at least one image, got none")
    with frozen(network), torch.no_grad():
        rows = torch.cat([function(batch) for batch in torch.split(images, _BATCH)])
    if rows.ndim != 2 or len(rows) != len(images):
        raise ValueError(f"expected one row an image, ({len(images)}, K), got {tuple(rows.shape)}")
    return rows


def _mean_apart(x: Tensor) -> float:
    """Return the mean kernel over pairs of two different rows."""
    own = (x.square().sum(dim=1) / x.shape[1] + 1).pow(3).sum().item()
    return (_kernel_sum(x, x) - own) / (len(x) * (len(x) - 1))


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    blocks = [
        (block @ y.T / x.shape[1] + 1).pow(3).sum() for block in torch.split(x, 1024)
    ]  # n x m at once may not fit
    return torch.stack(blocks).sum().item()
