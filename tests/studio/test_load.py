"""Many clients at once: no answer lost, none of the server's fault, memory flat."""

import importlib
import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.serve")


@pytest.mark.parametrize(
    ("clients", "seconds"),
    [pytest.param(10, 5.0, marks=pytest.mark.slow), pytest.param(200, 60.0, marks=pytest.mark.soak)],
)
def test_no_answer_is_lost_and_none_is_wrong(
    serving: ModuleType, trained_once: Path, clients: int, seconds: float
) -> None:
    found = serving.measure(str(trained_once), clients=clients, seconds=seconds)
    assert found["requests"] > clients
    assert (found["lost"], found["wrong"], found["other_5xx"], found["busy_503"]) == (0, {}, 0, 0)
    assert found["exit_code"] == 0
    assert found["memory_growth"] < 0.05


def test_the_share_of_bad_requests_and_their_kinds(serving: ModuleType) -> None:
    chance = random.Random(0)
    kinds = Counter(serving.bad(1000, chance) for _ in range(200))
    assert {(one.kind, one.status) for one in kinds} == {
        ("no json", 400), ("another form", 422), ("no image", 200), ("too large", 413), ("too large, unsaid", 413),
    }  # fmt: skip
    for one in kinds:
        body = one.content.partition(b"\r\n\r\n")[2]
        assert (len(body) > 1000) == one.kind.startswith("too large")
    asked = Counter(serving.good(["a", "b", "c", "d"], chance).kind for _ in range(500))
    assert asked["score"] > 400
    assert {"transform", "model"} <= set(asked)


def test_the_summary_is_of_what_was_met(serving: ModuleType) -> None:
    tally = serving.Tally(
        answers=Counter({"score: 200": 98, "score: 503": 1, "model: 500": 1}),
        wrong=Counter({"model: 500": 1}),
        lost=Counter({"score": 2}),
        seconds=[0.01 * n for n in range(1, 101)],
        memory=[(float(second), 2.0**20 * (1 + second // 4)) for second in range(8)],
        processor=[1.0, 1.5, 2.02],
    )
    found = serving.summary(tally, seconds=8.0)
    assert (found["requests"], found["lost"], found["busy_503"], found["other_5xx"]) == (102, 2, 1, 1)
    assert found["seconds"]["p50"] == pytest.approx(0.505)
    assert found["seconds"]["most"] == pytest.approx(1.0)
    assert found["memory_mib"] == [1.0, 1.0, 2.0, 2.0]
    assert found["memory_growth"] == pytest.approx(1.0)
    assert found["server_cpu_ms_per_request"] == pytest.approx(10.0)
    assert found["good_per_second"] == 12.5
