"""What is made one step ahead is what would have been made in time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from genat import sources
from genat.curriculum import Curriculum
from genat.training import Fitted, Step, fit, trainer
from genat.training.ahead import Ahead


def test_each_step_is_made_once_and_one_ahead_in_one_thread() -> None:
    made: list[tuple[int, int]] = []

    def make(step: int) -> int:
        made.append((step, threading.get_ident()))
        return step**2

    with Ahead(make, last=3) as ahead:
        assert [ahead.take(step) for step in range(3)] == [0, 1, 4]
    assert [step for step, _ in made] == [0, 1, 2]
    assert len({thread for _, thread in made} - {threading.get_ident()}) == 1


def test_a_return_to_an_earlier_step_makes_it_anew() -> None:
    made: list[int] = []
    with Ahead(made.append, last=9) as ahead:
        for step in (4, 5, 5, 2, 3):
            ahead.take(step)
    assert made[:5] == [4, 5, 6, 2, 3]  # the last one begun may be given up


def test_what_making_raises_is_raised_when_it_is_taken() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise ValueError("expected data, got none")
        return step

    with Ahead(make, last=3) as ahead:
        assert ahead.take(0) == 0
        with pytest.raises(ValueError, match="expected data, got none"):
            ahead.take(1)


class _StopError(Exception):
    pass


def detector() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))


def trained(*, stop: int | None = None, folder: Path | None = None, resume: bool = False) -> Fitted:
    def note(step: Step) -> None:
        if step.iteration == stop:
            raise _StopError

    return fit(
        detector(),
        torch.rand(50, 2, generator=torch.Generator().manual_seed(1)),
        sources.Box(2),
        iterations=12,
        steps=Curriculum(0, 3, gate=None),
        step_size=0.05,
        batch_size=8,
        folder=folder,
        resume=resume,
        checkpoint_every=5,
        callback=note,
    )


@contextmanager
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_leaves_processor_idle", lambda _: True)
        yield


def test_a_training_with_samples_drawn_ahead_has_the_same_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_time = trained().digest
    with ahead(monkeypatch):
        assert trained().digest == in_time
        with pytest.raises(_StopError):
            trained(stop=7, folder=tmp_path)
        assert trained(folder=tmp_path, resume=True).digest == in_time
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_data_that_fails_on_the_way_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(sources.Box):
        def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                raise OSError("expected a disk, got none")
            return super().draw(n, generator=generator)

    run = partial(fit, detector(), torch.zeros(9, 2))
    with ahead(monkeypatch), pytest.raises(OSError, match="expected a disk, got none"):
        run(Failing(2), iterations=3, steps=1, step_size=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
