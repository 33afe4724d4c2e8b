"""What a person sees while a training runs, or images are counted."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from genat.training import Step

_QUIET_SECONDS = 10.0  # between lines where the output is no terminal
_MEMORY = 0.98  # of the running means shown


class Live:
    """A bar that stops where its `with` block ends, and lines that can be written above it.

    Args:
        bar: started by whoever moves it on.
        console: where both are written.
    """

    def __init__(self, bar: Progress, console: Console) -> None:
        self.bar, self.console = bar, console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """Write a line, above the bar where there is one: written past it, it would end up within it."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class TrainingProgress(Live):
    """A callback for `genat.fit`: a live bar on a terminal, a line every ten seconds elsewhere.

    It shows steps, images a second, the adversarial AUROC (a running mean), the ascent steps now and the time left.

    Args:
        iterations: of the whole training.
        batch_size: target images a step.
        console: where to write; None is standard error.
    """

    def __init__(self, *, iterations: int, batch_size: int, console: Console | None = None) -> None:
        self.iterations, self.batch_size = iterations, batch_size
        console = console or Console(file=sys.stderr)
        bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        super().__init__(bar, console)
        self.task = self.bar.add_task("training", total=iterations, state="")
        self.auroc = self.seconds = 0.0
        self.weight = 0.0
        self.spoke = time.monotonic()

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        self.auroc = _MEMORY * self.auroc + (1 - _MEMORY) * step.auroc
        self.seconds = _MEMORY * self.seconds + (1 - _MEMORY) * step.seconds
        self.weight = _MEMORY * self.weight + (1 - _MEMORY)
        if self.console.is_terminal:
            self.bar.start()  # here, so that a training that cannot begin leaves no bar
            self.bar.update(self.task, completed=step.iteration, state=self._state(step))
        elif time.monotonic() - self.spoke > _QUIET_SECONDS or step.iteration == self.iterations:
            self.spoke = time.monotonic()
            left = (self.iterations - step.iteration) * self.seconds / self.weight
            line = f"step {step.iteration}/{self.iterations}  {self._state(step)}  {left:.0f} s left"
            self.console.print(line, highlight=False, soft_wrap=True)

    def _state(self, step: Step) -> str:
        rate = self.batch_size * self.weight / max(self.seconds, 1e-9)
        return f"{rate:,.0f} images/s  AUROC {self.auroc / self.weight:.3f}  ascent steps {step.steps}"


class Counting(Live):
    """A live bar on a terminal that counts what is done; nothing elsewhere.

    Args:
        label: what is counted, as in "judged".
        total: how many there are to be; None where nobody knows.
        quiet: show no bar on a terminal either.
        console: where to write; None is standard error.
    """

    def __init__(self, label: str, *, total: int | None, quiet: bool = False, console: Console | None = None) -> None:
        console = console or Console(file=sys.stderr)
        count = "{task.completed}" if total is None else "{task.completed}/{task.total}"
        columns = [TextColumn(f"[bold]{label}"), BarColumn(), TextColumn(count), TimeElapsedColumn()]
        columns += [] if total is None else [TimeRemainingColumn()]
        super().__init__(Progress(*columns, console=console, disable=quiet or not console.is_terminal), console)
        self.task = self.bar.add_task(label, total=total)

    def advance(self) -> None:
        """Count one more."""
        self.bar.start()  # here, so that what is refused leaves no bar
        self.bar.advance(self.task)
