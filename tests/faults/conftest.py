"""A budget for fuzzing: a short, fixed seed by default; CPU seconds from the environment in the soak."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis.strategies import SearchStrategy

from genat.provenance import provenance

ROOT = Path(__file__).parents[2]
HANGS = 60  # CPU seconds for one example


def _hangs(*_: object) -> NoReturn:
    pytest.fail(f"one example took more than {HANGS} CPU seconds")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Callable[..., int]:
    """Call a check with examples until it fails or the budget is spent, and return how many there were.

    A soak that nothing failed in leaves its record in results/soak/.
    """

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
            spent = round(time.process_time() - began)
            print(f"{count} examples in {spent} CPU seconds")  # noqa: T201 - for who waits
            name = request.path.stem.removeprefix("test_").replace("_", "-")
            made = provenance(f"GENAT_FUZZ_SECONDS={seconds:.0f} pytest -m soak {request.path.relative_to(ROOT)}")
            record = {"made": made, "examples": count, "cpu_seconds": spent}
            (ROOT / "results" / "soak" / f"{name}.json").write_text(
                json.dumps(record, indent=1) + "\n", encoding="utf-8"
            )
        return count

    return call
