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
    _check("inside", inside)
    _check("outside", outside)
    total = F.softplus(-inside).sum() + F.softplus(outside).sum()
    return total / (len(inside) + len(outside))


def minimax(outside: Tensor, *, saturating: bool = False) -> Tensor:
    r"""Return the generator's loss in the minimax game of a GAN.

    .. math::
        L = -\frac1M \sum_{j=1}^{M} \log \sigma(f(x'_j)) \qquad\text{or, saturating,}\qquad
        L = \frac1M \sum_{j=1}^{M} \log(1 - \sigma(f(x'_j)))

    The detector's loss is that of the other game, `maximin` of target and generated points: the games differ in who
    moves first. Both losses of the generator fall as the logit rises. The saturating one is the game's payoff itself,
    and its slope in the logit, :math:`-\sigma(f)`, vanishes where the detector is sure that a point is generated; the
    slope of the other, :math:`\sigma(f) - 1`, is steepest there.

    Args:
        outside: `(M,)` logits of generated points.
        saturating: play the game's payoff.

    Returns:
        A scalar: at least 0, or, saturating, at most 0; log 2 or -log 2 where every logit is 0.

    Raises:
        ValueError: where the logits are not one-dimensional or are empty.

    References:
        Generative Adversarial Nets (Goodfellow et al., 2014) https://arxiv.org/abs/1406.2661

    Example:
        >>> minimax(torch.zeros(2)), minimax(torch.zeros(2), saturating=True)
        (tensor(0.6931), tensor(-0.6931))
        >>> minimax(torch.tensor([-1e4])), minimax(torch.tensor([-1e4]), saturating=True)
        (tensor(10000.), tensor(-0.))
    """
    _check("outside", outside)
    return -F.softplus(outside).mean() if saturating else F.softplus(-outside).mean()


def r1_terms(logits: Tensor, inputs: Tensor) -> Tensor:
    r"""Return half the squared input gradient, sample by sample: :math:`\tfrac12 \|\nabla_x f(x_i)\|_2^2`.

    Args:
        logits: `(N,)` computed from `inputs`, with their graph; sample i's logit depends on sample i alone.
        inputs: `(N, *)` that require gradients; for images un-normalised pixels in [0, 1].

    Returns:
        `(N,)` of at least 0, through which gradients flow to the detector's parameters.

    Raises:
        ValueError: where the logits are not `(N,)`, or the inputs none or without gradients.

    References:
        Which Training Methods for GANs do actually Converge? (Mescheder, Geiger, Nowozin, 2018)
        https://arxiv.org/abs/1801.04406

    Example:
        >>> inputs = torch.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
        >>> r1_terms(inputs.square().sum(1), inputs)
        tensor([2., 8.], grad_fn=<MulBackward0>)
    """
    if logits.shape != inputs.shape[:1]:
        raise ValueError(f"expected logits of shape {tuple(inputs.shape[:1])}, got {tuple(logits.shape)}")
    if not (inputs.requires_grad and len(inputs)):
        raise ValueError(
            "expected inputs that require gradients, N >= 1, got " + ("none" if not len(inputs) else "others")
        )
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1)


def r1_penalty(logits: Tensor, inputs: Tensor) -> Tensor:
    r"""Return the mean of `r1_terms`, :math:`\tfrac12 \,\mathbb{E}\, \|\nabla_x f(x)\|_2^2`.

    Args:
        logits: `(N,)`, as `r1_terms` takes them.
        inputs: `(N, *)`, likewise.

    Returns:
        A scalar of at least 0 through which gradients flow to the detector's parameters.

    Raises:
        ValueError: as `r1_terms`.

    Example:
        >>> inputs = torch.zeros(5, 2, requires_grad=True)
        >>> r1_penalty(inputs @ torch.tensor([3.0, 4.0]), inputs)
        tensor(12.5000)
    """
    return r1_terms(logits, inputs).mean()


def _check(name: str, logits: Tensor) -> None:
    if logits.ndim != 1 or len(logits) == 0:
        raise ValueError(f"expected {name} to be logits of shape (N,) with N >= 1, got {tuple(logits.shape)}")
