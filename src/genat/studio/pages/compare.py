"""The tab in which several runs climb side by side."""

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from genat.studio.logic import Opened, comparing
from genat.studio.logic.climbing import MOST_STEPS, Way
from genat.studio.pages.shared import CLIMBING, Work, output, status, typed, works


def tab(opened: Mapping[str, Opened]) -> None:
    """Put the tab's parts where Gradio builds, and say what each does."""
    names = list(opened)
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

    def move(work: Work, given: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        yield {said: "climbing", takes: ""}
        seen: tuple[Way, ...] = ()
        for seen in comparing.compare(
            opened,
            given[which],
            seed=given[seed],
            picture=given[picture],
            steps=typed(given[steps], "a number of steps"),
            strength=given[strength],
        ):
            yield {shown: comparing.page(seen), said: f"step {max(len(way.logits) for way in seen) - 1}"}
            if work.cancelled:
                break
        yield {said: f"{work.over()}: {len(seen)} runs", takes: comparing.settings_of(seen, opened)}

    inputs, outputs = {which, seed, picture, steps, strength}, [shown, said, takes]
    works((go, cancel), move, inputs, outputs, said=said, queue=CLIMBING)
