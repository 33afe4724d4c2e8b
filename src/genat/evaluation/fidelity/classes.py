"""What a classifier that the generator never met recognises in generated images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from genat.ascent import frozen
from genat.evaluation.fidelity.checks import Estimate, check_features

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


def class_score(logits: Tensor) -> Estimate:
    r"""Return the exponential of how much an image says about its class.

    .. math::
        \exp \tfrac1n \sum_i \mathrm{KL}(p_i \,\|\, \bar p),
        \qquad p_i = \mathrm{softmax}(h_i),\ \bar p = \tfrac1n \sum_i p_i

    From 1 (every image looks alike) to K (each is surely of one class, and all classes are as frequent). On the logits
    of the published Inception network this is the inception score, which its authors averaged over ten parts of the
    images; here every image counts at once, so that the figure is a little higher than theirs. On another classifier's
    logits it is that classifier's score. Real images need not score best.

    Args:
        logits: `(n, K)`, n >= 2.

    Returns:
        The score and its standard error, to first order; it is biased downwards where n is not large against K.

    Raises:
        ValueError: where logits are not of this shape or not finite.

    References:
        Improved Techniques for Training GANs (Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, 2016)
        https://arxiv.org/abs/1606.03498

    Example:
        >>> class_score(100 * torch.eye(4))
        Estimate(value=4.0, error=0.0)
        >>> class_score(torch.zeros(5, 3))
        Estimate(value=1.0, error=0.0)
    """
    check_features(logits=logits)
    logs = logits.detach().double().log_softmax(dim=1)
    mean = logs.logsumexp(dim=0) - math.log(len(logs))
    said = (logs.exp() * (logs - mean)).sum(dim=1)
    score = said.mean().exp()
    return Estimate(score.item(), (score * said.std() / math.sqrt(len(said))).item())


def effective_classes(logits: Tensor) -> float:
    """Return how many classes images are spread over, the exponential of the entropy of their shares.

    Args:
        logits: `(n, K)`, n >= 1; an image is of its largest logit's class.

    Returns:
        From 1, one class alone, to K, all as frequent.

    Raises:
        ValueError: where logits are not of this shape or not finite.

    Example:
        >>> effective_classes(torch.eye(4)), effective_classes(torch.eye(4)[[0, 0, 0]])
        (4.0, 1.0)
    """
    check_features(least=1, logits=logits)
    shares = logits.argmax(dim=1).bincount().double() / len(logits)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp().item()


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
