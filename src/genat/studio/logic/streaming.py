"""Work that is seen while it is done, and ends when nobody looks any longer."""

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

Item = TypeVar("Item")
_LOOK_UP = 0.1  # seconds after which one that waits looks whether the other is still there


class AbandonedError(Exception):
    """Nobody looks any longer: raised in the work, at the next thing it tells."""


def stream(
    work: Callable[[Callable[[Item], None]], None], *, ends: Callable[[], bool] = lambda: False
) -> Generator[Item, None, None]:
    """Do work on a thread of its own, and yield what it tells.

    The work is ahead of who looks by one thing at most: what is told waits until it is taken. Closing the iterator
    lets the work end where it tells something next, by an `AbandonedError` there; it is not waited for.

    Args:
        work: called with what it tells by.
        ends: asked ten times a second; where it is true, the iterator ends as if it were closed.

    Yields:
        What was told, in order.

    Raises:
        Exception: whatever the work raises, after what it told before.

    Example:
        >>> list(stream(lambda tell: [tell(i) for i in range(3)]))
        [0, 1, 2]
    """
    told: queue.Queue[Item] = queue.Queue(1)
    gone, done = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def tell(item: Item) -> None:
        while not gone.is_set():
            try:
                told.put(item, timeout=_LOOK_UP)
            except queue.Full:
                continue
            return
        raise AbandonedError

    def run() -> None:
        try:
            work(tell)
        except AbandonedError:
            pass
        except Exception as error:  # whatever it is, who looks hears of it
            failures.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="genat-studio", daemon=True).start()
    try:
        while not (done.is_set() and told.empty()) and not ends():
            try:
                item = told.get(timeout=_LOOK_UP)
            except queue.Empty:
                continue
            yield item
        for error in failures:
            raise error
    finally:
        gone.set()
