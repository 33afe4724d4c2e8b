"""A training in two dimensions, watched while it goes on."""

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

from torch import Tensor

from genat.simulations import panels
from genat.simulations.lineup import TRAINERS, trainers
from genat.simulations.run import toys
from genat.simulations.watch import Watch
from genat.sources.toy import TOYS
from genat.studio.logic import fields, markup
from genat.studio.logic.sheets import check_seed
from genat.studio.logic.streaming import stream

DISTRIBUTIONS = tuple(name for name in TOYS if name != "blobs")
"""Those in two dimensions."""
NAMES = tuple(TRAINERS)
LEAST, MOST = 20_000, 3_300_000
_SEED_END = 2**31
_alone = threading.Lock()  # PyTorch's global generator, which seeds networks and layers, is the process's own


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What a training looks like at a moment.

    Attributes:
        iteration, iterations: done, and of the whole training.
        field, points: PNGs of the logit and of generated points.
        top: the greatest value of the logit's sigmoid.
        share: of the generated points, as near to the target as its own.
        line: all of it in words.
    """

    iteration: int
    iterations: int
    field: bytes
    points: bytes
    top: float
    share: float
    line: str


def simulate(
    name: str,
    trainer: str,
    *,
    seed: float | None,
    passes: float | None,
    ends: Callable[[], bool] = lambda: False,
) -> Generator[Frame, None, None]:
    """Train on a distribution from a seed, and yield what is seen at about thirty moments.

    One training goes on at a time in a process, so that its seed alone decides what it does; another waits. Closing the
    iterator ends the training at its next moment.

    Args:
        name: of the distribution.
        trainer: by name.
        seed: of networks and draws.
        passes: forward and backward passes to spend, 20,000 to 3,300,000.
        ends: asked ten times a second; where it is true, the iterator ends.

    Raises:
        ValueError: for an unknown name, a seed or passes out of range, or where a trainer's package is absent.
    """
    if passes is None or not LEAST <= passes <= MOST:
        raise ValueError(
            f"expected {LEAST:,} to {MOST:,} passes, got {'nothing' if passes is None else f'{passes:,g}'}"
        )
    number = check_seed(seed)
    if number >= _SEED_END:
        raise ValueError(f"expected a seed below {_SEED_END}, got {number}")
    if name not in DISTRIBUTIONS:
        raise ValueError(f"expected a distribution among {', '.join(DISTRIBUTIONS)}, got {name}")
    toy, how = toys([name])[name], trainers([trainer], budget=passes)[trainer]

    def work(tell: Callable[[Frame], None]) -> None:
        with _alone:
            paint_field, paint_points = fields.painter(toy)
            logits: list[Tensor] = []
            watch = Watch(toy, how.iterations, show=logits.append)

            def scatter(points: Tensor) -> None:
                record = watch.history[-1]
                done, auroc = record["iteration"], record["auroc"][0]
                share = float(panels.aim(toy, points).double().mean())
                line = (
                    f"step {done} of {how.iterations}: {share:.0%} of {len(points)} generated points as near to the "
                    f"target as its own, adversarial AUROC {auroc:.3f}"
                )
                field = logits.pop()
                pictures = paint_field(field), paint_points(points)
                tell(Frame(done, how.iterations, *pictures, panels.brightest([field]), share, line))

            watch.scatter = scatter
            how.train(toy, seeds=[number], device="cpu", watch=watch)

    yield from stream(work, ends=ends)


def page(frame: Frame) -> str:
    """Return a frame as HTML."""
    field = f"\u03c3(logit), black at 0, yellow at {frame.top:.2g}; the target is within the white line"
    points = "generated: blue discs on the target, which is grey, red crosses elsewhere"
    pictures = markup.figure(
        markup.image(frame.field, f"the field of the logit at step {frame.iteration}: {field}", side=fields.SIDE), field
    ) + markup.figure(
        markup.image(frame.points, f"{points}; {frame.share:.0%} are on the target", side=fields.SIDE), points
    )
    return f'<div class="stage">{pictures}</div>'
