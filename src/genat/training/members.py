"""The members of a detector side by side: one for a plain module, M for `networks.Together`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from genat.networks import Together


def count(detector: nn.Module) -> int:
    """Return how many members a detector has.

    Example:
        >>> count(nn.Linear(2, 1)), count(Together([nn.Linear(2, 1)] * 3))
        (1, 3)
    """
    return detector.members if isinstance(detector, Together) else 1


def shares(values: Tensor, members: int) -> Tensor:
    """Return a batch member by member, `(M, N, *)` of `(M N, *)`."""
    return values.reshape(members, -1, *values.shape[1:])


def parts(samples: int, members: int, at_once: int | None) -> list[Tensor | slice]:
    """Return the rows of a batch `(M N, *)` in parts of at most so many samples of each member, or all as a slice.

    A slice takes no copy of what it indexes.

    Example:
        >>> parts(6, 2, 2), parts(6, 2, None)
        ([tensor([0, 1, 3, 4]), tensor([2, 5])], [slice(None, None, None)])
    """
    if at_once is None or at_once * members >= samples:
        return [slice(None)]
    return [part.flatten() for part in torch.split(torch.arange(samples).view(members, -1), at_once, dim=1)]


def joined(values: Sequence[Tensor], parts: Sequence[Tensor | slice]) -> Tensor:
    """Return the values of a batch's `parts` in the batch's order.

    Example:
        >>> joined([torch.tensor([0, 10, 30]), torch.tensor([20])], [torch.tensor([0, 1, 3]), torch.tensor([2])])
        tensor([ 0, 10, 20, 30])
    """
    rows = [part for part in parts if isinstance(part, Tensor)]
    return torch.cat(list(values))[torch.cat(rows).argsort()] if rows else values[0]


def gradient_norms(detector: nn.Module) -> Tensor:
    """Return the L2 norm of each member's gradient, `(M,)`, on the detector's device.

    Example:
        >>> both = Together([nn.Linear(1, 1, bias=False)] * 2)
        >>> both(torch.tensor([[3.0], [4.0]])).sum().backward()
        >>> gradient_norms(both)
        tensor([3., 4.])
    """
    members = count(detector)
    gradients = [p.grad for p in detector.parameters() if p.grad is not None]
    norms = [torch.linalg.vector_norm(gradient.reshape(members, -1), dim=1) for gradient in gradients]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return total


def clip_gradients(detector: nn.Module, norms: Tensor, limit: float) -> None:
    """Scale each member's gradient down to the limit where it is longer."""
    factors = (limit / (norms + 1e-6)).clamp(max=1.0)
    for parameter in detector.parameters():
        if parameter.grad is not None:
            several = isinstance(detector, Together)
            parameter.grad.mul_(factors.view(-1, *(1,) * (parameter.grad.ndim - 1)) if several else factors)


def non_finite(detector: nn.Module) -> list[int]:
    """Return the members that hold a value which is not finite.

    Example:
        >>> both = Together([nn.Linear(1, 1)] * 2)
        >>> with torch.no_grad():
        ...     both.get_parameter("bias")[1] = torch.inf
        >>> non_finite(both)
        [1]
    """
    members = count(detector)
    finite = torch.ones(members, dtype=torch.bool)
    for value in detector.state_dict().values():
        finite &= torch.isfinite(value).reshape(members, -1).all(dim=1).cpu()
    return (~finite).nonzero().flatten().tolist()


@torch.no_grad()
def silence(members: Sequence[int], *networks: nn.Module, optimizer: Optimizer) -> None:
    """Set the weights, the gradients and the optimiser's moments of some members to zero.

    Their buffers become those of a member that is left, if one is: a deviation of 0 would not do.
    """
    rows = list(members)
    left = next((row for row in range(count(networks[0])) if row not in rows), rows[0])
    for network in networks:
        for weights in network.parameters():
            weights[rows] = 0
        for buffer in network.buffers():
            buffer[rows] = buffer[left].clone()
    for parameter, state in optimizer.state.items():
        for value in state.values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value[rows] = 0
    silence_gradients(members, networks[0])


def silence_gradients(members: Sequence[int], network: nn.Module) -> None:
    """Set the gradients of some members to zero."""
    for parameter in network.parameters():
        if parameter.grad is not None:
            parameter.grad[list(members)] = 0
