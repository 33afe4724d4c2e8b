"""The tab in which runs are looked at."""

from collections.abc import Mapping

import gradio as gr

from genat.studio.logic import Opened, browsing
from genat.studio.pages.shared import output, runs_choice


def tab(opened: Mapping[str, Opened], addresses: Mapping[str, str]) -> None:
    """Put the tab's parts where Gradio builds, and say what each does.

    Args:
        opened: the runs.
        addresses: of their reports.
    """
    run = runs_choice(list(opened))
    with gr.Row():
        with gr.Column(min_width=380):
            facts, report = output("runs"), output("runs-report")
            with gr.Accordion("Configuration", open=False):
                configuration = output("runs-configuration")
        with gr.Column(min_width=380):
            curves, samples = output("runs-curves"), output("runs-samples")

    def show(name: str) -> tuple[str, str, str, str, str]:
        one = opened[name]
        return (
            browsing.facts(one),
            browsing.report_of(one, addresses[name]),
            browsing.configuration(one),
            browsing.curves(one),
            browsing.samples(one),
        )

    places = [facts, report, configuration, curves, samples]
    gr.on(None, show, run, places, show_progress="hidden")
