"""The tab in which a picture climbs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from genat.generation import box_mask
from genat.studio.logic import Opened, climbing, sheets
from genat.studio.logic.climbing import MOST_STEPS, WHOLE, Way
from genat.studio.logic.sheets import Kind
from genat.studio.pages.canvas import canvas
from genat.studio.pages.shared import (
    CLIMBING,
    QUICK,
    REFUSED,
    Work,
    output,
    refused,
    runs_choice,
    status,
    told,
    works,
)

_KINDS: dict[str, Kind] = {"outside data": "outside", "uniform noise": "noise"}


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What the tab is made of; `way` is the climb that its person sees."""

    way: gr.State
    run: gr.Dropdown
    sheet: gr.HTML
    kind: gr.Dropdown
    seed: gr.Number
    draw: gr.Button
    blank: gr.Button
    picture: gr.File
    box: gr.Textbox
    mark: gr.Button
    steps: gr.Slider
    step_size: gr.Number
    strength: gr.Slider
    of_class: gr.Dropdown
    go: gr.Button
    cancel: gr.Button
    said: gr.HTML
    shown: gr.HTML
    at: gr.Slider
    takes: gr.HTML


def tab(opened: Mapping[str, Opened]) -> None:
    """Put the tab's parts where Gradio builds, and say what each does."""
    parts = _laid_out(opened)
    _choose(parts, opened)
    _begin(parts, opened)
    _move(parts, opened)


def _laid_out(opened: Mapping[str, Opened]) -> _Parts:
    first = next(iter(opened.values()))
    own = climbing.asked(first, steps=None, step_size=None, strength=None, kind=None)
    made: dict[str, Any] = {"way": gr.State(None, time_to_live=3600)}
    with gr.Row():
        with gr.Column(scale=2, min_width=340):
            made["run"] = runs_choice(list(opened))
            made["sheet"] = canvas(_first_sheet(first))
            with gr.Row():
                made["kind"] = gr.Dropdown(
                    list(_KINDS), value=_first_kind(first), label="Draw a start from", min_width=140
                )
                made["seed"] = gr.Number(0, label="Seed", precision=0, min_width=90)
            with gr.Row():
                made["draw"], made["blank"] = gr.Button("Draw this start", size="sm"), gr.Button("Blank", size="sm")
            made["picture"] = gr.File(label="Or a picture file", type="filepath", height=150)
            made["box"] = gr.Textbox(label="A box that may move: x0,y0,x1,y1", placeholder="2,2,6,6")
            made["mark"] = gr.Button("Mark the box", size="sm")
        with gr.Column(scale=3, min_width=420):
            with gr.Row():
                made["steps"] = gr.Slider(1, MOST_STEPS, own.steps, step=1, label="Steps", min_width=180)
                made["step_size"] = gr.Number(own.step_size, label="Step size, pixels in [0, 1]", min_width=140)
            with gr.Row():
                label = "Strength: share of the full way"
                made["strength"] = gr.Slider(0.01, 1, 1, step=0.01, label=label, min_width=180)
                made["of_class"] = gr.Dropdown(**_classes(first), label="Towards", min_width=140)
            with gr.Row():
                made["go"], made["cancel"] = gr.Button("Climb", variant="primary"), gr.Button("Cancel")
            made["said"], made["shown"] = status("climb"), output("climb")
            made["at"] = gr.Slider(0, 1, 0, step=1, label="Step shown", interactive=False)
            made["takes"] = output("climb-takes")
    return _Parts(**made)


def _choose(parts: _Parts, opened: Mapping[str, Opened]) -> None:
    """Say what another run changes."""

    def change(name: str) -> dict[Any, Any]:
        one = opened[name]
        its = climbing.asked(one, steps=None, step_size=None, strength=None, kind=None)
        return {
            parts.sheet: _first_sheet(one).dump(),
            parts.kind: _first_kind(one),
            parts.seed: 0,
            parts.steps: its.steps,
            parts.step_size: its.step_size,
            parts.of_class: gr.Dropdown(**_classes(one)),
            parts.said: "",
        }

    changed = [parts.sheet, parts.kind, parts.seed, parts.steps, parts.step_size, parts.of_class, parts.said]
    parts.run.change(change, parts.run, changed, **QUICK)


def _begin(parts: _Parts, opened: Mapping[str, Opened]) -> None:
    """Say where a start comes from, and what may move."""

    def drawn(name: str, source: str, number: float | None) -> str:
        return sheets.drawn(opened[name], _KINDS[source], number).dump()

    def marked(name: str, text: str, corners: str) -> str:
        return _marked(opened[name], text, corners)

    def take(name: str, path: str | None) -> tuple[Any, str]:
        if path is None:
            return gr.skip(), ""
        try:
            loaded, notes = sheets.uploaded(path, opened[name])
        except REFUSED as error:
            return gr.skip(), refused(error)
        return loaded.dump(), f"{escape(Path(path).name)}: {', '.join(notes) or 'as it is'}"

    places = [parts.sheet, parts.said]
    gr.on([parts.draw.click, parts.seed.submit], told(drawn), [parts.run, parts.kind, parts.seed], places, **QUICK)
    gr.on([parts.mark.click, parts.box.submit], told(marked), [parts.run, parts.sheet, parts.box], places, **QUICK)
    parts.blank.click(lambda name: sheets.blank(opened[name].run.shape).dump(), parts.run, parts.sheet, **QUICK)
    parts.picture.change(take, [parts.run, parts.picture], places, **QUICK)


def _move(parts: _Parts, opened: Mapping[str, Opened]) -> None:
    """Say how a climb goes, ends and is looked at."""

    def move(work: Work, given: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        one = opened[given[parts.run]]
        begin = sheets.read(given[parts.sheet], one.run.shape)
        how = climbing.asked(
            one,
            steps=given[parts.steps],
            step_size=given[parts.step_size],
            strength=given[parts.strength],
            kind=given[parts.of_class],
        )
        seen = climbing.begun(one, begin, how)
        yield {parts.way: seen, parts.said: "climbing", parts.takes: "", parts.at: gr.Slider(interactive=False)}
        for moment in climbing.climb(one, begin, how):
            seen = seen.then(moment)
            words = f"step {moment.step} of {how.steps}, logit {moment.logit:.3f}"
            yield {parts.way: seen, parts.shown: climbing.stage(seen, moment.step), parts.said: words}
            if work.cancelled:
                break
        yield over(seen, work.over())

    def over(seen: Way, word: str) -> dict[Any, Any]:
        last = len(seen.logits) - 1
        return {
            parts.said: f"{word} at step {last} of {seen.settings.steps}, logit {seen.logits[-1]:.3f}",
            parts.at: gr.Slider(maximum=max(last, 1), value=last, interactive=last > 0),
            parts.takes: climbing.takeaways(seen, opened[seen.run]),
        }

    def look(seen: Way | None, step: float) -> Any:  # noqa: ANN401 - HTML, or nothing new
        return gr.skip() if seen is None or not seen.logits else climbing.stage(seen, int(step))

    used: set[Block] = {parts.run, parts.sheet, parts.steps, parts.step_size, parts.strength, parts.of_class}
    changed = [parts.way, parts.shown, parts.said, parts.at, parts.takes]
    works((parts.go, parts.cancel), move, used, changed, said=parts.said, queue=CLIMBING)
    parts.at.input(look, [parts.way, parts.at], parts.shown, trigger_mode="always_last", **QUICK)


def _first_kind(opened: Opened) -> str:
    return next(iter(_KINDS)) if opened.starts is not None else list(_KINDS)[-1]


def _first_sheet(opened: Opened) -> sheets.Sheet:
    return sheets.drawn(opened, "outside" if opened.starts is not None else "noise", 0)


def _classes(opened: Opened) -> dict[str, Any]:
    return {"choices": [WHOLE, *opened.run.classes], "value": WHOLE, "visible": bool(opened.run.classes)}


def _marked(opened: Opened, text: str, corners: str) -> str:
    """Return a sheet with a box marked.

    Raises:
        ValueError: where the corners are no box within the picture.
    """
    sheet = sheets.read(text, opened.run.shape)
    try:
        left, top, right, bottom = (int(part) for part in corners.split(","))
    except ValueError:
        raise ValueError(f"expected four whole numbers x0,y0,x1,y1, got {corners!r}") from None
    more = box_mask((left, top, right, bottom), shape=opened.run.shape)[0]
    return sheets.Sheet(sheet.pixels, sheet.mask | more, sheet.origin).dump()
