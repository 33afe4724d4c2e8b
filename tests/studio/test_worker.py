"""The thread: what waits together is scored together, scores go before climbs, and nothing ends it."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future

import pytest
import torch
from torch import Tensor

from genat.generation import transform
from genat.studio.limits import FullError, Limits, Room
from genat.studio.worker import Watch, Worker


class Detector:
    """The mean of an image; waits for its gate to open, and remembers what it was given."""

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        self.gate.set()

    def __call__(self, images: Tensor) -> Tensor:
        self.entered.set()
        assert self.gate.wait(30)
        self.sizes.append(len(images))
        if len(images) == 13:
            raise RuntimeError("unlucky")
        return images.flatten(1).mean(1)


@pytest.fixture
def detector() -> Detector:
    return Detector()


@pytest.fixture
def worker(detector: Detector) -> Iterator[Worker]:
    one = Worker(detector, batch=8)
    one.start()
    yield one
    detector.gate.set()
    one.stop()


def _bytes(n: int, value: int = 51) -> Tensor:
    return torch.full((n, 1, 2, 2), value, dtype=torch.uint8)


def _held(worker: Worker, detector: Detector) -> "Future[Tensor]":
    """Let the thread stand in a pass of one image."""
    detector.gate.clear()
    first = worker.score(_bytes(1, 255))
    assert detector.entered.wait(30)
    return first


def test_what_waits_together_is_scored_in_one_pass_of_at_most_a_batch(worker: Worker, detector: Detector) -> None:
    first = _held(worker, detector)
    waiting = [worker.score(_bytes(n, 51 * n)) for n in (1, 2, 4, 3)]
    detector.gate.set()
    assert first.result(30).tolist() == [1.0]
    parts = [future.result(30) for future in waiting]
    assert torch.cat(parts).tolist() == pytest.approx([0.2] + [0.4] * 2 + [0.8] * 4 + [0.6] * 3)
    assert [len(part) for part in parts] == [1, 2, 4, 3]
    assert detector.sizes == [1, 7, 3]


def test_a_request_larger_than_a_batch_has_passes_of_its_own(worker: Worker, detector: Detector) -> None:
    assert worker.score(_bytes(20)).result(30).tolist() == pytest.approx([0.2] * 20)
    assert detector.sizes == [8, 8, 4]


def test_what_nobody_waits_for_is_not_scored(worker: Worker, detector: Detector) -> None:
    _held(worker, detector)
    nobody, somebody = worker.score(_bytes(2)), worker.score(_bytes(3))
    assert nobody.cancel()
    detector.gate.set()
    assert len(somebody.result(30)) == 3
    assert detector.sizes == [1, 3]


def test_scores_go_between_the_steps_of_a_climb(worker: Worker, detector: Detector) -> None:
    detector.gate.clear()
    climb = worker.climb(lambda watch: transform(watch(detector), torch.zeros(2, 1, 2, 2), steps=5, step_size=0.1))
    assert detector.entered.wait(30)
    score = worker.score(_bytes(1))
    detector.gate.set()
    assert score.result(30).tolist() == pytest.approx([0.2])
    assert climb.result(30).points.flatten().tolist() == pytest.approx([0.25] * 8)
    assert detector.sizes == [16, 1, 16, 16, 16, 16]


def test_a_climb_that_nobody_waits_for_ends_at_its_next_step(worker: Worker, detector: Detector) -> None:
    detector.gate.clear()
    climb = worker.climb(lambda watch: transform(watch(detector), torch.zeros(1, 1, 2, 2), steps=999, step_size=0.1))
    unstarted = worker.climb(lambda _: pytest.fail("was started"))
    assert detector.entered.wait(30)
    assert climb.cancel()
    assert unstarted.cancel()
    detector.gate.set()
    assert len(worker.score(_bytes(1)).result(30)) == 1
    worker.stop()
    assert detector.sizes == [16, 1]
    with pytest.raises(CancelledError):
        climb.result(0)


def test_an_error_reaches_those_who_wait_and_the_thread_lives_on(worker: Worker, detector: Detector) -> None:
    def broken(_: Watch) -> None:
        raise RuntimeError("broken")

    first = _held(worker, detector)
    both = [worker.score(_bytes(6)), worker.score(_bytes(2))]
    detector.gate.set()
    first.result(30)
    assert [len(future.result(30)) for future in both] == [6, 2]
    with pytest.raises(RuntimeError, match="broken"):
        worker.climb(broken).result(30)
    one = Worker(detector, batch=16)
    one.start()
    with pytest.raises(RuntimeError, match="unlucky"):
        one.score(_bytes(13)).result(30)
    assert len(one.score(_bytes(1)).result(30)) == 1
    one.stop()


def test_it_responds_while_no_pass_takes_too_long(worker: Worker, detector: Detector) -> None:
    assert worker.responds(60)
    first = _held(worker, detector)
    assert worker.responds(60)
    assert not worker.responds(-1)
    detector.gate.set()
    first.result(30)
    worker.stop()
    assert not worker.responds(60)
    worker.start()
    assert worker.responds(60)
    assert len(worker.score(_bytes(1)).result(30)) == 1


# limits


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"steps": 0}, "expected steps to be positive, got 0"),
        ({"timeout": float("nan")}, "expected timeout to be positive, got nan"),
        ({"timeout": float("inf")}, "expected timeout to be positive, got inf"),
        ({"queue": 63}, "expected a queue of at least the 64 images of one request, got 63"),
        ({"memory": 9, "body": 10}, "expected memory of at least the 10 bytes of one body, got 9"),
    ],
)
def test_limits_that_cannot_be_meant(limits: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Limits(**limits)


def test_a_room_is_never_overfull() -> None:
    room = Room(2)
    room.take(2)
    with pytest.raises(FullError):
        room.take(1)
    room.give(1)
    with pytest.raises(FullError):
        room.take(2)
    room.take(1)
    assert room.taken == 2
