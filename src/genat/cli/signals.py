"""What an interrupt and a request to end do to a training: it finishes the step, saves, and tells."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """What a training asks before each step: whether a signal has come.

    Attributes:
        signal: the one that has come; None before.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self._asked = say, False
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Return whether to stop."""
        self._asked = True
        return self.signal is not None

    @property
    def name(self) -> str:
        """The signal's name, nothing before there is one."""
        return "" if self.signal is None else self.signal.name

    @property
    def code(self) -> int:
        """The exit code that shells know a process by which a signal has ended."""
        return 128 + (self.signal or 0)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Take note of a signal; end at once where no training is under way that asks, or at the second one."""
        again, self.signal = self.signal is not None, signal.Signals(number)
        if again or not self._asked:
            self.say(f"genat: {self.name}: ended at once")
            sys.exit(self.code)
        self.say(f"genat: {self.name}: this step is finished and saved, then it ends; a second one ends at once")


@contextmanager
def stopping(say: Callable[[str], None]) -> Iterator[Stopping]:
    """Catch SIGINT and SIGTERM for as long as the block lasts, unless whoever started the process had them ignored.

    Args:
        say: called with a line when one comes.
    """
    state = Stopping(say)
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, state.handle) for number in heeded}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
