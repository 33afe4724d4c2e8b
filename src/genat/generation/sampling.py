"""Images from seeds, and the way from one start to another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import torch
from torch import Tensor

from genat.ascent import Climb, Detector
from genat.balls import Ball, L2Ball, per_sample
from genat.generation.chunks import CHUNK, Climbing, climb_in_chunks, logits_in_chunks
from genat.sources import Source
from genat.training.devices import gathered

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What was made, and from what.

    Attributes:
        starts: `(N, *)` what the climbs began from.
        images: `(N, *)` where they ended.
        trajectory: `(steps + 1, N, *)` the way, where asked for, else None.
        passes: forward and backward passes spent on each sample; with `stop_at` or `Rejection`, the most spent on one.
        climbs: how many were made in all: one a sample, and with `Rejection` more.
    """

    starts: Tensor
    images: Tensor
    trajectory: Tensor | None
    passes: int
    climbs: int


def samples_of(starts: Tensor, end: Climb) -> Samples:
    """Return a climb's end beside the starts it began from."""
    return Samples(starts, end.points, end.trajectory, int(end.passes.max()), len(starts))


@dataclass(frozen=True, slots=True)
class Rejection:
    r"""Which climbs `sample` keeps, so that samples come as often as the target has them.

    The optimal detector against an adversary of density q is :math:`D = p / (p + q)`, and its logit
    :math:`f = \log p / q`: high where climbs arrive too seldom, low where they crowd. So a climb that ends at x is
    kept with probability

    .. math:: \min(1, e^{f(x) - c})

    and what is kept has the density p wherever f does not exceed the ceiling c. A seed whose climb is refused draws
    another start. The adversary that the detector has learned is that of the end of training: the argument is for its
    number of steps and their size, and holds as far as the detector is optimal, which is to be measured.

    Args:
        ceiling: c, a logit that few samples exceed, such as the 95 % quantile of held-out target data; the higher, the
            more climbs are refused.
        tries: the most climbs a sample, at least 1. Where all are refused, the one of the highest logit is kept.

    Raises:
        ValueError: where the ceiling is not finite or tries is below 1.

    References:
        Discriminator Rejection Sampling (Azadi, Olsson, Darrell, Goodfellow, Odena, 2019), for the samples of a GAN
        https://arxiv.org/abs/1810.06758

    Example:
        Half of the starts are at 0 and half at 1, where the detector says that the target has three times as much.

        >>> from genat.sources import Samples as Points
        >>> detector = lambda x: math.log(3) * x[:, 0]
        >>> starts, seeds = Points(torch.tensor([[0.0], [1.0]])), range(2000)
        >>> made = sample(detector, starts, seeds=seeds, steps=0, step_size=1.0, rejection=Rejection(math.log(3)))
        >>> round(made.images.mean().item(), 2), round(made.climbs / 2000, 1)
        (0.75, 1.5)
    """

    ceiling: float
    tries: int = 8

    def __post_init__(self) -> None:
        if not math.isfinite(self.ceiling):
            raise ValueError(f"expected a finite ceiling, got {self.ceiling}")
        if self.tries < 1:
            raise ValueError(f"expected tries to be at least 1, got {self.tries}")

    def keeps(self, logits: Tensor, chances: Tensor) -> Tensor:
        """Return which climbs are kept, `(N,)` bool, by their logits and a uniform draw for each."""
        return chances < (logits.double() - self.ceiling).exp()


def draw_starts(outside: Source, *, seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Draw one start a seed from the outside data; a start depends on its seed alone.

    Args:
        outside: where the starts come from.
        seeds: one a start, at least 0; equal seeds give equal starts.
        device: where the starts go.

    Returns:
        `(N, *)` float32 in the order of the seeds.

    Raises:
        ValueError: where seeds are empty or negative.

    Example:
        >>> from genat.sources import Box
        >>> several = draw_starts(Box(2), seeds=[3, 8])
        >>> bool((several[1] == draw_starts(Box(2), seeds=[8])[0]).all())
        True
    """
    return _drawn(outside, _generators(seeds)).to(device)


def _generators(seeds: Sequence[int]) -> list[torch.Generator]:
    if len(seeds) == 0:
        raise ValueError("expected at least one seed, got none")
    if min(seeds) < 0:
        raise ValueError(f"expected seeds of at least 0, got {min(seeds)}")
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _drawn(outside: Source, generators: Sequence[torch.Generator]) -> Tensor:
    return torch.cat([outside.draw(1, generator=generator) for generator in generators])


def sample(
    detector: Detector,
    outside: Source,
    *,
    seeds: Sequence[int],
    ball: Ball = L2Ball(),
    rejection: Rejection | None = None,
    device: torch.device | str = "cpu",
    fabric: "Fabric | None" = None,
    **climbing: Unpack[Climbing],
) -> Samples:
    """Generate one sample a seed: draw its start from the outside data and climb.

    Sample i depends on `seeds[i]` alone, to the last bit on one machine: each seed has a generator of its own, and the
    climb runs in chunks of one size, the last one filled up, so that no kernel sees another shape when more or fewer
    are asked for.

    Args:
        detector: `(N, *) -> (N,)`; of several classes, `one_of(detector, k)` is class k's.
        outside: where the starts come from.
        seeds: one a sample; equal seeds give equal samples.
        ball: where each may go, centred on its start.
        rejection: which climbs are kept; None keeps each seed's first.
        device: where the detector is.
        fabric: a launched Lightning Fabric, whose processes share the seeds; each returns all samples, to the bit what
            one process makes. None is this process alone.
        climbing: see `Climbing`; `steps` and `step_size` are needed.

    Returns:
        Starts and images in the order of the seeds.

    Raises:
        ValueError: where seeds are empty or negative, or as `climb_in_chunks`.

    Example:
        >>> from genat.sources import Box
        >>> toward_one = lambda x: -(x - 1.0).square().sum(1)
        >>> made = sample(toward_one, Box(2), seeds=range(3), steps=20, step_size=0.1)
        >>> made.images.round(decimals=1)
        tensor([[1., 1.], [1., 1.], [1., 1.]])
        >>> alone = sample(toward_one, Box(2), seeds=[2], steps=20, step_size=0.1)
        >>> bool((alone.images == made.images[2]).all())
        True
    """
    generators = _generators(seeds)
    if fabric is not None:
        generators = generators[fabric.global_rank % len(generators) :: fabric.world_size]
    if rejection is not None:
        made = _kept(detector, outside, generators, rejection, ball=ball, device=device, climbing=climbing)
    else:
        starts = _drawn(outside, generators).to(device)
        made = samples_of(starts, climb_in_chunks(detector, starts, ball=ball, **climbing))
    return made if fabric is None else _all(made, len(seeds), fabric)


def _all(own: Samples, n: int, fabric: "Fabric") -> Samples:
    """Return the n samples of all processes, of which each has made every W-th."""
    rank, count = fabric.global_rank, fabric.world_size
    most = math.ceil(n / count)

    def whole(values: Tensor) -> Tensor:
        filled = torch.cat([values, values[-1:].expand(most - len(values), *values.shape[1:])])
        return gathered(filled, fabric).transpose(0, 1).flatten(0, 1)[:n]

    counts = torch.tensor([own.passes, own.climbs if rank < n else 0], device=own.images.device)
    passes, climbs = gathered(counts, fabric).T
    way = None if own.trajectory is None else whole(own.trajectory.movedim(0, 1)).movedim(0, 1)
    return Samples(whole(own.starts), whole(own.images), way, int(passes.max()), int(climbs.sum()))


def _kept(
    detector: Detector,
    outside: Source,
    generators: Sequence[torch.Generator],
    rejection: Rejection,
    *,
    ball: Ball,
    device: torch.device | str,
    climbing: Climbing,
) -> Samples:
    """Climb once for every seed, and again for those whose climb is refused: start, chance, start, chance, ..."""
    tell, chunk = climbing.get("callback"), climbing.get("chunk", CHUNK)
    settings = Climbing(**{**climbing, "callback": None})
    waiting, spent, climbs = torch.arange(len(generators)), torch.zeros(len(generators), dtype=torch.int64), 0
    kept: dict[str, Tensor] = {}
    for _ in range(rejection.tries):
        own = [generators[row] for row in waiting]
        starts = _drawn(outside, own).to(device)
        end = climb_in_chunks(detector, starts, ball=ball, **settings)
        logits = logits_in_chunks(detector, end.points, chunk=chunk)
        tried = {"starts": starts, "images": end.points, "logits": logits}
        if end.trajectory is not None:
            tried["way"] = end.trajectory.movedim(0, 1)
        climbs += len(waiting)
        spent[waiting] += end.passes.cpu() + 1  # the look at its end
        accepted = rejection.keeps(logits.cpu(), torch.cat([torch.rand(1, generator=one) for one in own]))
        if not kept:
            kept = {name: values.clone() for name, values in tried.items()}
        else:
            better = accepted | (logits > kept["logits"][waiting]).cpu()
            for name, values in tried.items():
                kept[name][waiting[better]] = values[better]
        waiting = waiting[~accepted]
        if tell is not None:
            tell(len(generators) - len(waiting), len(generators))
        if len(waiting) == 0:
            break
    way = kept["way"].movedim(0, 1) if "way" in kept else None
    return Samples(kept["starts"], kept["images"], way, int(spent.max()), climbs)


def interpolate(
    detector: Detector, ends: Tensor, *, frames: int = 8, ball: Ball = L2Ball(), **climbing: Unpack[Climbing]
) -> Samples:
    r"""Go from one image to another in equal steps, and climb from each image between.

    .. math:: x_i = (1 - t_i)\,a + t_i\,b, \qquad t_i = i / (F - 1), \quad i = 0, \dots, F - 1

    The ends may be the starts of two seeds, `draw_starts(outside, seeds=(3, 8))`, or any two images, results of other
    verbs among them. Between them the way is straight. The great circle on which latent vectors of other generators are
    interpolated keeps the norm that a Gaussian vector has; starts are pictures in a box, which has no centre to turn
    about, and only the straight line stays in the box without clipping. It pales where two pictures are mixed half and
    half; the climb gives the contrast back.

    Args:
        detector: `(N, *) -> (N,)`.
        ends: `(2, *)`, a and b.
        frames: F, at least 2.
        ball: where each frame may go, centred on its mixture.
        climbing: see `Climbing`; `steps` and `step_size` are needed.

    Returns:
        The mixtures as starts, and where the climbs ended: `(F, *)`. The first and the last are to the bit what
        climbing from the ends themselves gives, such as the samples of two seeds.

    Raises:
        ValueError: where there are not two ends, fewer than 2 frames, or as `climb_in_chunks`.

    References:
        Sampling Generative Networks (White, 2016) https://arxiv.org/abs/1609.04468

    Example:
        >>> toward_one = lambda x: -(x[:, 0] - 1.0).square()
        >>> ends = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        >>> interpolate(toward_one, ends, frames=3, steps=5, step_size=0.1).images
        tensor([[0.5000, 0.0000], [0.5000, 0.5000], [0.5000, 1.0000]])
    """
    if ends.ndim < 2 or len(ends) != 2:
        raise ValueError(f"expected two ends, (2, *), got {tuple(ends.shape)}")
    if frames < 2:
        raise ValueError(f"expected at least 2 frames, got {frames}")
    share = torch.linspace(0, 1, frames, dtype=ends.dtype, device=ends.device)
    starts = torch.lerp(ends[:1], ends[1:], per_sample(share, ends))
    return samples_of(starts, climb_in_chunks(detector, starts, ball=ball, **climbing))
