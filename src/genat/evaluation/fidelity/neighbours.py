"""Precision, recall, density and coverage: what the nearest neighbours of features say."""

from dataclasses import dataclass

import torch
from torch import Tensor

from genat.evaluation.fidelity.checks import check_features
from genat.evaluation.fidelity.distances import own_blocks, squared_blocks


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """How samples and real images lie among each other.

    Around every image of a set is a closed ball that reaches its k-th nearest neighbour in the set.

    Attributes:
        precision: share of the samples in the ball of some real image: could be real.
        recall: share of the real images in the ball of some sample: could be generated.
        density: number of real images' balls that a sample lies in, over k, on average; not bounded by 1.
        coverage: share of the real images whose ball holds a sample.
        k: the neighbour that the balls reach.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int


def neighbourhood(samples: Tensor, real: Tensor, *, k: int = 5) -> Neighbourhood:
    r"""Return precision, recall, density and coverage of samples.

    With :math:`B_k(x)` the closed ball around x that reaches its k-th nearest neighbour in its own set:

    .. math::
        \text{precision} &= \tfrac1n |\{i : s_i \in \cup_j B_k(r_j)\}|, &
        \text{recall} &= \tfrac1m |\{j : r_j \in \cup_i B_k(s_i)\}|, \\
        \text{density} &= \tfrac1{kn} \textstyle\sum_{i, j} [s_i \in B_k(r_j)], &
        \text{coverage} &= \tfrac1m |\{j : \exists i,\ s_i \in B_k(r_j)\}|

    Samples from the real distribution have density 1 on average and a coverage that depends on k, n and m alone, 1 -
    0.5 ** k for many images of equal number; precision and recall have no such value and grow with k and d: read them
    beside those of other real images. Outliers make balls, and with them precision and recall, large.

    Args:
        samples: features `(n, d)`, n > k.
        real: features `(m, d)`, m > k.
        k: at least 1; 3 in the first paper, 5 in the second.

    Raises:
        ValueError: where features are too few, not of these shapes or not finite, or k is below 1.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi, Karras, Laine, Lehtinen,
        Aila, 2019) https://arxiv.org/abs/1904.06991
        Reliable Fidelity and Diversity Metrics for Generative Models (Naeem, Oh, Uh, Choi, Yoo, 2020)
        https://arxiv.org/abs/2002.09797

    Example:
        >>> real, samples = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [1.5], [9.0]])
        >>> neighbourhood(samples, real, k=1)
        Neighbourhood(precision=0.6666666666666666, recall=1.0, density=1.3333333333333333, coverage=1.0, k=1)
    """
    if k < 1:
        raise ValueError(f"expected k to be at least 1, got {k}")
    check_features(least=k + 1, samples=samples, real=real)
    s, r = samples.detach().double(), real.detach().double()
    of_samples, of_real = _radii(s, k), _radii(r, k)
    balls = torch.zeros(len(s), dtype=torch.int64, device=s.device)
    covered, recalled = balls.new_zeros(()), balls.new_zeros(())
    for rows, squares in squared_blocks(r, s):
        inside = squares <= of_real[rows, None]
        balls += inside.sum(dim=0)
        covered += inside.any(dim=1).sum()
        recalled += (squares <= of_samples).any(dim=1).sum()
    return Neighbourhood(
        precision=(balls > 0).double().mean().item(),
        recall=recalled.item() / len(r),
        density=balls.double().mean().item() / k,
        coverage=covered.item() / len(r),
        k=k,
    )


def _radii(points: Tensor, k: int) -> Tensor:
    """Return each point's squared distance to its k-th nearest neighbour."""
    blocks = own_blocks(points, to_self=torch.inf)
    return torch.cat([squares.topk(k, dim=1, largest=False).values[:, -1] for _, squares in blocks])
