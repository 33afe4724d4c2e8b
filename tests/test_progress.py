"""What a person sees while a training runs, on a terminal and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from genat.progress import TrainingProgress
from genat.training import Step


def _step(iteration: int, *, seconds: float = 0.5, auroc: float = 0.75, steps: int = 7) -> Step:
    return Step(
        iteration=iteration,
        loss=0.5,
        auroc=auroc,
        steps=steps,
        inside=1.0,
        outside=-1.0,
        path=1.0,
        gradient=1.0,
        seconds=seconds,
    )


def _console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=140, color_system=None), out


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_bar() -> None:
    console, out = _console(terminal=True)
    with TrainingProgress(iterations=4, batch_size=32, console=console) as shown:
        for iteration in range(1, 5):
            shown(_step(iteration))
    text = _plain(out.getvalue())
    assert "training" in text
    assert "4/4  64 images/s  AUROC 0.750  ascent steps 7" in text
    assert text.count("0:00:0") >= 2  # what it took, and what is left


def test_a_training_that_cannot_begin_leaves_no_bar() -> None:
    console, out = _console(terminal=True)
    with pytest.raises(ValueError, match="no data"), TrainingProgress(iterations=4, batch_size=32, console=console):
        raise ValueError("no data")
    assert out.getvalue() == ""


def test_the_cursor_comes_back_after_an_error() -> None:
    console, out = _console(terminal=True)
    shown = TrainingProgress(iterations=4, batch_size=32, console=console)
    shown(_step(1))
    with pytest.raises(KeyboardInterrupt), shown:
        raise KeyboardInterrupt
    assert out.getvalue().rstrip().endswith("\x1b[?25h")


def test_elsewhere_the_last_step_is_a_line_without_escapes() -> None:
    console, out = _console(terminal=False)
    with TrainingProgress(iterations=1000, batch_size=32, console=console) as shown:
        for iteration in range(1, 1001):
            shown(_step(iteration))
    assert out.getvalue() == "step 1000/1000  64 images/s  AUROC 0.750  ascent steps 7  0 s left\n"


def test_elsewhere_a_line_every_ten_seconds_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("genat.progress.time.monotonic", lambda: now[0])
    console, out = _console(terminal=False)
    with TrainingProgress(iterations=101, batch_size=8, console=console) as shown:
        for iteration in range(1, 102):
            now[0] += 0.5
            shown(_step(iteration))
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["21/101", "42/101", "63/101", "84/101", "101/101"]
    assert lines[0].endswith("16 images/s  AUROC 0.750  ascent steps 7  40 s left")


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_said_stands_on_a_line_of_its_own(terminal: bool) -> None:
    console, out = _console(terminal=terminal)
    line = "step 2: [bold]the detector wins[/bold] " + 30 * "and wins "
    with TrainingProgress(iterations=4, batch_size=32, console=console) as shown:
        shown.say("before")
        shown(_step(1))
        shown.say(line)
        shown(_step(4))
    text = _plain(out.getvalue()).replace("\r", "\n").splitlines()
    assert text[0] == "before"
    assert line.strip() in [each.strip() for each in text]


def test_the_figures_follow_the_latest_steps() -> None:
    console, _ = _console(terminal=False)
    shown = TrainingProgress(iterations=10_000, batch_size=10, console=console)
    shown(_step(1, auroc=0.25, seconds=2.0))
    assert shown.auroc / shown.weight == pytest.approx(0.25)  # no warm-up towards 0
    for iteration in range(2, 1000):
        shown(_step(iteration, auroc=1.0, seconds=0.1))
    assert shown.auroc / shown.weight == pytest.approx(1.0, abs=1e-6)
    assert shown.seconds / shown.weight == pytest.approx(0.1, rel=1e-4)


def test_steps_that_took_no_time_divide_nothing_by_zero() -> None:
    console, out = _console(terminal=False)
    TrainingProgress(iterations=1, batch_size=1, console=console)(_step(1, seconds=0.0))
    assert "step 1/1" in out.getvalue()


def test_without_a_console_it_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    TrainingProgress(iterations=1, batch_size=1)(_step(1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("step 1/1")
