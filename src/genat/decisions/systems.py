"""The systems that decide, and what they decide."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genat.ascent import frozen
from genat.networks import Committee

_GAP = 2.0**20  # further down than any logit, and float64 still resolves 1e-9 there


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a system says of N inputs; it accepts those whose score is at least its threshold.

    Attributes:
        labels: `(N,)` int64, each from 0 to K - 1.
        scores: `(N,)` float64, of any size: high is sure.
    """

    labels: Tensor
    scores: Tensor

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.labels.shape != self.scores.shape:
            got = f"{tuple(self.labels.shape)} and {tuple(self.scores.shape)}"
            raise ValueError(f"expected labels and scores of shape (N,), got {got}")


class System(nn.Module, ABC):
    """A rule that gives every input a label and a score, and rejects it where the score is below a threshold.

    As a module it is its score, `(N, *) -> (N,)`: a detector. All but `decide` is differentiable, in float64, and
    computed in the mode that the module is in.
    """

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        self._classes = classes

    @property
    def classes(self) -> int:
        """K, the number of classes.

        Raises:
            ValueError: where a classifier was not said to have so many, and has not run yet.
        """
        if self._classes is None:
            raise ValueError("expected a number of classes, or a classifier that has run once and so shows it")
        return self._classes

    @abstractmethod
    def margins(self, x: Tensor) -> Tensor:
        """Return a value for each class, `(N, K)`: the first of the largest is the label's, and is the score."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores, `(N,)`."""
        return self.margins(x).amax(dim=1)

    def decide(self, x: Tensor) -> Decision:
        """Return labels and scores, in eval mode and without gradients.

        Raises:
            ValueError: where a logit is not finite, or logits are not `(N, K)`.
        """
        with frozen(self), torch.no_grad():
            margins = self.margins(x)
        bad = int((~margins.isfinite()).any(dim=1).sum())
        if bad:
            raise ValueError(f"expected finite logits, got some that are not for {bad} of {len(x)} inputs")
        labels = margins.argmax(dim=1, keepdim=True)
        return Decision(labels[:, 0], margins.gather(1, labels)[:, 0])

    def wrong(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the largest margin of a class that is not the label, `(N,)`: what an attack raises.

        Args:
            x: `(N, *)`.
            labels: `(N,)` int64, the true ones, each from 0 to K - 1.

        Raises:
            ValueError: where labels are not as above.
        """
        margins = self.margins(x)
        _check_labels("labels", labels, margins)
        return margins.scatter(1, labels[:, None], -math.inf).amax(dim=1)

    def toward(self, x: Tensor, kinds: Tensor) -> Tensor:
        """Return the margin of one given class a sample, `(N,)`: what a targeted attack raises.

        Args:
            x: `(N, *)`.
            kinds: `(N,)` int64, each from 0 to K - 1.

        Raises:
            ValueError: where kinds are not as above.
        """
        margins = self.margins(x)
        _check_labels("kinds", kinds, margins)
        return margins.gather(1, kinds[:, None])[:, 0]

    def rejecting(self, x: Tensor, *, threshold: float) -> Tensor:
        """Return the logits of system and threshold as one classifier of K + 1 classes, the last of them rejection.

        The first of the largest is the label exactly where the system accepts, and K exactly where it rejects.

        Args:
            x: `(N, *)`.
            threshold: of the score; what has it or more is accepted.

        Returns:
            `(N, K + 1)` float64.

        Raises:
            ValueError: where threshold is not a number.
        """
        _check_threshold(threshold)
        margins = self.margins(x)
        return torch.cat([margins, margins.new_full((len(margins), 1), threshold)], dim=1)


class Generative(System):
    r"""A committee that classifies by the largest logit and detects by how large that is.

    .. math:: \hat y(x) = \arg\max_k z_k(x), \qquad s(x) = \max_k z_k(x)

    The margins are the detectors' logits :math:`z_k`. Of equal ones the first is the label.

    Args:
        committee: K detectors; it is shared, not copied.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification
        (Yin, Kolouri, Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> from genat.networks import Joint
        >>> system = Generative(Committee(Joint(nn.Flatten()), classes=["low", "high"]))
        >>> x = torch.tensor([[3.0, 1.0], [0.0, 2.5]])
        >>> decision = system.decide(x)
        >>> decision.labels, decision.scores
        (tensor([0, 1]), tensor([3.0000, 2.5000], dtype=torch.float64))
        >>> system.rejecting(x, threshold=2.75).argmax(dim=1)
        tensor([0, 2])
    """

    def __init__(self, committee: Committee) -> None:
        super().__init__(len(committee))
        self.committee = committee

    def margins(self, x: Tensor) -> Tensor:
        """Return the detectors' logits, `(N, K)`."""
        return self.committee.classify(x).double()


class Confident(System):
    r"""A classifier that rejects what it is not sure of: the rule of the largest softmax, without its saturation.

    .. math:: \hat y(x) = \arg\max_k f_k(x), \qquad s(x) = \max_k m_k(x), \qquad
        m_k = f_k - \log \sum_{j \ne k} \exp f_j = \log \frac{p_k}{1 - p_k}

    with :math:`p` the softmax of the logits. The log odds rank as p does, and still tell 1e4 from 1e4 + 1, where p is 1
    in any precision. Of equal logits the first is the label; the others' margins are then below its own by a last bit.

    Args:
        classifier: `(N, *) -> (N, K)`; it is shared, not copied.
        classes: K; None leaves it to the first call.

    Raises:
        ValueError: where classes is below 2.

    References:
        A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks
        (Hendrycks, Gimpel, 2017) https://arxiv.org/abs/1610.02136

    Example:
        >>> decision = Confident(nn.Flatten()).decide(torch.tensor([[3.0, 1.0], [0.0, 10000.5]]))
        >>> decision.labels, decision.scores.tolist()
        (tensor([0, 1]), [2.0, 10000.5])
    """

    def __init__(self, classifier: nn.Module, *, classes: int | None = None) -> None:
        if classes is not None and classes < 2:
            raise ValueError(f"expected at least 2 classes, got {classes}")
        super().__init__(classes)
        self.classifier = classifier

    def margins(self, x: Tensor) -> Tensor:
        """Return the log odds of each class, `(N, K)`.

        Raises:
            ValueError: where the classifier's outputs are not `(N, K)`.
        """
        logits = _classified(self.classifier, x, self._classes)
        self._classes = logits.shape[1]
        labels, own = _first(logits)
        top = logits.gather(1, labels)
        best = top - logits.masked_fill(own, -math.inf).logsumexp(dim=1, keepdim=True)
        powers = (logits - top).exp()
        rest = powers.sum(dim=1, keepdim=True) - powers  # at least 1 but for the label: nothing cancels
        others = logits - top - rest.masked_fill(own, 1.0).log()
        below = torch.nextafter(best.detach(), best.new_tensor(-math.inf))
        return torch.where(own, best, torch.minimum(others, below))


class Integrated(System):
    r"""A classifier that names the class, and the detector of that class that judges the input.

    .. math:: \hat y(x) = \arg\max_k f_k(x), \qquad s(x) = z_{\hat y(x)}(x)

    with :math:`f_k` the classifier's logits and :math:`z_k` the detectors'. A margin says how far an attack has come
    towards a class: the detector's logit where the classifier says the class, and what it lacks to do so otherwise,

    .. math:: m_k = z_k \ \text{where}\ k = \hat y, \qquad m_k = f_k - \max_{j \ne k} f_j - 2^{20} \ \text{elsewhere}

    so that whoever climbs it first fools the classifier and then the detector, and no input that the classifier does
    not give the class ranks above one that it does. Detectors' logits are to be above :math:`-2^{20}`. Of equal logits
    of the classifier the first is the label. A sample passes through one detector, not K.

    Args:
        classifier: `(N, *) -> (N, K)`; it is shared, not copied.
        committee: K detectors; shared likewise.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification
        (Yin, Kolouri, Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> from genat.networks import Joint, Select
        >>> flat = nn.Flatten()
        >>> committee = Committee([nn.Sequential(flat, Select(2)), nn.Sequential(flat, Select(3))])
        >>> system = Integrated(nn.Sequential(flat, nn.Linear(4, 2)), committee)
        >>> _ = system.classifier[1].weight.data.copy_(torch.eye(2, 4)), system.classifier[1].bias.data.zero_()
        >>> x = torch.tensor([[1.0, 0.0, -5.0, 9.0], [0.0, 1.0, -5.0, 9.0]])
        >>> decision = system.decide(x)
        >>> decision.labels, decision.scores
        (tensor([0, 1]), tensor([-5.,  9.], dtype=torch.float64))
        >>> system.rejecting(x, threshold=0.0).argmax(dim=1)
        tensor([2, 1])
    """

    def __init__(self, classifier: nn.Module, committee: Committee) -> None:
        super().__init__(len(committee))
        self.classifier = classifier
        self.committee = committee

    def margins(self, x: Tensor) -> Tensor:
        """Return the detector's logit for the label and what the classifier lacks for others, `(N, K)`.

        Raises:
            ValueError: where the classifier's outputs are not `(N, K)`, or a detector's logit is -2^20 or less.
        """
        own, lead, scores = self._parts(x)
        return torch.where(own, scores[:, None], lead - _GAP)

    def rejecting(self, x: Tensor, *, threshold: float) -> Tensor:
        r"""Return the logits of system and threshold as one classifier of K + 1 classes, the last of them rejection.

        .. math:: r_k = \min(f_k - \max_{j \ne k} f_j,\ z_k - T) \quad (k < K), \qquad r_K = 0

        The first of the largest is the label exactly where the system accepts, and K exactly where it rejects: both
        terms are at least 0 for the label of what is accepted, and the first is below 0 for all other classes (of equal
        logits of the classifier, by the smallest normal number).

        Args:
            x: `(N, *)`, which here passes through all K detectors.
            threshold: :math:`T`; what has a score of T or more is accepted.

        Returns:
            `(N, K + 1)` float64.

        Raises:
            ValueError: as `margins`, or where threshold is not a number.
        """
        _check_threshold(threshold)
        own, lead, scores = self._parts(x)
        # the label's logit as `decide` has it: of one network, not of K at once, whose last bits may differ
        logits = torch.where(own, scores[:, None], self.committee.classify(x).double())
        lead = lead - torch.finfo(lead.dtype).tiny * (~own).to(lead)
        kinds = torch.minimum(lead, logits - threshold)
        return torch.cat([kinds, kinds.new_zeros(len(kinds), 1)], dim=1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the label is and by how much each class leads, both `(N, K)`, and the scores, `(N,)`."""
        logits = _classified(self.classifier, x, self.classes)
        labels, own = _first(logits)
        top = logits.gather(1, labels)
        second = logits.masked_fill(own, -math.inf).amax(dim=1, keepdim=True)
        scores = self.committee.paired(x, labels[:, 0]).double()
        if (scores <= -_GAP).any():
            raise ValueError(f"expected detectors' logits above {-_GAP:.0f}, got {float(scores.min()):g}")
        return own, logits - torch.where(own, second, top), scores


def _classified(classifier: nn.Module, x: Tensor, classes: int | None) -> Tensor:
    logits: Tensor = classifier(x)
    many = logits.shape[1] if logits.ndim == 2 and classes is None else classes
    if logits.shape != (len(x), many) or (many or 0) < 2:
        wanted = f"({len(x)}, K) with K >= 2" if classes is None else f"{(len(x), classes)}"
        raise ValueError(f"expected logits {wanted} of the classifier, got {tuple(logits.shape)}")
    return logits.double()


def _first(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first of the largest of each row, `(N, 1)`, and where it stands, `(N, K)` bool."""
    labels = logits.argmax(dim=1, keepdim=True)
    return labels, labels == torch.arange(logits.shape[1], device=logits.device)


def _check_labels(name: str, labels: Tensor, margins: Tensor) -> None:
    count, classes = margins.shape
    if labels.shape != (count,) or labels.dtype != torch.int64:
        raise ValueError(f"expected {name} ({count},) of int64, got {tuple(labels.shape)} of {labels.dtype}")
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(f"expected {name} from 0 to {classes - 1}, got {low} to {high}")


def _check_threshold(threshold: float) -> None:
    if math.isnan(threshold):
        raise ValueError("expected a threshold that is a number, got nan")
