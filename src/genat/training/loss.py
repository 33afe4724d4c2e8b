"""What one training step minimises, member by member."""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from genat.networks import Joint
from genat.objectives import maximin, r1_terms
from genat.training.members import count, shares


class Loss(nn.Module):
    """The step's loss as one module, so that a Fabric wrapper sees a plain forward and the R1 gradient stays inside."""

    def __init__(self, detector: nn.Module, r1: float, *, cross_entropy: float = 0.0) -> None:
        super().__init__()
        self.detector, self.r1, self.cross_entropy = detector, r1, cross_entropy

    def forward(
        self, inside: Tensor, outside: Tensor, attacked: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Return each member's loss `(M,)`, its logits `(M, B)` of inside and outside data, and figures `(M,)`.

        There are figures where a joint network classifies attacked samples `(B, *)` of these labels `(B,)`.
        """
        losses, inside_logits, outside_logits = self._maximin(inside, outside)
        if attacked is None or labels is None:
            return losses, inside_logits, outside_logits, {}
        assert isinstance(self.detector, Joint), "checked at the beginning"
        logits = self.detector.classify(attacked)  # on its own, so that the detector's part is as it is without
        entropy = F.cross_entropy(logits, labels)[None]
        right = (logits.argmax(dim=1) == labels).float().mean()[None]
        figures = {"cross_entropy": entropy, "adversarial_accuracy": right}
        return losses + self.cross_entropy * entropy, inside_logits, outside_logits, figures

    def _maximin(self, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        members = count(self.detector)
        if self.r1 == 0:
            both = torch.cat([shares(inside, members), shares(outside, members)], dim=1)
            logits = shares(self.detector(both.flatten(0, 1)), members)
            inside_logits, outside_logits = logits.tensor_split(2, dim=1)
            return _each(inside_logits, outside_logits), inside_logits, outside_logits
        # a forward of its own: the penalty's second pass is not paid for the outside
        inside = inside.detach().requires_grad_()
        flat = self.detector(inside)
        penalty = shares(r1_terms(flat, inside), members).mean(dim=1)
        inside_logits, outside_logits = shares(flat, members), shares(self.detector(outside), members)
        return _each(inside_logits, outside_logits) + self.r1 * penalty, inside_logits, outside_logits


def _each(inside_logits: Tensor, outside_logits: Tensor) -> Tensor:
    """Return each member's loss, `(M,)`; of one alone without what `torch.vmap` costs."""
    if len(inside_logits) == 1:
        return maximin(inside_logits[0], outside_logits[0])[None]
    return torch.vmap(maximin)(inside_logits, outside_logits)
