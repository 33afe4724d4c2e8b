"""The canvas: a sheet of pixels to draw and mark on, with a pointer or with keys."""

from importlib.resources import files

import gradio as gr

from genat.studio.logic.sheets import Sheet


def canvas(sheet: Sheet) -> gr.HTML:
    """Return a canvas whose value is a sheet as `Sheet.dump` writes it."""
    here = files("genat.studio.pages")
    return gr.HTML(
        sheet.dump(),
        html_template=here.joinpath("canvas.html").read_text(encoding="utf-8"),
        js_on_load=here.joinpath("canvas.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="climb-canvas",
    )
