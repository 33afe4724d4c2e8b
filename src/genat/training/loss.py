"""What one training step minimises, member by member."""

import torch
from torch import Tensor, nn

from genat.objectives import maximin, r1_terms
from genat.training.members import count, shares


class Loss(nn.Module):
    """The step's loss as one module, so that a Fabric wrapper sees a plain forward and the R1 gradient stays inside."""

    def __init__(self, detector: nn.Module, r1: float) -> None:
        super().__init__()
        self.detector, self.r1 = detector, r1

    def forward(self, inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each member's loss `(M,)` and its logits `(M, B)` of inside and outside data."""
        members = count(self.detector)
        if self.r1 == 0:
            both = torch.cat([shares(inside, members), shares(outside, members)], dim=1)
            logits = shares(self.detector(both.flatten(0, 1)), members)
            inside_logits, outside_logits = logits.tensor_split(2, dim=1)
            return torch.vmap(maximin)(inside_logits, outside_logits), inside_logits, outside_logits
        # a forward of its own: the penalty's second pass is not paid for the outside
        inside = inside.detach().requires_grad_()
        flat = self.detector(inside)
        penalty = shares(r1_terms(flat, inside), members).mean(dim=1)
        inside_logits, outside_logits = shares(flat, members), shares(self.detector(outside), members)
        return torch.vmap(maximin)(inside_logits, outside_logits) + self.r1 * penalty, inside_logits, outside_logits
