"""A training that is asked to end finishes its step, saves, says so, and goes on later as if nothing had been."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genat import assemble, checkpoints, runs
from genat.cli.signals import stopping
from genat.progress import TrainingProgress
from genat.training import Step

Cli = Callable[..., tuple[int, str, str]]


def send(monkeypatch: pytest.MonkeyPatch, *numbers: signal.Signals, at: int) -> None:
    """Let a training send signals to itself while it is in a step."""
    own = TrainingProgress.__call__

    def call(self: TrainingProgress, step: Step) -> None:
        own(self, step)
        if step.iteration == at:
            for number in numbers:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainingProgress, "__call__", call)


CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.fixture(autouse=True)
def _as_at_a_terminal() -> Iterator[None]:
    """A shell's background jobs are born deaf to SIGINT, tests among them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", CODES)
def test_a_signal_saves_and_ends(
    number: signal.Signals, run_cli: Cli, tiny_yaml: Path, tiny_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.MonkeyPatch.context() as patch:
        send(patch, number, at=7)
        ended = run_cli("train", tiny_yaml, "--run", folder)
    assert ended[:2] == (CODES[number], "")
    *_, came, last = ended[2].strip().splitlines()
    assert came.startswith(f"genat: {number.name}: this step is finished and saved")
    assert last == (
        f"genat: {number.name}: stopped after step 7, which is saved: {folder} goes on from there with --resume"
    )
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert checkpoints.latest(folder / runs.CHECKPOINTS).iteration == 7
    again = run_cli("train", tiny_yaml, "--run", folder, "--resume", "--json")
    whole = json.loads((tiny_run / runs.CALIBRATION).read_text())["digest"]
    assert (again[0], json.loads(again[1])["digest"]) == (0, whole)


def test_a_second_signal_ends_at_once(
    run_cli: Cli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(monkeypatch, signal.SIGINT, signal.SIGTERM, at=7)
    code, _, err = run_cli("train", tiny_yaml, "--run", tmp_path / "new")
    assert code == 143
    assert err.strip().splitlines()[-1] == "genat: SIGTERM: ended at once"
    assert checkpoints.latest(tmp_path / "new" / runs.CHECKPOINTS).iteration == 0


def test_before_the_first_step_there_is_nothing_to_wait_for(
    run_cli: Cli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(assemble, "target", interrupted)
    code, _, err = run_cli("train", tiny_yaml, "--run", tmp_path / "new")
    assert (code, err) == (143, "genat: SIGTERM: ended at once\n")
    assert not (tmp_path / "new").exists()


def test_after_the_last_step_the_run_is_made_whole(
    run_cli: Cli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(monkeypatch, signal.SIGTERM, at=40)
    code, out, err = run_cli("train", tiny_yaml, "--run", tmp_path / "new")
    assert (code, out) == (143, "")
    assert err.strip().splitlines()[-1] == f"genat: SIGTERM: the training had ended, and {tmp_path / 'new'} is whole"
    assert runs.load(tmp_path / "new").calibration is not None


def test_signals_that_are_ignored_stay_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping(print) as stop:
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)
