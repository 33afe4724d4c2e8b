"""Several runs that climb at once: from one seed, each from its own outside data, or from one picture."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from genat import plots
from genat.studio.logic import climbing, markup, sheets
from genat.studio.logic.climbing import Way
from genat.studio.logic.opened import Opened

MOST_RUNS = 6
_SHOWN, _EVERY = 160, 2  # pixels, and steps from picture to picture


def compare(
    opened: Mapping[str, Opened],
    names: Sequence[str],
    *,
    seed: float | None = None,
    picture: str | Path | None = None,
    steps: float | None = None,
    strength: float | None = 1.0,
) -> Generator[tuple[Way, ...], None, None]:
    """Climb with several runs side by side, a step each in turn; closing the iterator ends all.

    Args:
        opened: the runs there are.
        names: of those that climb, at most 6.
        seed: of each run's own outside data; not looked at where there is a picture.
        picture: an image file of any size.
        steps: for all; None is each run's own.
        strength: share of the full way.

    Yields:
        The ways so far, in the order of the names: every second step, and the last.

    Raises:
        ValueError: where no run or too many are named, the picture cannot be read, or a setting is out of range.
    """
    if not 0 < len(names) <= MOST_RUNS:
        raise ValueError(f"expected 1 to {MOST_RUNS} runs, got {len(names) or 'none'}")
    ways, moves = [], []
    with ExitStack() as stack:
        for one in [opened[name] for name in names]:
            if picture is not None:
                sheet, _ = sheets.uploaded(picture, one)
            else:
                sheet = sheets.drawn(one, "outside", seed)
            settings = climbing.asked(one, steps=steps, step_size=None, strength=strength, kind=None)
            ways.append(climbing.begun(one, sheet, settings))
            moves.append(stack.enter_context(closing(climbing.climb(one, sheet, settings))))
        count, moved = 0, True
        while moved:
            moved = False
            for i, move in enumerate(moves):
                moment = next(move, None)
                if moment is not None:
                    ways[i], moved = ways[i].then(moment), True
            if not moved or count % _EVERY == 0:
                yield tuple(ways)
            count += 1


def page(ways: Sequence[Way]) -> str:
    """Return the runs side by side: where each began, where it is, its logit: HTML."""
    columns = []
    for way in ways:
        if not way.logits:
            continue
        at = len(way.logits) - 1
        first, here = (plots.single(way.pixels[i].float() / 255) for i in (0, at))
        words = f"step {at} of {way.settings.steps}, logit {way.logits[at]:.3f}"
        if way.threshold is not None:
            words += ", in distribution" if way.logits[at] >= way.threshold else ", out of distribution"
        drawing = markup.curve(way.logits, steps=way.settings.steps, at=at, threshold=way.threshold)
        columns.append(
            f'<section class="run"><h3>{markup.escape(way.run)}</h3><div class="stage">'
            + markup.figure(markup.image(first, f"the start for {way.run}", side=_SHOWN), "start")
            + markup.figure(markup.image(here, f"{way.run} at {words}", side=_SHOWN), words)
            + f"</div><figure>{drawing}</figure></section>"
        )
    return f'<div class="beside">{"".join(columns)}</div>'


def settings_of(ways: Sequence[Way], opened: Mapping[str, Opened]) -> str:
    """Return the links that save each run's settings and its picture: HTML."""
    links = []
    for way in ways:
        name = Path(way.run).name
        links.append(
            markup.download(
                climbing.record(way, opened[way.run]).encode(), markup.JSON, f"{name}.json", f"{way.run} (JSON)"
            )
        )
        end = plots.single(way.pixels[-1].float() / 255)
        links.append(markup.download(end, markup.PNG, f"{name}.png", f"{way.run} (PNG)"))
    return f'<div class="takes">{"".join(links)}</div>'
