"""One thread runs the detector for everyone, so that the loop that listens is never held up."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from genat import detection
from genat.ascent import Detector

Result = TypeVar("Result")

Watch = Callable[[Detector], Detector]
"""Wraps the detector that a climb climbs."""


class _AbandonedError(Exception):
    """Nobody waits for a climb any longer."""


@dataclass(frozen=True, slots=True, eq=False)
class _Score:
    images: Tensor
    future: "Future[Tensor]"


@dataclass(frozen=True, slots=True, eq=False)
class _Climb:
    work: Callable[[Watch], Any]
    future: "Future[Any]"


class Worker:
    """The thread, and what waits for it: images to score, and climbs.

    Requests to score that wait together are scored in one pass, as soon as the thread is free. A climb looks up between
    its steps: scores that came in the meantime go first, and a climb whose future was cancelled ends there. So a score
    waits for at most a pass, and never for a climb.

    What a batch holds beside an image changes its logit by rounding alone, as every batch size does.

    Args:
        detector: `(N, *) -> (N,)`, in eval mode and frozen.
        batch: images in one pass; a request with more has passes of its own.
        device: where the detector is.
        scored: called on the thread with the number of images of each pass.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        batch: int,
        device: torch.device | str = "cpu",
        scored: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._detector, self._batch, self._device, self._tell = detector, batch, torch.device(device), scored
        self._scores: deque[_Score] = deque()
        self._climbs: deque[_Climb] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._since: float | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, which was never started or has ended."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="genat-worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end when nothing waits any longer, and wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def responds(self, within: float) -> bool:
        """Return whether the thread lives, and its present pass has not taken longer than so many seconds."""
        thread, since = self._thread, self._since
        return thread is not None and thread.is_alive() and (since is None or time.monotonic() - since <= within)

    def score(self, images: Tensor) -> "Future[Tensor]":
        """Return the logits to come, `(N,)` float64, of images `(N, C, H, W)` uint8, N >= 1."""
        job = _Score(images, Future())
        with self._changed:
            self._scores.append(job)
            self._changed.notify()
        return job.future

    def climb(self, work: Callable[[Watch], Result]) -> "Future[Result]":
        """Return what some work will return; it climbs what it was given to wrap its detector with.

        Cancelling the future ends the work at its next step.
        """
        future: Future[Result] = Future()
        with self._changed:
            self._climbs.append(_Climb(work, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._scores or self._climbs or self._stopping):
                    self._changed.wait()
                if not (self._scores or self._climbs):
                    return
                climb = None if self._scores else self._climbs.popleft()
            self._since = time.monotonic()
            if climb is None:
                self._score_waiting()
            else:
                self._climb(climb)
            self._since = None

    def _score_waiting(self) -> None:
        """Score what waits, up to a batch."""
        jobs: list[_Score] = []
        n = 0
        with self._changed:
            while self._scores and (not jobs or n + len(self._scores[0].images) <= self._batch):
                job = self._scores.popleft()
                if job.future.set_running_or_notify_cancel():
                    jobs.append(job)
                    n += len(job.images)
        if not jobs:
            return
        try:
            pixels = torch.cat([job.images for job in jobs]).to(self._device).float() / 255
            logits = detection.logits(self._detector, pixels, batch_size=self._batch).cpu()
        except Exception as error:  # whatever it is, the requests hear of it and the thread lives on
            for job in jobs:
                job.future.set_exception(error)
            return
        self._tell(n)
        for job, part in zip(jobs, torch.split(logits, [len(job.images) for job in jobs]), strict=True):
            job.future.set_result(part)

    def _climb(self, job: _Climb) -> None:
        def watch(detector: Detector) -> Detector:
            def watched(points: Tensor) -> Tensor:
                if self._scores:
                    self._score_waiting()
                if job.future.cancelled():
                    raise _AbandonedError
                self._since = time.monotonic()
                return detector(points)

            return watched

        if job.future.cancelled():
            return
        try:
            result = job.work(watch)
        except _AbandonedError:
            return
        except Exception as error:  # as above
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)
            return
        if job.future.set_running_or_notify_cancel():
            job.future.set_result(result)
