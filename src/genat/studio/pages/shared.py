"""What the tabs share."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from html import escape
from typing import Any

import gradio as gr
from gradio.blocks import Block

CLIMBING, TRAINING = "climbing", "training"  # which wait for one another
REFUSED = (ValueError, OSError, ImportError, ArithmeticError)  # what a person can mend
QUICK: dict[str, Any] = {"show_progress": "hidden", "queue": False}
_LIVE = 'element.setAttribute("role", "status"); element.setAttribute("aria-live", "polite");'


class Work:
    """What a tab does for one person.

    It tells of its own cancellation, after all that it told before. Gradio's `cancels` leaves that to the button, whose
    event is lost where the stream of the cancelled one closes before it is there.

    Attributes:
        waiting: it was asked for and has not begun.
        going: it has begun and has not ended.
        cancelled: it is to end.
    """

    def __init__(self) -> None:
        self.waiting = self.going = self.cancelled = False

    def over(self) -> str:
        """Return how it ended, in a word."""
        return "cancelled" if self.cancelled else "done"


def works(
    buttons: tuple[gr.Button, gr.Button],
    do: Callable[..., Iterator[dict[Any, Any]]],
    inputs: AbstractSet[Block],
    outputs: Sequence[Block],
    *,
    said: gr.HTML,
    queue: str,
) -> None:
    """Let one button begin a work and the other cancel it.

    Args:
        buttons: begins, cancels.
        do: called with the `Work` and what each input holds; yields what is new, and looks at `cancelled` in between.
        inputs, outputs: of it.
        said: the tab's status, one of the outputs.
        queue: those of one queue wait for one another.
    """
    go, cancel = buttons
    state = gr.State(Work())

    def ask(work: Work) -> None:
        work.waiting, work.cancelled = True, False

    def run(given: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        work: Work = given.pop(state)
        work.waiting, work.going = False, True
        try:
            if work.cancelled:
                yield {said: "cancelled"}
            else:
                yield from do(work, given)
        except REFUSED as error:
            yield {said: refused(error)}
        finally:
            work.going = False

    def stop(work: Work) -> Any:  # noqa: ANN401 - a status, or nothing new
        work.cancelled = work.waiting or work.going
        return "cancelled" if work.waiting else gr.skip()

    go.click(ask, state, **QUICK).then(
        run, {state, *inputs}, list(outputs), show_progress="hidden", concurrency_id=queue
    )
    cancel.click(stop, state, said, **QUICK)


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
