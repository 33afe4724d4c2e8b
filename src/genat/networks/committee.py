"""K detectors, one a class, as one: it classifies by the largest logit, and detects by how large that is."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from genat.networks.joint import Joint
from genat.networks.layers import Select
from genat.networks.together import Together


class Committee(nn.Module):
    r"""A committee of K detectors, one a class.

    .. math:: f(x) = \max_k f_k(x), \qquad \hat y(x) = \arg\max_k f_k(x)

    With :math:`p(x \mid k) \propto \exp f_k(x)` and a uniform prior that is the Bayes classifier, and f tells whether
    an input is of any class at all. As a module it is the detector f, so that whatever takes a detector takes a
    committee; `classify` has the K logits.

    Args:
        detectors: `networks.Together`, K detectors of one architecture as a batched model, which is how a committee is
            trained; a `networks.Joint`, whose K logits share a trunk; or a list of ready detectors `(N, *) -> (N,)`,
            which are run one after another. None is copied.
        classes: the classes' names, one a detector; none names them 0, 1, ...

    Raises:
        ValueError: for fewer than two detectors, or another number of names, or names that are not different.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification
        (Yin, Kolouri, Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> low, high = nn.Sequential(nn.Flatten(), Select(0)), nn.Sequential(nn.Flatten(), Select(1))
        >>> committee = Committee([low, high], classes=["low", "high"])
        >>> x = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
        >>> committee(x), committee.classify(x).argmax(dim=1)
        (tensor([3., 2.]), tensor([0, 1]))
        >>> len(committee), committee["high"] is high
        (2, True)
        >>> committee.paired(x, torch.tensor([1, 0]))
        tensor([1., 0.])
    """

    def __init__(self, detectors: Together | Joint | Sequence[nn.Module], *, classes: Sequence[str] = ()) -> None:
        super().__init__()
        whole = isinstance(detectors, Together | Joint)
        self.detectors: nn.Module = detectors if whole else nn.ModuleList(detectors)  # type: ignore[assignment,arg-type]
        count = _count(self.detectors, classes)
        if count < 2:
            raise ValueError(f"expected a committee of at least two detectors, got {count}")
        self.classes = tuple(classes) or tuple(map(str, range(count)))
        if len(self.classes) != count:
            raise ValueError(f"expected {count} classes, one a detector, got {len(self.classes)}")
        if len(set(self.classes)) < count:
            raise ValueError(f"expected classes with different names, got {', '.join(self.classes)}")

    def forward(self, x: Tensor) -> Tensor:
        """Return the largest logit, `(N,)`."""
        return self.pool(self.classify(x))

    def pool(self, logits: Tensor) -> Tensor:
        """Return the detector's logits `(N,)` from those of the classes, `(N, K)`."""
        return logits.amax(dim=1)

    def classify(self, x: Tensor) -> Tensor:
        """Return every detector's logit, `(N, K)`.

        Raises:
            ValueError: where a detector's outputs are not `(N,)`.
        """
        if isinstance(self.detectors, Joint):
            logits = self.detectors.classify(x)
        elif isinstance(self.detectors, Together):
            logits = self.detectors.each(x).movedim(0, 1)
        else:
            assert isinstance(self.detectors, nn.ModuleList), "one of three"
            found: dict[nn.Module, Tensor] = {}  # one that stands for several classes is run once
            for index, detector in enumerate(self.detectors):
                if detector not in found:
                    found[detector] = self.one(index, x)
            logits = torch.stack([found[detector] for detector in self.detectors], dim=1)
        if logits.shape != (x.shape[0], len(self)):  # len(x) would fix the number in a traced graph
            raise ValueError(f"expected logits {(len(x), len(self))} of the committee, got {tuple(logits.shape)}")
        return logits

    def one(self, index: int, x: Tensor) -> Tensor:
        """Return one detector's logits, `(N,)`, by the committee's own weights.

        Raises:
            ValueError: where they are not `(N,)`.
        """
        if isinstance(self.detectors, Joint):
            return self.detectors.classify(x)[:, index]
        if isinstance(self.detectors, Together):
            logits = self.detectors.one(index, x)
        else:
            assert isinstance(self.detectors, nn.ModuleList), "one of three"
            logits = self.detectors[index](x)
        if logits.shape != x.shape[:1]:
            raise ValueError(f"expected detector {index} to return shape {(len(x),)}, got {tuple(logits.shape)}")
        return logits

    def paired(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the logit of each sample's own detector, `(N,)`: a pass through one network a sample, not K.

        Args:
            x: `(N, *)`.
            labels: `(N,)` int64, each from 0 to K - 1.

        Raises:
            ValueError: where labels are not as above.
        """
        if labels.shape != x.shape[:1]:
            raise ValueError(f"expected a label a sample, ({len(x)},), got {tuple(labels.shape)}")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self):
            low, high = int(labels.min()), int(labels.max())
            raise ValueError(f"expected labels from 0 to {len(self) - 1}, got {low} to {high}")
        if isinstance(self.detectors, Joint):
            return self.classify(x).gather(1, labels[:, None])[:, 0]
        order = labels.argsort(stable=True)
        kinds, counts = torch.unique_consecutive(labels[order], return_counts=True)
        shares = torch.split(x[order], counts.tolist())
        parts = [self.one(kind, share) for kind, share in zip(kinds.tolist(), shares, strict=True)]
        return torch.cat(parts)[order.argsort()] if parts else x.new_zeros(0)

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, kind: int | str) -> nn.Module:
        """Return one class's detector `(N, *) -> (N,)`, as a module of its own.

        Args:
            kind: the class's index or name.

        Raises:
            KeyError: where there is no class of that name.
            IndexError: where there is none of that index.
        """
        if isinstance(kind, str):
            if kind not in self.classes:
                raise KeyError(f"expected a class of {', '.join(self.classes)}, got {kind!r}")
            kind = self.classes.index(kind)
        if not 0 <= kind < len(self):
            raise IndexError(f"expected a class from 0 to {len(self) - 1}, got {kind}")
        if isinstance(self.detectors, Together):
            return self.detectors.member(kind)
        if isinstance(self.detectors, Joint):
            return nn.Sequential(self.detectors.classifier, Select(kind)).train(self.training)
        assert isinstance(self.detectors, nn.ModuleList), "one of three"
        return self.detectors[kind]

    def __iter__(self) -> Iterator[nn.Module]:
        return (self[index] for index in range(len(self)))


def _count(detectors: nn.Module, classes: Sequence[str]) -> int:
    if isinstance(detectors, Together):
        return detectors.members
    if isinstance(detectors, nn.ModuleList):
        return len(detectors)
    return len(classes)  # a classifier does not say how many logits it has before it has run
