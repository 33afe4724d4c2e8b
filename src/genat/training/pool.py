"""Where climbs that go on from one iteration to the next are meanwhile."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from genat.ascent import Moments
from genat.balls import per_sample
from genat.recipe import Replay
from genat.training.seeding import step_generator

_NEVER = torch.iinfo(torch.int64).max  # steps of a row that holds no climb yet: it has gone them all


class Pool:
    """The climbs under way of M members; what an iteration takes it puts back.

    Every process holds them all, and takes its share of an iteration's.

    Args:
        replay: how many there are, and how far they go at once.
        batch_size: of a member, over all processes together.
        shape: of one sample.
        seeds: one a member.
        device: where the climbs are kept.
        moments: whether Adam's are kept with them.
        process: the number of this one, and of how many.

    Attributes:
        points: `(M, R, *)` where they are.
        steps: `(M, R)` how far they have gone.
        moments: Adam's, `(M, R, *)` each; none for other rules.
    """

    def __init__(
        self,
        replay: Replay,
        *,
        batch_size: int,
        shape: tuple[int, ...],
        seeds: Sequence[int],
        device: torch.device,
        moments: bool = False,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.burst, self.batch_size, self.seeds = replay.burst, batch_size, seeds
        share = batch_size // process[1]
        self.own = slice(process[0] * share, (process[0] + 1) * share)
        self.points = torch.zeros(len(seeds), replay.rows, *shape, device=device)
        self.steps = torch.full((len(seeds), replay.rows), _NEVER, device=device)
        self.moments = tuple(torch.zeros_like(self.points) for _ in range(2 if moments else 0))

    def starts(self, iteration: int, fresh: Tensor, *, limit: int) -> tuple[Tensor, Moments | None]:
        """Return where this process's climbs go on from, `(M N, *)`, and Adam's moments there, where they are kept.

        Climbs that have come to their end give their places to new ones.

        Args:
            iteration: which.
            fresh: `(M N, *)` outside data.
            limit: how many steps a climb has in all.
        """
        rows = self._rows(iteration)
        self.steps.scatter_(1, rows, self._gone(rows).where(self._gone(rows) < limit, 0))
        rows = rows[:, self.own]
        gone = self._gone(rows).flatten()
        new = per_sample(gone == 0, fresh)
        kept = [torch.where(new, 0, _at(moment, rows)) for moment in self.moments]
        moments = Moments(kept[0], kept[1], gone) if kept else None
        return torch.where(new, fresh, _at(self.points, rows)), moments

    def put_back(self, iteration: int, ends: Sequence[Tensor], *, steps: int) -> None:
        """Keep where all climbs of an iteration have come to, after so many more steps.

        Args:
            iteration: which.
            ends: `(M B, *)` the points, and Adam's moments where they are kept.
            steps: how many.
        """
        rows = self._rows(iteration)
        members = torch.arange(len(rows), device=rows.device)[:, None]
        for kept, end in zip((self.points, *self.moments), ends, strict=True):
            kept[members, rows] = end.detach().view(*rows.shape, *end.shape[1:])
        self.steps.scatter_add_(1, rows, torch.full_like(rows, steps))

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs."""
        return {"points": self.points, "steps": self.steps} | dict(zip(("first", "second"), self.moments, strict=False))

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Stand where `state` was taken.

        Raises:
            ValueError: where it is of another pool, or there is none.
        """
        for name, own in self.state().items():
            found = state.get(name)
            if found is None or found.shape != own.shape or found.dtype != own.dtype:
                got = "none" if found is None else f"{found.dtype} {tuple(found.shape)}"
                raise ValueError(f"expected the checkpoint's climbs {name} of shape {tuple(own.shape)}, got {got}")
            own.copy_(found)

    def _rows(self, iteration: int) -> Tensor:
        """Return which climbs are an iteration's, `(M, B)`: a function of the seeds and its number."""
        draws = [step_generator(seed, iteration, "replay") for seed in self.seeds]
        count = self.steps.shape[1]
        rows = [torch.randperm(count, generator=draw)[: self.batch_size] for draw in draws]
        return torch.stack(rows).to(self.steps.device)

    def _gone(self, rows: Tensor) -> Tensor:
        return self.steps.gather(1, rows)


def _at(values: Tensor, rows: Tensor) -> Tensor:
    members = torch.arange(len(rows), device=rows.device)[:, None]
    return values[members, rows].flatten(0, 1)
