"""The tab in which several runs climb side by side."""

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from genat.studio.logic import Opened, comparing
from genat.studio.logic.climbing import MOST_STEPS, Way
from genat.studio.pages.shared import AFTER, CLIMBING, REFUSED, output, refused, status, typed


def tab(opened: Mapping[str, Opened]) -> None:
    """Put the tab's parts where Gradio builds, and say what each does."""
    names = list(opened)
    ways = gr.State((), time_to_live=3600)
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            which = gr.CheckboxGroup(names, value=names[: comparing.MOST_RUNS], label="Runs, at most 6")
            with gr.Row():
                seed = gr.Number(0, label="Seed of the starts", precision=0, min_width=140)
                steps = gr.Textbox(
                    label=f"Steps, 1 to {MOST_STEPS}", placeholder="empty: each run's own", min_width=140
                )
                strength = gr.Slider(0.01, 1, 1, step=0.01, label="Strength", min_width=160)
            with gr.Row():
                go, cancel = gr.Button("Climb with each", variant="primary"), gr.Button("Cancel")
            said = status("compare")
        with gr.Column(scale=2, min_width=260):
            picture = gr.File(label="A picture file, in the place of the seed", type="filepath", height=170)
    shown, takes = output("compare"), output("compare-takes")

    def move(
        chosen: list[str], number: float | None, path: str | None, count: str, share: float
    ) -> Iterator[dict[Any, Any]]:
        try:
            yield {said: "climbing", takes: ""}
            seen: tuple[Way, ...] = ()
            for seen in comparing.compare(
                opened, chosen, seed=number, picture=path, steps=typed(count, "a number of steps"), strength=share
            ):
                done = max(len(way.logits) for way in seen) - 1
                yield {ways: seen, shown: comparing.page(seen), said: f"step {done}"}
            yield {said: f"done: {len(seen)} runs", takes: comparing.settings_of(seen, opened)}
        except REFUSED as error:
            yield {said: refused(error)}

    def stop(seen: tuple[Way, ...]) -> dict[Any, Any]:
        return {said: "cancelled", takes: comparing.settings_of(seen, opened) if seen else ""}

    moving = go.click(
        move,
        [which, seed, picture, steps, strength],
        [ways, shown, said, takes],
        show_progress="hidden",
        concurrency_id=CLIMBING,
    )
    cancel.click(stop, ways, [said, takes], cancels=[moving], **AFTER)
