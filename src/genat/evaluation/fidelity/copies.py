"""Whether samples are training images: how near the nearest one is, against real images that were not trained on."""

from dataclasses import dataclass

from torch import Tensor

from genat.evaluation.fidelity.checks import Estimate
from genat.evaluation.fidelity.distances import nearest

_CLOSE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Memorisation:
    """How near samples lie to training images, against held-out real images.

    Attributes:
        ratio: mean distance of the samples to their nearest training image over the held-out ones' mean; 0 for copies,
            about 1 for new images of the same distribution. Its error is that of both means, the training images
            being given.
        median: the same ratio of medians.
        close: share of the samples nearer to a training image than 5 % of the held-out ones are; about 0.05 for new
            images, 1 for copies. A few copies among many samples show here and not in the ratio.
        distances: `(n,)` float64, of each sample to its nearest training image.
        indices: `(n,)` int64, which that is, to be looked at.
    """

    ratio: Estimate
    median: float
    close: float
    distances: Tensor
    indices: Tensor


def memorisation(samples: Tensor, held_out: Tensor, train: Tensor) -> Memorisation:
    r"""Compare samples' distances to the nearest training image with held-out real images' ones.

    .. math:: \frac{\mathrm{mean}_i \min_j \|s_i - t_j\|}{\mathrm{mean}_i \min_j \|r_i - t_j\|}

    Samples far from everything have a large ratio too: this tells copies from others and nothing else.

    Args:
        samples: `(n, *)` images or features, n >= 2.
        held_out: `(m, *)` real ones that nothing was trained on, m >= 2.
        train: `(t, *)` what was trained on, t >= 1.

    Raises:
        ValueError: where there are too few, shapes differ, or half of the held-out images are training images.

    Example:
        >>> import torch
        >>> train = torch.tensor([[0.0], [10.0]])
        >>> found = memorisation(torch.tensor([[0.0], [11.0]]), torch.tensor([[1.0], [8.0], [14.0]]), train)
        >>> print(f"{found.ratio.value:.3f} {found.median:.3f} {found.close:.2f} {found.indices.tolist()}")
        0.214 0.250 1.00 [0, 1]
    """
    if min(len(samples), len(held_out)) < 2:
        raise ValueError(f"expected at least 2 samples and held-out images, got {len(samples)} and {len(held_out)}")
    distances, indices = nearest(samples, train)
    usual = nearest(held_out, train)[0].to(distances.device)
    middle = usual.quantile(0.5)
    if middle == 0:
        raise ValueError("expected held-out images that are no training images, got copies for half of them or more")
    ratio = distances.mean() / usual.mean()
    variance = distances.var() / len(distances) + ratio.square() * usual.var() / len(usual)
    return Memorisation(
        ratio=Estimate(ratio.item(), (variance.sqrt() / usual.mean()).item()),
        median=(distances.quantile(0.5) / middle).item(),
        close=(distances < usual.quantile(_CLOSE)).double().mean().item(),
        distances=distances,
        indices=indices,
    )
