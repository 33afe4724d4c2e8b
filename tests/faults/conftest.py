"""A budget for fuzzing: a short, fixed seed by default; CPU seconds from the environment in the soak."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis.strategies import SearchStrategy

HANGS = 60  # CPU seconds for one example


def _hangs(*_: object) -> NoReturn:
    pytest.fail(f"one example took more than {HANGS} CPU seconds")


@pytest.fixture
def fuzz() -> Callable[..., int]:
    """Call a check with examples until it fails or the budget is spent, and return how many there were."""

    def call(check: Callable[[Any], None], examples: SearchStrategy[Any], *, soak: bool) -> int:
        seconds = float(os.environ.get("GENAT_FUZZ_SECONDS", "1200")) if soak else 0.0
        known = hypothesis.settings(
            max_examples=1000 if soak else 40,
            derandomize=not soak,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        count = 0

        def one(example: object) -> None:
            nonlocal count
            count += 1
            signal.setitimer(signal.ITIMER_VIRTUAL, HANGS)
            check(example)

        before = signal.signal(signal.SIGVTALRM, _hangs)
        try:
            began, rounds = time.process_time(), 0
            while rounds == 0 or time.process_time() - began < seconds:
                test = known(hypothesis.given(examples)(one))
                (hypothesis.seed(rounds)(test) if soak else test)()
                rounds += 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        if soak:
            print(f"{count} examples in {time.process_time() - began:.0f} CPU seconds")  # noqa: T201 - for the record
        return count

    return call
