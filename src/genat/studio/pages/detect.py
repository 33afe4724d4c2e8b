"""The tab in which images are judged."""

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from genat.studio.logic import Opened, detecting
from genat.studio.logic.detecting import Row
from genat.studio.pages.shared import CLIMBING, Work, output, runs_choice, status, told, typed, works


def tab(opened: Mapping[str, Opened]) -> None:
    """Put the tab's parts where Gradio builds, and say what each does."""
    rows = gr.State((), time_to_live=3600)
    judged = gr.State("")
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            run = runs_choice(list(opened))
            images = gr.File(label="Image files", file_count="multiple", type="filepath", height=180)
            level = gr.Textbox(
                label="Level of the p-value",
                placeholder="0.05",
                info="Out where the p-value is at most this; empty judges by the run's threshold.",
            )
            with gr.Row():
                go, cancel = gr.Button("Judge", variant="primary"), gr.Button("Cancel")
            said = status("detect")
        with gr.Column(scale=4, min_width=480):
            table = output("detect")
            which = gr.Dropdown([], label="Image to explain", interactive=True)
            explain = gr.Button("Show what speaks for and against it")
            shown = output("detect-map")

    def judge(work: Work, given: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        name, files = given[run], given[images] or []
        yield {said: "judging", shown: "", judged: name}
        found: tuple[Row, ...] = ()
        for found in detecting.judge(opened[name], files, alpha=typed(given[level], "a level between 0 and 1")):
            yield {rows: found, table: detecting.page(found), said: f"{len(found)} of {len(files)} files"}
            if work.cancelled:
                break
        names = detecting.choices(found)
        words = f"cancelled after {detecting.summary(found)}" if work.cancelled else detecting.summary(found)
        yield {said: words, which: gr.Dropdown(names, value=names[0] if names else None)}

    def show(name: str, found: tuple[Row, ...], choice: str | None) -> str:
        if name not in opened:
            raise ValueError("expected images that were judged, got none")
        return detecting.mapped(opened[name], found, choice)

    inputs, outputs = {run, images, level}, [rows, judged, table, said, which, shown]
    works((go, cancel), judge, inputs, outputs, said=said, queue=CLIMBING)
    explain.click(told(show), [judged, rows, which], [shown, said], show_progress="hidden", concurrency_id=CLIMBING)
