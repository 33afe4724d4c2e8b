"""A climb that is watched step by step, and all that repeats it."""

import base64
import json
import math
import shlex
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from genat import generation, plots, shipped
from genat.ascent import Detector
from genat.generation import Climbing
from genat.studio.logic import markup
from genat.studio.logic.opened import Opened
from genat.studio.logic.sheets import Sheet, start
from genat.studio.logic.streaming import stream

MOST_STEPS = 256
WHOLE = "the whole target"
_SHOWN = 256  # pixels, the least width of a picture


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A point on the way.

    Attributes:
        step: how many were taken.
        image: `(C, H, W)` float32 on the CPU.
        logit: of the detector that is climbed.
    """

    step: int
    image: Tensor
    logit: float


@dataclass(frozen=True, slots=True)
class Settings:
    """How to climb.

    Attributes:
        steps: 1 to 256.
        step_size: of a step, pixels in [0, 1].
        strength: share of the full way, in (0, 1].
        kind: one of the run's classes; None is all of its target.
    """

    steps: int
    step_size: float
    strength: float = 1.0
    kind: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """What one climb has shown so far, for the page of one person.

    Attributes:
        run: the run's name.
        settings: of the climb.
        sheet: what it began from.
        pixels: `(C, H, W)` uint8, one a moment.
        logits: one a moment.
        threshold: the run's, where its logit is what is climbed; None elsewhere.
    """

    run: str
    settings: Settings
    sheet: Sheet
    pixels: tuple[Tensor, ...] = ()
    logits: tuple[float, ...] = ()
    threshold: float | None = None

    def then(self, moment: Moment) -> "Way":
        """Return the way with one moment more."""
        return replace(self, pixels=(*self.pixels, plots.eight_bit(moment.image)), logits=(*self.logits, moment.logit))


def asked(
    opened: Opened, *, steps: float | None, step_size: float | None, strength: float | None, kind: str | None
) -> Settings:
    """Return settings as a person typed them; what is empty is the run's own.

    Raises:
        ValueError: where one is out of range, or there is no such class.

    Example:
        >>> asked(None, steps=1000, step_size=0.1, strength=1, kind=None)
        Traceback (most recent call last):
        ValueError: expected 1 to 256 steps, got 1000
    """
    if steps is not None and not (1 <= steps <= MOST_STEPS and float(steps).is_integer()):
        raise ValueError(f"expected 1 to {MOST_STEPS} steps, got {steps:g}")
    if step_size is not None and not 1e-9 <= step_size <= 1e3:
        raise ValueError(f"expected a step size above 0, pixels in [0, 1], got {step_size:g}")
    if strength is not None and not 0 < strength <= 1:
        raise ValueError(f"expected a strength above 0 and up to 1, got {strength:g}")
    named = None if kind in (None, "", WHOLE) else kind
    if named is not None:
        opened.run.class_index(named)
    own = opened.run.climbing(steps=None if steps is None else int(steps), step_size=step_size)
    return Settings(min(own["steps"], MOST_STEPS), own["step_size"], 1.0 if strength is None else strength, named)


def begun(opened: Opened, sheet: Sheet, settings: Settings) -> Way:
    """Return a way on which nothing is seen yet."""
    calibration = opened.run.calibration
    threshold = None if settings.kind is not None or calibration is None else calibration.threshold
    return Way(opened.name, settings, sheet, threshold=threshold)


def climb(opened: Opened, sheet: Sheet, settings: Settings) -> Generator[Moment, None, None]:
    """Climb from a sheet, with the pixels of its mask alone where there is one; closing the iterator ends the climb.

    Yields:
        The start and the point after every step: to the bit those of `genat.transform`, or `genat.edit` where there is
        a mask, in chunks of one.

    Raises:
        ValueError: where the sheet's seed has nothing to draw from.
        NonFiniteError: where the climb reached points that are not finite.
    """
    detector = _detector(opened, settings)
    begin = start(sheet, opened).to(next(opened.run.detector.parameters()).device)
    mask = sheet.mask[None].to(begin.device) if sheet.mask.any() else None
    verb = generation.transform if mask is None else partial(generation.edit, mask=mask)
    how = _how(opened, settings)
    yield from watched(detector, lambda seen: verb(seen, begin, **how).points)


def watched(detector: nn.Module, climb_with: Callable[[Detector], Tensor]) -> Generator[Moment, None, None]:
    """Yield the first sample's points as a climb asks a detector about them, and the one it returns.

    Args:
        detector: `(N, *) -> (N,)`, in eval mode and frozen.
        climb_with: takes the detector that is to be climbed and returns `(N, *)`.

    Example:
        >>> from torch import nn
        >>> sums = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False), nn.Flatten(0))
        >>> _ = nn.init.ones_(sums[1].weight.requires_grad_(False))
        >>> ascend = lambda seen: generation.transform(seen, torch.zeros(1, 2), steps=1, step_size=0.5, chunk=1).points
        >>> [(moment.step, round(moment.logit, 4)) for moment in watched(sums, ascend)]
        [(0, 0.0), (1, 0.7071)]
    """

    def work(tell: Callable[[Moment], None]) -> None:
        count = 0

        def seen(points: Tensor) -> Tensor:
            nonlocal count
            logits: Tensor = detector(points)
            tell(Moment(count, points[0].detach().cpu().clone(), logits[0].item()))
            count += 1
            return logits

        end = climb_with(seen)
        with torch.no_grad():
            tell(Moment(count, end[0].cpu().clone(), detector(end)[0].item()))

    yield from stream(work)


def record(way: Way, opened: Opened) -> str:
    """Return the settings of a climb as JSON: enough to repeat it, with the lines that do."""
    sheet, settings = way.sheet, way.settings
    begin: dict[str, Any] = {"picture": _png(plots.single(sheet.pixels.float() / 255))}
    if sheet.origin is not None:
        begin = {"drawn": sheet.origin[0], "seed": sheet.origin[1]}
    content = {
        "genat": version("genat"),
        "run": way.run,
        "digest": opened.run.digest,
        "start": begin,
        "mask": _png(mask_png(sheet)) if sheet.mask.any() else None,
        "class": settings.kind,
        "steps": settings.steps,
        "step_size": settings.step_size,
        "strength": settings.strength,
        "taken": len(way.logits) - 1,
        "logits": way.logits,
        "command": command(way),
        "python": python(way).splitlines(),
    }
    return json.dumps(content, indent=1) + "\n"


def command(way: Way) -> str | None:
    """Return what to type to repeat a climb, up to rounding; None where it takes Python.

    A picture is start.png and a mask mask.png, as the page saves them.
    """
    sheet, settings = way.sheet, way.settings
    options = ["--steps", str(settings.steps), "--step-size", repr(settings.step_size)]
    options += ["--strength", repr(settings.strength)]
    kind = [] if settings.kind is None else ["--class", settings.kind]
    if sheet.mask.any():
        if kind or sheet.origin is not None:
            return None
        return shlex.join(["genat", "edit", way.run, "start.png", "--mode", "mask", "--mask", "mask.png", *options])
    if sheet.origin is None:
        return shlex.join(["genat", "transform", way.run, "start.png", *options, *kind])
    if sheet.origin[0] == "noise":
        return None
    return shlex.join(["genat", "sample", way.run, "--seeds", str(sheet.origin[1]), "--tries", "1", *options, *kind])


def python(way: Way) -> str:
    """Return the lines that repeat a climb to the bit on one machine; `made` is where it ends, `(1, C, H, W)`."""
    sheet, settings = way.sheet, way.settings
    begin = 'start, _ = sources.load_image("start.png", shape=run.shape)'
    if sheet.origin is not None:
        kind, seed = sheet.origin
        source = "assemble.starts(run.config, run.shape)" if kind == "outside" else "sources.Noise(run.shape)"
        begin = f"start = generation.draw_starts({source}, seeds=[{seed}])"
    detector = "run.detector" if settings.kind is None else f"run.of_class({settings.kind!r})"
    verb, masked = "transform", ""
    if sheet.mask.any():
        verb, masked = "edit", 'mask=generation.load_mask("mask.png", shape=run.shape), '
    how = f"steps={settings.steps}, step_size={settings.step_size!r}, strength={settings.strength!r}"
    folder, homes = repr(way.run), "assemble, generation, sources"
    if way.run.startswith(shipped.PREFIX):
        name = way.run.removeprefix(shipped.PREFIX)
        folder, homes = f"shipped.folder({name!r})", "assemble, generation, shipped, sources"
    return "\n".join(
        (
            "import genat",
            f"from genat import {homes}",
            "",
            f"run = genat.load({folder})",
            begin,
            f"how = run.climbing({how})",
            f"made = genat.{verb}({detector}, start, {masked}chunk=1, **how).points",
            "",
        )
    )


def mask_png(sheet: Sheet) -> bytes:
    """Return a sheet's mask as a PNG: what is white may move."""
    return plots.single(sheet.mask[None].float())


def stage(way: Way, at: int) -> str:
    """Return a moment of a way beside its start, and the curve of the logit: HTML."""
    at = min(max(at, 0), len(way.logits) - 1)
    first, here = (way.pixels[i].float() / 255 for i in (0, at))
    logit = way.logits[at]
    words = f"step {at} of {way.settings.steps}, logit {logit:.3f}"
    if way.threshold is not None and math.isfinite(logit):
        words += ", in distribution" if logit >= way.threshold else ", out of distribution"
    pictures = markup.figure(markup.image(plots.single(first), "the start", side=_SHOWN), "start") + markup.figure(
        markup.image(plots.single(here), f"the picture at {words}", side=_SHOWN), words
    )
    drawing = markup.curve(way.logits, steps=way.settings.steps, at=at, threshold=way.threshold)
    return f'<div class="stage">{pictures}<figure>{drawing}<figcaption>the logit on the way</figcaption></figure></div>'


def takeaways(way: Way, opened: Opened) -> str:
    """Return the links that save a climb, and the lines that repeat it: HTML."""
    sheet = way.sheet
    shown = torch.stack(way.pixels).float() / 255
    files = [
        (plots.single(shown[-1]), markup.PNG, "climb.png", "Picture (PNG)"),
        (markup.moving(shown), markup.GIF, "climb.gif", "The way (GIF)"),
        (record(way, opened).encode(), markup.JSON, "climb.json", "Settings (JSON)"),
    ]
    if sheet.origin is None:
        files.append((plots.single(sheet.pixels.float() / 255), markup.PNG, "start.png", "Start (PNG)"))
    if sheet.mask.any():
        files.append((mask_png(sheet), markup.PNG, "mask.png", "Mask (PNG)"))
    links = "".join(markup.download(*file) for file in files)
    typed = command(way)
    lines = ("" if typed is None else f"$ {typed}\n\n") + python(way)
    summary = "The command and the Python lines that repeat it" if typed else "The Python lines that repeat it"
    return (
        f'<div class="takes">{links}</div><details><summary>{summary}</summary>'
        f'<pre tabindex="0">{markup.escape(lines)}</pre></details>'
    )


def _detector(opened: Opened, settings: Settings) -> nn.Module:
    return opened.run.detector if settings.kind is None else opened.run.of_class(settings.kind)


def _how(opened: Opened, settings: Settings) -> Climbing:
    how = opened.run.climbing(steps=settings.steps, step_size=settings.step_size, strength=settings.strength)
    return Climbing(**{**how, "chunk": 1})


def _png(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")
