"""What the training loops of the peers share: M trainings side by side, a seed each, and none knows of another."""

import copy
import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from genat.ascent import frozen
from genat.networks import Together
from genat.recipe import warmed
from genat.sources import Source
from genat.training import step_generator
from genat.training.members import silence, silence_gradients


class Learner:
    """M networks that learn side by side by Adam, with running means of their weights and statistics.

    A member whose loss or gradient is not finite is set to rest: its weights are 0 from then on.

    Args:
        network: trained in place, in train mode from now on.
        rate: Adam's learning rate.
        betas: Adam's decay rates.
        ema: decay of the running mean, warmed up as min(ema, (1 + i) / (10 + i)); None keeps none.

    Raises:
        ValueError: where the rate or ema is out of its range.
    """

    def __init__(self, network: Together, *, rate: float, betas: tuple[float, float], ema: float | None) -> None:
        if not 0 < rate < math.inf:
            raise ValueError(f"expected learning rates to be positive and finite, got {rate}")
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"expected ema to be None or in (0, 1), got {ema}")
        self.network, self.rate, self.ema = network.train(), rate, ema
        self.average = None if ema is None else copy.deepcopy(network).requires_grad_(False).eval()
        self.weights = list(network.parameters())
        self.optimizer = torch.optim.Adam(self.weights, lr=rate, betas=betas, fused=True)
        self.iteration = 0
        self.resting: set[int] = set()

    @property
    def best(self) -> Together:
        """The network to use: the running mean where one is kept."""
        return self.network if self.average is None else self.average

    def learn(self, loss: Tensor, *, finite: Tensor, factor: float) -> list[int]:
        """Take one step and return the members that it set to rest.

        Args:
            loss: a scalar, the sum of the members' losses.
            finite: `(M,)` bool, whose losses are.
            factor: of the learning rate.
        """
        gradients = torch.autograd.grad(loss, self.weights)
        sums = torch.stack([gradient.flatten(1).sum(1) for gradient in gradients])
        bad = ~(sums.isfinite().all(0) & finite)
        lost = sorted(set(bad.nonzero().flatten().tolist()) - self.resting)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient.contiguous()  # fused Adam on a CPU takes any gradient for a contiguous one
        self.rest(lost)
        if self.resting:
            silence_gradients(sorted(self.resting), self.network)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.rate
        self.optimizer.step()
        self.iteration += 1
        if self.average is not None and self.ema is not None:
            follow(self.average, self.network, ema=self.ema, iteration=self.iteration)
        return lost

    def rest(self, members: Collection[int]) -> None:
        """Set members to rest."""
        if members:
            networks = (self.network,) if self.average is None else (self.network, self.average)
            silence(sorted(members), *networks, optimizer=self.optimizer)
            self.resting |= set(members)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, *, ema: float, iteration: int) -> None:
    """Move a running mean of a network's weights and statistics by one step; of what is counted it keeps the last.

    Args:
        average: changed in place.
        network: of the same architecture.
        ema: decay, warmed up as in `genat.fit`, min(ema, (1 + i) / (10 + i)).
        iteration: i, from 1.

    Example:
        >>> mean, network = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
        >>> _ = network(torch.tensor([[9.0], [11.0]]))
        >>> follow(mean, network, ema=0.5, iteration=100)
        >>> network.running_mean, mean.running_mean, mean.num_batches_tracked
        (tensor([1.]), tensor([0.5000]), tensor(1))
    """
    decay = warmed(ema, iteration=iteration)
    for kept, current in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)
        else:
            kept.copy_(current)


def draws(source: Source, n: int, *, seeds: Sequence[int], iteration: int) -> Tensor:
    """Return n samples a member, `(M n, *)`, each member's a function of its seed and the iteration."""
    return torch.cat([source.draw(n, generator=step_generator(seed, iteration, "target")) for seed in seeds])


def normals(*shape: int, seeds: Sequence[int], iteration: int, purpose: str) -> Tensor:
    """Return standard normal numbers for each member, `(M, *shape)`, likewise."""
    return torch.stack(
        [torch.randn(shape, generator=step_generator(seed, iteration, purpose)) for seed in seeds],
    )


def check(*networks: Together, seeds: Sequence[int], **counts: int) -> None:
    """Refuse networks of other than a member a seed, and counts below 1."""
    for network in networks:
        if network.members != len(seeds):
            raise ValueError(f"expected {network.members} seeds, one a member, got {len(seeds)}")
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"expected {name} to be at least 1, got {value}")


def check_outputs(network: Together, inputs: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
    """Return a network's outputs for inputs, a sample a member, and refuse any other shape."""
    wanted = (len(inputs), *shape)
    try:
        with frozen(network), torch.no_grad():
            outputs: Tensor = network(inputs)
    except RuntimeError as error:
        raise ValueError(
            f"expected {what} of samples {tuple(inputs.shape[1:])}, got one that fails: " + " ".join(str(error).split())
        ) from error
    if tuple(outputs.shape) != wanted:
        raise ValueError(f"expected {what} that returns {wanted}, got {tuple(outputs.shape)}")
    return outputs
