"""The tab in which a training in two dimensions is watched."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from genat.studio.logic import simulating
from genat.studio.pages.shared import TRAINING, Work, output, status, works

_PASSES = 300_000


def tab() -> None:
    """Put the tab's parts where Gradio builds, and say what each does."""
    with gr.Row():
        name = gr.Dropdown(list(simulating.DISTRIBUTIONS), value="ring", label="Distribution", min_width=130)
        trainer = gr.Dropdown(list(simulating.NAMES), value="gat", label="Trainer", min_width=130)
        seed = gr.Number(0, label="Seed", precision=0, min_width=90)
        passes = gr.Slider(
            simulating.LEAST,
            simulating.MOST,
            _PASSES,
            step=10_000,
            label="Forward and backward passes",
            min_width=240,
        )
    with gr.Row():
        go, cancel = gr.Button("Train", variant="primary"), gr.Button("Cancel")
    said, shown = status("simulate"), output("simulate")

    def train(work: Work, given: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        yield {said: "training; where another one goes on, this one waits for it"}
        line = ""
        for frame in simulating.simulate(
            given[name], given[trainer], seed=given[seed], passes=given[passes], ends=lambda: work.cancelled
        ):
            line = frame.line
            yield {shown: simulating.page(frame), said: line}
        yield {said: f"{work.over()}, {line}" if line else work.over()}

    works((go, cancel), train, {name, trainer, seed, passes}, [shown, said], said=said, queue=TRAINING)
