"""The page as an application: its tabs, its look, and the bounds of what it takes on."""

import asyncio
import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: it asks other hosts otherwise

import gradio as gr
from fastapi import FastAPI, Response

from genat import report
from genat.studio.logic import Opened
from genat.studio.pages import climb, compare, detect, runs, simulate

QUEUE, AT_ONCE, UPLOAD = 32, 2, "16mb"
_KEPT = 3600  # seconds that an uploaded file and a closed page's state stay
_GREEN, _DARK = "#14532d", "#0f3d21"
_REPORT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def application(opened: Mapping[str, Opened], *, uploads: Path | None = None) -> FastAPI:
    """Return the studio's page of some runs as an application.

    It asks no host but its own. At most two climbs and one training go on at once, and 32 requests wait; of everything
    that a person does the state is that page's own. A report is shown without what it might run.

    Args:
        opened: runs by name, at least one.
        uploads: a folder for the files that are uploaded; None is Gradio's own in the temporary folder.

    Raises:
        ValueError: where there is no run.
        RuntimeError: where it is called within a running event loop.
    """
    if not opened:
        raise ValueError("expected at least one run, got none")
    if uploads is not None:
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    app = FastAPI(title="genat studio", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process listens."""
        return {"status": "ok"}

    for number, one in enumerate(opened.values()):
        app.add_api_route(_address(number), _reporter(one.run.folder), methods=["GET"], response_class=Response)
    addresses = {name: _address(number) for number, name in enumerate(opened)}
    asyncio.run(_mount(app, opened, addresses))
    return app


async def _mount(app: FastAPI, opened: Mapping[str, Opened], addresses: Mapping[str, str]) -> None:
    """Build the page and mount it; within a loop, since Gradio would leave loops of its own open."""
    app.state.blocks = _blocks(opened, addresses)
    gr.mount_gradio_app(
        app,
        app.state.blocks,
        path="/",
        theme=_theme(),
        css=files("genat.studio.pages").joinpath("studio.css").read_text(encoding="utf-8"),
        footer_links=[],
        max_file_size=UPLOAD,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


def _blocks(opened: Mapping[str, Opened], addresses: Mapping[str, str]) -> gr.Blocks:
    with gr.Blocks(title="genat studio", analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as blocks:
        gr.Markdown(
            "# genat studio\nDetectors trained adversarially: climb the logit to make images, read it to judge them."
        )
        with gr.Tab("Climb", id="climb"):
            climb.tab(opened)
        with gr.Tab("Detect", id="detect"):
            detect.tab(opened)
        with gr.Tab("Compare", id="compare"):
            compare.tab(opened)
        with gr.Tab("Simulate", id="simulate"):
            simulate.tab()
        with gr.Tab("Runs", id="runs"):
            runs.tab(opened, addresses)
    blocks.queue(max_size=QUEUE, default_concurrency_limit=AT_ONCE)
    assert isinstance(blocks, gr.Blocks)
    return blocks


def _theme() -> gr.themes.Base:
    """Return a theme with fonts of the machine's own and buttons whose words have contrast."""
    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Default(
        primary_hue="green", neutral_hue="gray", font=fonts, font_mono=["ui-monospace", "monospace"]
    ).set(
        button_primary_background_fill=_GREEN,
        button_primary_background_fill_hover=_DARK,
        button_primary_text_color="white",
        button_primary_background_fill_dark=_GREEN,
        block_label_text_color="#1f2937",
        block_info_text_color="#374151",
        block_title_text_color="#1f2937",
        block_title_text_color_dark="#e5e7eb",
        block_label_text_color_dark="#e5e7eb",
        block_info_text_color_dark="#d1d5db",
        checkbox_background_color_selected=_GREEN,
        checkbox_border_color_selected=_GREEN,
        color_accent=_GREEN,
        slider_color=_GREEN,
    )


def _address(number: int) -> str:
    return f"/reports/{number}.html"


def _reporter(folder: Path) -> Callable[[], Response]:
    def read() -> Response:
        """Return a run's report."""
        path = folder / report.REPORT
        if not path.is_file():
            return Response("no report", status_code=404, media_type="text/plain")
        headers = {"Content-Security-Policy": _REPORT_POLICY}
        return Response(path.read_bytes(), media_type="text/html; charset=utf-8", headers=headers)

    return read
