"""The verbs of generation on a run, each with what it began from and the way, to be shown."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from genat import assemble, generation
from genat.ascent import Climb
from genat.generation import Climbing, Samples
from genat.report.results import SHOWN_WAYS, Edited
from genat.runs import Run

_HOLE = 0.5  # the grey that what is hidden is shown in


def transformed(run: Run, images: Tensor, names: Sequence[str], *, how: Climbing) -> Edited:
    """Transform images `(N, C, H, W)`."""
    after = generation.transform(run.detector, images, **how).points
    ways = generation.transform(run.detector, images[:SHOWN_WAYS], **_with_way(how))
    return Edited("transform", names, images, after, _way(ways))


def masked(run: Run, image: Tensor, name: str, *, mask: Tensor, how: Climbing) -> Edited:
    """Let the pixels of one image `(1, C, H, W)` under a mask climb."""
    end = generation.edit(run.detector, image, mask=mask, **_alone(how))
    return Edited("mask", [name], image, end.points, _way(end))


def denoised(run: Run, image: Tensor, name: str, *, sigma: float | None, radius: float | None, how: Climbing) -> Edited:
    """Denoise one image `(1, C, H, W)`."""
    end = generation.denoise(run.detector, image, sigma=sigma, radius=radius, **_alone(how))
    return Edited("denoise", [name], image, end.points, _way(end))


def inpainted(run: Run, image: Tensor, *, mask: Tensor, seeds: Sequence[int], how: Climbing) -> Edited:
    """Complete one image `(1, C, H, W)` under a mask, once a seed; it is shown with the mask's pixels grey."""
    outside = assemble.starts(run.config, run.shape)
    made, way = _by_seeds(partial(generation.inpaint, run.detector, image, outside, mask=mask), seeds, how)
    before = image.masked_fill(mask, _HOLE).expand_as(made.images)
    return Edited("inpaint", _names(seeds), before, made.images, way)


def interpolated(run: Run, ends: Tensor | Sequence[int], *, frames: int, how: Climbing) -> Edited:
    """Go from one image to another, `(2, C, H, W)`, or from the start of one seed to that of another."""
    if not isinstance(ends, Tensor):
        ends = generation.draw_starts(assemble.starts(run.config, run.shape), seeds=ends)
    made = generation.interpolate(run.detector, ends, frames=frames, **_with_way(how))
    names = [f"frame-{i:02d}" for i in range(frames)]
    return Edited("interpolate", names, made.starts, made.images, _way(made))


def composed(
    run: Run,
    others: Sequence[Run],
    begin: Tensor | Sequence[int],
    *,
    name: str = "",
    weights: Sequence[float] | None = None,
    how: Climbing,
) -> Edited:
    """Climb the weighted sum of several runs' logits from one image `(1, C, H, W)` that has a name, or from seeds.

    Raises:
        ValueError: where the runs' images differ in shape, or the weights do not fit.
    """
    for other in others:
        if other.shape != run.shape:
            raise ValueError(f"{other.folder}: expected a run for images {run.shape}, got one for {other.shape}")
    detector = generation.compose([run.detector, *(other.detector for other in others)], weights=weights)
    if isinstance(begin, Tensor):
        end = generation.transform(detector, begin, **_alone(how))
        return Edited("compose", [name], begin, end.points, _way(end))
    outside = assemble.starts(run.config, run.shape)
    made, way = _by_seeds(partial(generation.sample, detector, outside), begin, how)
    return Edited("compose", _names(begin), made.starts, made.images, way)


def _by_seeds(verb: Callable[..., Samples], seeds: Sequence[int], how: Climbing) -> tuple[Samples, Tensor]:
    """Return all results, and the way of the first few again: that of all would not fit into memory."""
    return verb(seeds=seeds, **how), _way(verb(seeds=seeds[:SHOWN_WAYS], **_with_way(how)))


def _names(seeds: Sequence[int]) -> list[str]:
    return [f"seed-{seed:05d}" for seed in seeds]


def _with_way(how: Climbing) -> Climbing:
    return Climbing(**{**how, "trajectory": True})


def _alone(how: Climbing) -> Climbing:
    """Return how one image climbs that has no company: in a chunk of one, which costs a sixteenth."""
    return Climbing(**{**how, "trajectory": True, "chunk": 1})


def _way(made: Climb | Samples) -> Tensor:
    assert made.trajectory is not None
    return made.trajectory[:, :SHOWN_WAYS]
