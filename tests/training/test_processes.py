"""Trainings of several processes: each does its share of every batch, and what comes of it is what one makes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genat import L2Ball, Replay
from genat.ascent import UNIT_BOX
from genat.recipe import Recipe
from genat.runs import metrics
from genat.sources import Box
from genat.training import Crew
from genat.training.batches import Batches, Drawn
from genat.training.pool import Pool

MEMBERS, BATCH = 2, 6


def process(rank: int, count: int) -> Any:  # noqa: ANN401 - what `Batches` asks of a Fabric
    return SimpleNamespace(global_rank=rank, world_size=count)


def drawn(rank: int, count: int) -> Drawn:
    recipe = Recipe(
        iterations=1,
        step_size=(0.1, 0.4),
        shrink=(0.2, 1.0),
        ball=L2Ball(0.5),
        box=UNIT_BOX,
        rule="steepest",
        random_start=True,
        batch_size=BATCH,
        descent_steps=0,
        descent_ball=L2Ball(),
        r1=0.0,
        ema=None,
        clip_norm=None,
        anneal=0.0,
        seed=(3, 4),
        checkpoint_every=1,
    )
    return Batches(nn.Identity(), (Box(2),), (Box(2),), recipe, (3, 4), process(rank, count)).drawn(5)


def shared(parts: list[Tensor]) -> Tensor:
    """Put the shares of a batch beside one another, member by member."""
    return torch.cat([part.view(MEMBERS, -1, *part.shape[1:]) for part in parts], dim=1).flatten(0, 1)


@pytest.mark.parametrize("count", [2, 3])
def test_shares_of_a_draw_are_the_draw_to_the_bit(count: int) -> None:
    whole, parts = drawn(0, 1), [drawn(rank, count) for rank in range(count)]
    found = 0
    for name in (field.name for field in fields(Drawn)):
        value = getattr(whole, name)
        if value is not None:
            assert torch.equal(shared([getattr(part, name) for part in parts]), value)
            found += 1
    assert found == 5


def test_climbs_are_shared_and_every_process_keeps_them_all() -> None:
    def pool(rank: int, count: int) -> Pool:
        cpu, process = torch.device("cpu"), (rank, count)
        return Pool(Replay(2, 9), batch_size=BATCH, shape=(1,), seeds=(3, 4), device=cpu, process=process)

    whole, parts = pool(0, 1), [pool(rank, 2) for rank in range(2)]
    for iteration in range(12):
        fresh = torch.rand(MEMBERS, BATCH, 1, generator=torch.Generator().manual_seed(iteration))
        starts = whole.starts(iteration, fresh.flatten(0, 1), limit=5)[0]
        halves = [part.flatten(0, 1) for part in fresh.tensor_split(2, dim=1)]
        own = [part.starts(iteration, half, limit=5)[0] for part, half in zip(parts, halves, strict=True)]
        assert torch.equal(shared(own), starts)
        for each in (whole, *parts):
            each.put_back(iteration, [starts + 1], steps=2)
            assert torch.equal(each.steps, whole.steps)
            assert torch.equal(each.points, whole.points)


# who leads


VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")


@pytest.mark.parametrize(
    ("asked", "variables", "leads"),
    [
        ((2, 1), {}, True),
        ((2, 1), {"LOCAL_RANK": "1"}, False),
        ((1, 2), {"NODE_RANK": "1"}, False),
        ((2, 2), {"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
        ((None, None), {"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, True),
        ((None, None), {"LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}, False),
        ((1, 1), {"LOCAL_RANK": "1"}, True),  # left over from another program: this one is alone
    ],
)
def test_the_first_process_leads(
    asked: tuple[int | None, int | None], variables: dict[str, str], leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    crew = Crew(*asked)
    assert crew.leads == leads
    assert crew.several == (asked != (1, 1))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"devices": 0}, "expected devices >= 1, got 0"),
        ({"nodes": -1}, "expected nodes >= 1, got -1"),
        ({"devices": 3}, "expected devices = 2, as torchrun has it, got 3"),
    ],
)
def test_other_numbers_are_refused(asked: dict[str, int], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "torchrun" in message:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=message):
        Crew(**asked)


# two processes on one machine


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


SCRIPT = '''
import json, sys
from pathlib import Path
import torch
from lightning_fabric import Fabric
from genat import Curriculum, L2Ball, Replay, fit, generation, networks, sources
from genat.training import StoppedError

SMALL = {"hidden": [8]}
OTHERS = {
    "constrained": {"ball": L2Ball(0.3), "random_start": True, "descent_steps": 1, "r1": 0.1, "clip_norm": 1.0},
    "replayed": {"rule": "adam", "replay": Replay(2, 24)},
    "together": {"seed": [1, 2], "step_size": (0.05, 0.2), "shrink": (0.5, 1.0), "replay": Replay(2, 24)},
}


def train(fabric, folder):
    """Twenty steps of one global batch of 8 each way; every process leaves its digests and the first its losses."""
    values = 0.5 + 0.05 * torch.randn(200, 2, generator=torch.Generator().manual_seed(7))
    content = {}
    for count in (1, 21):
        toward = networks.build("mlp", (2,), SMALL, seed=3)
        for name, rejection in (("first", None), ("kept", generation.Rejection(0.3, 3))):
            made = generation.sample(
                toward, sources.Box(2), seeds=range(count), steps=3, step_size=0.2, trajectory=True,
                rejection=rejection, fabric=fabric,
            )
            record = [made.starts.tolist(), made.images.tolist(), made.trajectory.tolist(), made.passes, made.climbs]
            content[f"{name} {count}"] = record
    samples = json.dumps(content)
    content = {"samples": samples}
    for name, others in OTHERS.items():
        losses = []
        network = networks.build("mlp", (2,), SMALL, seed=0)
        if name == "together":
            network = networks.Together([network, networks.build("mlp", (2,), SMALL, seed=1)])
        fitted = fit(
            network, values.clamp(0, 1), sources.Box(2), fabric=fabric, batch_size=8, iterations=20,
            steps=Curriculum(0, 4, stage_iterations=4, gate=None), folder=folder / name, checkpoint_every=2,
            callback=lambda step: losses.append([step.loss, step.auroc, step.path, step.gradient, step.inside]),
            **{"step_size": 0.1} | others,
        )
        content[name] = {"digest": fitted.digest, "losses": losses}
    asked = iter(range(9))  # the last process alone is told to stop, before its fourth step
    try:
        fit(
            networks.build("mlp", (2,), SMALL, seed=0), values.clamp(0, 1), sources.Box(2), fabric=fabric, batch_size=8,
            iterations=9, steps=2, step_size=0.1,
            stop=lambda: next(asked) == 3 and fabric.global_rank == fabric.world_size - 1,
        )
    except StoppedError as error:
        content["stopped"] = error.iteration
    (folder / f"{fabric.global_rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    fabric = Fabric(accelerator="cpu", devices=int(sys.argv[1]), strategy="ddp_spawn" if sys.argv[1] == "2" else "auto")
    fabric.launch(train, Path(sys.argv[2]))
'''


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    for devices in (1, 2):
        (tmp_path / str(devices)).mkdir()
        line = [sys.executable, str(script), str(devices), str(tmp_path / str(devices))]
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
    one, first, second = (json.loads((tmp_path / name).read_text()) for name in ("1/0.json", "2/0.json", "2/1.json"))
    assert [content.pop("stopped") for content in (one, first, second)] == [3, 3, 3]
    assert len({content.pop("samples") for content in (one, first, second)}) == 1
    assert list(one) == ["constrained", "replayed", "together"]
    for way, found in one.items():
        assert first[way]["digest"] == second[way]["digest"]
        assert second[way]["losses"] == []
        losses = torch.tensor(first[way]["losses"])
        assert losses.shape == (20, 5)
        torch.testing.assert_close(losses, torch.tensor(found["losses"]), rtol=1e-5, atol=1e-5)


CONFIG = """
name: tiny
data: {kind: digits}
network: mlp
network_options: {hidden: [16]}
iterations: 24
batch_size: 16
steps: {first: 0, last: 3, gate: 0.6, window: 5}
step_size: 0.2
checkpoint_every: 10
tensorboard: false
"""


@pytest.mark.slow
def test_a_run_of_two_processes_is_a_run(tmp_path: Path) -> None:
    """By its own launcher, by torchrun, and resumed by one: the same steps, written and told by the first alone."""
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29581"]
    ways = {
        "one": [sys.executable, "-m", "genat", "train"],
        "own": [sys.executable, "-m", "genat", "train", "--devices", "2"],
        "torchrun": [*torchrun, "-m", "--", "genat", "train"],
    }
    found = {}
    for way, line in ways.items():
        line += [str(config), "--run", str(tmp_path / way), "--json"]
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        found[way] = json.loads(done.stdout)  # one object: the other process says nothing
        assert "Traceback" not in done.stderr
    assert found["own"]["digest"] == found["torchrun"]["digest"]
    losses = [torch.tensor([line["loss"] for line in metrics(tmp_path / way)][:20]) for way in ways]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(losses[2], losses[1])
    assert found["own"]["threshold"] == pytest.approx(found["one"]["threshold"], rel=1e-3)
    for path in (tmp_path / "own" / "checkpoints").glob("step-00000024*"):
        path.unlink()
    folder = tmp_path / "one" / "samples"
    for devices in ("1", "2"):
        shutil.rmtree(folder)  # the training's report made some
        line = [sys.executable, "-m", "genat", "sample", str(tmp_path / "one"), "--seeds", "0-20", "--devices", devices]
        done = subprocess.run([*line, "--json"], env=environment(), capture_output=True, text=True, check=True)
        found[devices] = json.loads(done.stdout)
        found[f"pictures {devices}"] = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert len(found[f"pictures {devices}"]) == 23
    assert found["1"] == found["2"]
    assert found["pictures 1"] == found["pictures 2"]
    few = ["--samples", "21", "--outside", "5", "--attack-steps", "2", "--json"]
    for devices in ("1", "2"):
        line = [sys.executable, "-m", "genat", "evaluate", str(tmp_path / "one"), "--devices", devices, *few]
        done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=True, timeout=240)
        found[devices] = json.loads(done.stdout)
        found[f"lines {devices}"] = done.stderr.splitlines()
    for section in ("inside", "generation", "fidelity", "detection", "baseline"):
        assert found["1"][section] == found["2"][section]
    assert [line for line in found["lines 2"] if line.startswith("classifier:")] == []  # read
    assert sum(line.startswith("detection: ") for line in found["lines 2"]) == 1
    resumed = [*ways["one"][:4], "--resume", "--run", str(tmp_path / "own"), "--json"]
    done = subprocess.run(resumed, env=environment(), capture_output=True, text=True, check=True, timeout=240)
    assert "resumed after step 20" in done.stderr
    assert [line["iteration"] for line in metrics(tmp_path / "own")] == list(range(1, 25))
