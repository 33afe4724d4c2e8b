"""Several detectors as one, and one of several."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from genat.ascent import Detector
from genat.networks import Committee, Joint, Select, Together


def compose(detectors: Sequence[Detector], *, weights: Sequence[float] | None = None) -> nn.Module:
    r"""Return the weighted sum of several detectors' logits as one detector.

    .. math:: f(x) = \sum_k w_k f_k(x)

    A logit is minus an energy, so that the sum is high where all are: a product of experts. A negative weight climbs
    away from a target. The networks may be of any kind; they are not copied.

    Args:
        detectors: `(N, *) -> (N,)` each, at least one, all for inputs of one shape.
        weights: one a detector, finite and not all 0; None is 1 for each.

    Returns:
        A detector `(N, *) -> (N,)`.

    Raises:
        ValueError: for no detector, networks together, or weights that do not fit; and when it runs, for a detector
            whose output is not `(N,)`.

    References:
        Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002)
        https://www.cs.toronto.edu/~hinton/absps/nccd.pdf
        Compositional Visual Generation with Energy Based Models (Du, Li, Mordatch, 2020)
        https://arxiv.org/abs/2004.06030

    Example:
        >>> both = compose([lambda x: x[:, 0], lambda x: x[:, 1]], weights=[1.0, -2.0])
        >>> both(torch.tensor([[3.0, 1.0]]))
        tensor([1.])
    """
    if len(detectors) == 0:
        raise ValueError("expected at least one detector, got none")
    if any(getattr(detector, "members", 1) > 1 for detector in detectors):
        raise ValueError("expected one detector at each place, got several together: compose their members")
    shares = [1.0] * len(detectors) if weights is None else [float(weight) for weight in weights]
    if len(shares) != len(detectors):
        raise ValueError(f"expected {len(detectors)} weights, one a detector, got {len(shares)}")
    if not all(math.isfinite(share) for share in shares) or not any(shares):
        raise ValueError(f"expected finite weights, not all 0, got {', '.join(f'{share:g}' for share in shares)}")
    return _Sum(detectors, shares)


def one_of(detector: nn.Module, index: int) -> nn.Module:
    """Return one class's detector of several: a member of networks together, or one logit of a network of K.

    Args:
        detector: a `networks.Together` or `networks.Committee`; or a `networks.Joint` or a module
            `(N, *) -> (N, K)`, which are not copied.
        index: which, counted from 0.

    Returns:
        A detector `(N, *) -> (N,)`.

    Raises:
        IndexError: where there is no such member.
        ValueError: where the index is negative; and when it runs, where there is no such logit.

    Example:
        >>> network = nn.Linear(2, 10)
        >>> x = torch.zeros(4, 2)
        >>> torch.equal(one_of(Joint(network), 3)(x), network(x)[:, 3])
        True
    """
    if isinstance(detector, Together):
        return detector.member(index)
    if isinstance(detector, Committee):
        return detector[index]
    return nn.Sequential(detector.classifier if isinstance(detector, Joint) else detector, Select(index))


class _Sum(nn.Module):
    """A weighted sum of detectors; those that are modules are its own, so that they are frozen and moved with it."""

    def __init__(self, detectors: Sequence[Detector], weights: Sequence[float]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(part for part in detectors if isinstance(part, nn.Module))
        self.detectors, self.weights = list(detectors), list(weights)

    def forward(self, x: Tensor) -> Tensor:
        logits = [weight * self._look(i, x) for i, weight in enumerate(self.weights)]
        return sum(logits[1:], logits[0])

    def _look(self, i: int, x: Tensor) -> Tensor:
        logits = self.detectors[i](x)
        if logits.shape != x.shape[:1]:
            raise ValueError(f"expected detector {i} to return shape {(len(x),)}, got {tuple(logits.shape)}")
        return logits
