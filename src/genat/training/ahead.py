"""Work of the next step that is done on the processor while this one runs on an accelerator."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes each step's things one step ahead, in a thread of its own, one after another.

    What is made must be a function of the step's number alone: then nothing changes but the time.

    Args:
        make: called with a step's number, in the thread.
        last: the number of steps; nothing is made beyond.

    Example:
        >>> with Ahead(lambda step: step**2, last=3) as ahead:
        ...     [ahead.take(step) for step in (0, 1, 1, 0, 2)]
        [0, 1, 1, 0, 4]
    """

    def __init__(self, make: Callable[[int], T], *, last: int) -> None:
        self._make, self._last = make, last
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        self._begun: dict[int, Future[T]] = {}

    def __enter__(self) -> "Ahead[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def take(self, step: int) -> T:
        """Return what was made for a step, and begin the next one's; what `make` raises is raised here."""
        kept = {one: self._begin(one) for one in (step, step + 1) if one == step or one < self._last}
        self._begun = kept  # after a return to an earlier step the others are of no use any more
        return kept[step].result()

    def _begin(self, step: int) -> "Future[T]":
        return self._begun.get(step) or self._worker.submit(self._make, step)
