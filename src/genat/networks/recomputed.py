"""Gradients of deep networks in little memory."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genat.networks.layers import Residual


class Recomputed(nn.Sequential):
    """Blocks of which only what comes in is kept for a gradient: what is inside is computed once more when it is taken.

    Memory is that of one block and of what passes between them, for a third more work. Values and gradients, second
    ones too, are the same to the bit, and weights have the same names as in an `nn.Sequential`.

    References:
        Training Deep Nets with Sublinear Memory Cost (Chen, Xu, Zhang, Guestrin, 2016)
        https://arxiv.org/abs/1604.06174

    Example:
        >>> import torch
        >>> blocks = Recomputed(nn.Tanh(), nn.Tanh())
        >>> blocks(torch.ones(1))
        tensor([0.6420])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return what the blocks do one after another."""
        for block in self:
            x = checkpoint(block, x, use_reentrant=False)
        return x


def recompute(network: nn.Module) -> nn.Module:
    """Make a network's residual blocks `Recomputed`, in place, and return it.

    Args:
        network: with an `nn.Sequential` of which at least two parts have residual blocks, as `resnet`, `wide_resnet`
            and `star` have.

    Raises:
        ValueError: where there is none.

    Example:
        >>> from genat.networks import resnet
        >>> type(recompute(resnet((1, 8, 8), blocks=(1, 1), width=2)).stages).__name__
        'Recomputed'
    """
    found = _sequences(network)
    if not found:
        raise ValueError("expected a network of several residual blocks to recompute, got none")
    for parent, name, blocks in found:
        setattr(parent, name, Recomputed(OrderedDict(blocks.named_children())))
    return network


def _sequences(parent: nn.Module) -> list[tuple[nn.Module, str, nn.Sequential]]:
    """Return the outermost sequences of residual blocks, with their places."""
    found: list[tuple[nn.Module, str, nn.Sequential]] = []
    for name, child in parent.named_children():
        if isinstance(child, nn.Sequential) and sum(_has_residual(block) for block in child) >= 2:
            found.append((parent, name, child))
        else:
            found += _sequences(child)
    return found


def _has_residual(block: nn.Module) -> bool:
    return any(isinstance(part, Residual) for part in block.modules())
