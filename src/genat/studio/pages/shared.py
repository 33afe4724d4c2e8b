"""What the tabs share."""

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

CLIMBING, TRAINING = "climbing", "training"  # which wait for one another
REFUSED = (ValueError, OSError, ImportError, ArithmeticError)  # what a person can mend
QUICK: dict[str, Any] = {"show_progress": "hidden", "queue": False}
AFTER: dict[str, Any] = {"show_progress": "hidden"}  # queued: what was yielded before a cancellation comes before it
_LIVE = 'element.setAttribute("role", "status"); element.setAttribute("aria-live", "polite");'


def status(name: str) -> gr.HTML:
    """Return the line that says what goes on, read out when it changes."""
    return gr.HTML(
        "", html_template="<p>${value}</p>", js_on_load=_LIVE, elem_id=f"{name}-status", elem_classes="status"
    )


def output(name: str) -> gr.HTML:
    """Return a place for what is made."""
    return gr.HTML("", elem_id=f"{name}-shown", apply_default_css=False, js_on_load=None)


def refused(error: BaseException) -> str:
    """Return an error as the status says it: one line."""
    return f'<span class="wrong">Not possible: {escape(" ".join(str(error).split()))}</span>'


def told(make: Callable[..., str]) -> Callable[..., tuple[Any, str]]:
    """Return what gives HTML and an empty status; where it is refused, nothing new and why."""

    def call(*given: Any) -> tuple[Any, str]:  # noqa: ANN401 - what the parts hold
        try:
            return make(*given), ""
        except REFUSED as error:
            return gr.skip(), refused(error)

    return call


def typed(text: str, what: str) -> float | None:
    """Return a number as it was typed, None where there is none.

    Raises:
        ValueError: where it is no number.

    Example:
        >>> typed("", "steps"), typed(" 0.5", "steps")
        (None, 0.5)
        >>> typed("few", "a number of steps")
        Traceback (most recent call last):
        ValueError: expected a number of steps, got 'few'
    """
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected {what}, got {text!r}") from None


def runs_choice(names: list[str], **options: Any) -> gr.Dropdown:  # noqa: ANN401 - those of Gradio
    """Return the list that a run is chosen from."""
    return gr.Dropdown(names, value=names[0], label="Run", **options)
