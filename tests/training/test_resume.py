"""A training that was stopped goes on as if it had not been, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genat import checkpoints, networks
from genat.balls import L2Ball
from genat.curriculum import Curriculum
from genat.recipe import adam, sgd
from genat.sources import Box, Samples
from genat.training import Fitted, Step, StoppedError, fit


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


def stop_at(n: int) -> Callable[[Step], None]:
    def callback(step: Step) -> None:
        if step.iteration == n:
            raise Stopped

    return callback


def train(folder: Path | None, **options: Any) -> Fitted:  # noqa: ANN401
    """All that has a state: a gated curriculum, a mean of the weights, moments, random starts, augmentation by none."""
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(7))
    known: dict[str, Any] = {
        "iterations": 23,
        "steps": Curriculum(0, 4, stage_iterations=9, gate=0.6, window=3),
        "step_size": 0.1,
        "ball": L2Ball(0.3),
        "random_start": True,
        "batch_size": 8,
        "descent_steps": 1,
        "r1": 0.1,
        "optimizer": adam(0.01, betas=(0.5, 0.9)),
        "clip_norm": 1.0,
        "checkpoint_every": 5,
        "folder": folder,
    }
    detector = networks.build("mlp", (2,), {"hidden": [8]}, seed=0)
    return fit(detector, Samples((0.5 + 0.05 * noise).clamp(0, 1)), Box(2), **known | options)


@pytest.fixture(scope="module")
def whole() -> Fitted:
    return train(None)


@pytest.mark.parametrize("n", [1, 5, 13, 21, 23])
def test_a_stopped_training_ends_where_the_whole_one_does(n: int, whole: Fitted, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at(n))
    seen: list[Step] = []
    resumed = train(tmp_path, resume=True, callback=seen.append)
    assert resumed.digest == whole.digest
    assert [step.iteration for step in seen][-1] == 23
    assert seen[0].iteration <= n  # what a callback recorded is never behind the checkpoint


def test_steps_and_figures_are_the_same_too(tmp_path: Path) -> None:
    expected: list[Step] = []
    train(None, callback=expected.append)
    assert len({step.steps for step in expected}) > 2
    lengths = [len([step for step in expected if step.steps == k]) for k in range(expected[-1].steps)]
    assert min(lengths) < 9 == max(lengths)  # one stage ended at the gate, another by its iterations
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at(13))
    seen: list[Step] = []
    train(tmp_path, resume=True, callback=seen.append)
    for got, wanted in zip(seen, expected[10:], strict=True):
        assert (got.iteration, got.steps, got.loss, got.auroc) == (
            wanted.iteration,
            wanted.steps,
            wanted.loss,
            wanted.auroc,
        )


@pytest.mark.parametrize("options", [{"optimizer": sgd(0.05)}, {"ema": None}, {"random_start": False, "r1": 0.0}])
def test_other_optimisers_and_no_mean_resume_too(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at(13), **options)
    assert train(tmp_path, resume=True, **options).digest == train(None, **options).digest


def test_stopped_again_and_again(whole: Fitted, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at(7))
    for n in (8, 12, 19):
        with pytest.raises(Stopped):
            train(tmp_path, resume=True, callback=stop_at(n))
    assert train(tmp_path, resume=True).digest == whole.digest


@pytest.mark.parametrize("n", [0, 1, 12, 22])
def test_a_training_stops_between_steps_where_it_is_asked_to(n: int, whole: Fitted, tmp_path: Path) -> None:
    asked = iter([False] * n + [True])
    seen: list[Step] = []
    with pytest.raises(StoppedError, match=f"^stopped after step {n}, which is saved$") as caught:
        train(tmp_path, stop=lambda: next(asked), callback=seen.append)
    assert (caught.value.iteration, caught.value.saved, len(seen)) == (n, True, n)
    assert checkpoints.latest(tmp_path).iteration == n
    assert train(tmp_path, resume=True).digest == whole.digest


def test_a_training_without_a_folder_stops_too() -> None:
    with pytest.raises(StoppedError, match=r"^stopped after step 0, which is not saved$"):
        train(None, stop=lambda: True)


def test_a_training_catches_no_signals() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen: list[object] = []
    train(None, callback=lambda _: seen.extend(signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)))
    assert set(map(id, seen)) <= set(map(id, before))


@pytest.mark.parametrize("keep", [0, -1])
def test_a_checkpoint_is_kept(keep: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"expected checkpoint_keep to be at least 1, got {keep}"):
        train(tmp_path, checkpoint_keep=keep)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_torn_newest_checkpoint_is_passed_over(suffix: str, whole: Fitted, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at(13))
    newest = sorted(tmp_path.glob(f"*{suffix}"))[-1]
    newest.write_bytes(newest.read_bytes()[:-9])
    assert train(tmp_path, resume=True).digest == whole.digest


def test_a_finished_training_resumes_to_itself(whole: Fitted, tmp_path: Path) -> None:
    train(tmp_path)
    seen: list[Step] = []
    resumed = train(tmp_path, resume=True, callback=seen.append)
    assert (resumed.digest, resumed.iterations, seen) == (whole.digest, 23, [])


def test_checkpoints_depend_on_no_folder(whole: Fitted, tmp_path: Path) -> None:
    assert train(tmp_path).digest == whole.digest
    tensors = {k: v for k, v in checkpoints.latest(tmp_path).tensors.items() if not k.startswith("optimizer.")}
    assert checkpoints.digest(tensors) == whole.digest


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "expected to resume with seed 0, got 1"),
        ({"steps": 9}, "expected 9 to 9 steps in the curriculum"),
    ],
)
def test_another_training_is_refused_and_nothing_changes(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    train(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=message):
        train(tmp_path, resume=True, iterations=40, **options)
    assert snapshot(tmp_path) == before


def test_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    train(tmp_path)
    before = snapshot(tmp_path)
    other = nn.Sequential(networks.build("mlp", (2,), {"hidden": [9]}, seed=0))
    with pytest.raises(ValueError, match="expected the checkpoint's network and ema, got others") as caught:
        fit(other, Box(2), Box(2), iterations=40, steps=1, step_size=0.1, folder=tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_a_mean_that_was_not_kept_is_refused(tmp_path: Path) -> None:
    train(tmp_path, ema=None)
    with pytest.raises(ValueError, match="expected the checkpoint's network and ema, got others"):
        train(tmp_path, resume=True, iterations=40)


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a checkpoint, got none"):
        train(tmp_path / "none", resume=True)


# the command line, killed

CONFIG = """
name: tiny
data: {kind: digits}
network: mlp
network_options: {hidden: [16]}
iterations: 60
batch_size: 16
steps: {first: 0, last: 3, gate: 0.6, window: 5}
step_size: 0.2
checkpoint_every: 10
"""


def command(run: Path, *options: str) -> list[str]:
    config = run.with_suffix(".yaml")
    config.write_text(CONFIG, encoding="utf-8")
    return [sys.executable, "-m", "genat", "train", str(config), "--run", str(run), "--json", *options]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


@pytest.mark.slow
def test_a_killed_command_resumes_to_the_same_digest(tmp_path: Path) -> None:
    run, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(
        command(run), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while len(list((run / "checkpoints").glob("*.json"))) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    results = []
    for line in (command(run, "--resume"), command(whole)):
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True, timeout=120)
        results.append(json.loads(done.stdout))
    assert results[0]["digest"] == results[1]["digest"]
    assert results[0]["threshold"] == results[1]["threshold"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, 61))
