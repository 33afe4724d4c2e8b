"""What a training step minimises."""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def maximin(inside: Tensor, outside: Tensor) -> Tensor:
    r"""Return the detector's loss in the maximin game, binary cross-entropy on logits.

    .. math::
        L = -\frac{1}{N + M} \Bigl(\sum_{i=1}^{N} \log \sigma(f(x_i)) + \sum_{j=1}^{M} \log(1 - \sigma(f(x'_j)))\Bigr)

    The inner maximum over the outside points :math:`x'_j` is `genat.ascend`'s: the cross-entropy of an outside point
    rises with its logit, so that climbing the logit is the attack. Inside data stays clean; only outside data is
    attacked.

    Args:
        inside: `(N,)` logits of target data.
        outside: `(M,)` logits of outside data after ascent.

    Returns:
        A scalar of at least 0; log 2 where every logit is 0.

    Raises:
        ValueError: where either is not one-dimensional or is empty.

    References:
        GAT: Generative Adversarial Training for Adversarial Example Detection and Robust Classification (Yin, Kolouri,
        Rohde, 2020) https://arxiv.org/abs/1905.11475

    Example:
        >>> maximin(torch.zeros(2), torch.zeros(2))
        tensor(0.6931)
        >>> maximin(torch.tensor([1e4]), torch.tensor([-1e4]))
        tensor(0.)
    """
    for name, logits in (("inside", inside), ("outside", outside)):
        if logits.ndim != 1 or len(logits) == 0:
            raise ValueError(f"expected {name} to be logits of shape (N,) with N >= 1, got {tuple(logits.shape)}")
    total = F.softplus(-inside).sum() + F.softplus(outside).sum()
    return total / (len(inside) + len(outside))


def r1_penalty(logits: Tensor, inputs: Tensor) -> Tensor:
    r"""Return half the mean squared input gradient, :math:`\tfrac12 \,\mathbb{E}\, \|\nabla_x f(x)\|_2^2`.

    Args:
        logits: `(N,)` computed from `inputs`, with their graph; sample i's logit depends on sample i alone.
        inputs: `(N, *)` that require gradients; for images un-normalised pixels in [0, 1].

    Returns:
        A scalar of at least 0 through which gradients flow to the detector's parameters.

    Raises:
        ValueError: where the logits are not `(N,)`, or the inputs none or without gradients.

    References:
        Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018)
        https://arxiv.org/abs/1801.04406

    Example:
        >>> inputs = torch.zeros(5, 2, requires_grad=True)
        >>> r1_penalty(inputs @ torch.tensor([3.0, 4.0]), inputs)
        tensor(12.5000)
    """
    if logits.shape != inputs.shape[:1]:
        raise ValueError(f"expected logits of shape {tuple(inputs.shape[:1])}, got {tuple(logits.shape)}")
    if not (inputs.requires_grad and len(inputs)):
        raise ValueError(
            "expected inputs that require gradients, N >= 1, got " + ("none" if not len(inputs) else "others")
        )
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()
