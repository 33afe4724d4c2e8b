"""What a joint network learns its classes from: labelled target samples, moved to be taken for another class."""

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.ascent import Box, climb, frozen
from genat.networks import Joint
from genat.recipe import Classification
from genat.sources import LabelledSource, Source, describe


def label_logits(network: Joint, labels: Tensor, points: Tensor) -> Tensor:
    """Return each sample's logit of its own label, `(N,)`; with the first two arguments bound, a detector.

    Example:
        >>> label_logits(Joint(nn.Flatten()), torch.tensor([1, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([2., 3.])
    """
    return network.classify(points).gather(1, labels[:, None])[:, 0]


def attacked(
    network: Joint, images: Tensor, labels: Tensor, *, how: Classification, box: Box | None
) -> tuple[Tensor, Tensor]:
    """Return the samples where they end on the climb of their own cross-entropies, and which were right before.

    The network is in eval mode for it, and is left as it was.

    Args:
        network: of K logits.
        images: `(N, *)`, inside the box.
        labels: `(N,)` int64, below K.
        how: the attack.
        box: as in `genat.ascend`.

    Returns:
        `(N, *)` and `(N,)` bool.

    Raises:
        NonFiniteError: where the climb reached points that are not finite.
    """
    entropies = partial(_cross_entropies, network, labels)
    with frozen(network):
        with torch.no_grad():
            right = network.classify(images).argmax(dim=1) == labels
        end = climb(entropies, images, steps=how.steps, step_size=how.step_size, ball=how.ball, box=box)
    return end.points, right


def check_classes(detector: nn.Module, target: Source, probe: Tensor) -> None:
    """Refuse what cannot learn classes, or nothing to learn them from.

    Args:
        detector: what is to be trained.
        target: what it is to learn.
        probe: `(N, *)` samples, on the detector's device.

    Raises:
        TypeError: where the detector is no `Joint`, or the target draws no labels.
        ValueError: where the target is unlabelled, or the network has another number of logits.
    """
    if not isinstance(detector, Joint):
        raise TypeError(f"expected a networks.Joint with classify, got {type(detector).__name__}")
    if not isinstance(target, LabelledSource):
        kind = type(target).__name__
        raise TypeError(f"expected a target that draws labels with classify, such as labelled Images, got {kind}")
    if not target.classes:
        raise ValueError(f"expected a target with labels with classify, got {describe(target)!r} without")
    with frozen(detector), torch.no_grad():
        logits = detector.classify(probe).shape[1]
    if logits != len(target.classes):
        raise ValueError(f"expected {len(target.classes)} logits, one a class of the target, got {logits}")


def _cross_entropies(network: Joint, labels: Tensor, points: Tensor) -> Tensor:
    return F.cross_entropy(network.classify(points), labels, reduction="none")
