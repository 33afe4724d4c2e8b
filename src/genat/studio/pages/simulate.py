"""The tab in which a training in two dimensions is watched."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from genat.studio.logic import simulating
from genat.studio.pages.shared import AFTER, REFUSED, TRAINING, output, refused, status

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

    def train(toy: str, how: str, number: float | None, budget: float | None) -> Iterator[tuple[Any, str]]:
        line = ""
        try:
            yield gr.skip(), "training; where another one goes on, this one waits for it"
            for frame in simulating.simulate(toy, how, seed=number, passes=budget):
                line = frame.line
                yield simulating.page(frame), line
            yield gr.skip(), f"done, {line}"
        except REFUSED as error:
            yield gr.skip(), refused(error)

    training = go.click(
        train, [name, trainer, seed, passes], [shown, said], show_progress="hidden", concurrency_id=TRAINING
    )
    cancel.click(lambda: "cancelled", None, said, cancels=[training], **AFTER)
