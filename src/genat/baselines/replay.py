"""Where persistent Langevin chains are between the iterations of a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genat.balls import per_sample
from genat.baselines.learner import normals
from genat.training import step_generator


@dataclass(frozen=True, slots=True)
class Replay:
    """A buffer of where chains have ended, from which later chains go on.

    It begins uniform within one spread of the chains' center, and so does the share of chains that begin anew.

    Args:
        rows: how many ends it holds; an iteration takes as many different ones as a batch has and puts them back.
        fresh: share of the chains that begin anew, in [0, 1].

    Raises:
        ValueError: where a number is out of its range.

    References:
        Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One (Grathwohl et al., 2020)
        https://arxiv.org/abs/1912.03263, whose numbers these are

    Example:
        >>> Replay()
        Replay(rows=10000, fresh=0.05)
    """

    rows: int = 10_000
    fresh: float = 0.05

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"expected rows to be at least 1, got {self.rows}")
        if not 0 <= self.fresh <= 1:
            raise ValueError(f"expected fresh in [0, 1], got {self.fresh}")


class Buffer:
    """The persistent chains of M members; what `starts` took, `put_back` brings where it was.

    Args:
        replay: a buffer, or True: as many chains as a batch has, each its own, from standard normal numbers on.
        shape: `(B, *)` of a member's batch.
        seeds: one a member.
        outward: from the chains' coordinates to the data's.
        device: where the chains are kept.

    Attributes:
        chains: `(M, R, *)` where they are, in the data's coordinates.

    Raises:
        ValueError: where a buffer has fewer rows than a batch.
    """

    def __init__(
        self,
        replay: bool | Replay,
        shape: tuple[int, ...],
        *,
        seeds: Sequence[int],
        outward: Callable[[Tensor], Tensor],
        device: torch.device,
    ) -> None:
        self.replay = replay if isinstance(replay, Replay) else None
        self.shape, self.seeds, self.outward = shape, seeds, outward
        if self.replay is None:
            first = normals(*shape, seeds=seeds, iteration=0, purpose="persistent")
        elif self.replay.rows < shape[0]:
            raise ValueError(f"expected a buffer of at least batch_size={shape[0]} rows, got {self.replay.rows}")
        else:
            draws = [step_generator(seed, 0, "replay buffer") for seed in seeds]
            first = torch.stack([self._uniform(self.replay.rows, draw) for draw in draws])
        self.chains = outward(first).to(device)
        self.members = torch.arange(len(seeds), device=device)[:, None]
        self.rows = torch.arange(shape[0], device=device).expand(len(seeds), -1)

    def starts(self, iteration: int) -> Tensor:
        """Return where an iteration's chains begin, `(M B, *)`."""
        if self.replay is None:
            return self.chains.flatten(0, 1)
        draws = [step_generator(seed, iteration, "replay") for seed in self.seeds]
        count, device = self.shape[0], self.chains.device
        rows = torch.stack([torch.randperm(self.replay.rows, generator=draw)[:count] for draw in draws])
        fresh = torch.cat([torch.rand(count, generator=draw) < self.replay.fresh for draw in draws])
        uniform = self.outward(torch.cat([self._uniform(count, draw) for draw in draws]))
        self.rows = rows.to(device)
        old = self.chains[self.members, self.rows].flatten(0, 1)
        return torch.where(per_sample(fresh, uniform).to(device), uniform.to(device), old)

    def put_back(self, ends: Tensor) -> None:
        """Keep where these chains ended, `(M B, *)`."""
        self.chains[self.members, self.rows] = ends.view(len(self.seeds), *self.shape)

    def _uniform(self, n: int, generator: torch.Generator) -> Tensor:
        return 2 * torch.rand(n, *self.shape[1:], generator=generator) - 1
