"""A training that its watch stops, sends back, or lets go on: never in silence, and to the bit after a kill."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from genat import checkpoints, networks
from genat.curriculum import Curriculum
from genat.networks import Together
from genat.recipe import adam
from genat.sources import Box, Samples
from genat.training import DivergenceError, Fitted, Health, Incident, Step, fit

NOISE = torch.randn(200, 2, generator=torch.Generator().manual_seed(7))
TARGET = Samples((0.5 + 0.05 * NOISE).clamp(0, 1))
# steps 16 to 20 are won at the full learning rate and at a twentieth of it, and not at a twentieth of that
WON = Health(wins="back-off", window=5, wins_above=0.83, rate_factor=0.05)


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


def stop_at_call(n: int) -> Callable[[Step], None]:
    """Stop at the n-th step, those that come again counted."""
    calls = iter(range(1, n + 1))

    def callback(_: Step) -> None:
        if next(calls) == n:
            raise Stopped

    return callback


def train(folder: Path | None = None, *, detector: nn.Module | None = None, **options: Any) -> Fitted:  # noqa: ANN401
    known: dict[str, Any] = {
        "iterations": 24,
        "steps": 1,
        "step_size": 0.02,
        "batch_size": 32,
        "optimizer": adam(0.05),
        "checkpoint_every": 4,
        "folder": folder,
    }
    net = networks.build("mlp", (2,), {"hidden": [8]}, seed=0) if detector is None else detector
    return fit(net, TARGET, Box(2), **known | options)


@pytest.fixture(scope="module")
def returned(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A whole training that went back twice."""
    return train(tmp_path_factory.mktemp("returned"), health=WON)


def several() -> Together:
    return Together([networks.build("mlp", (2,), {"hidden": [8]}, seed=seed) for seed in (0, 1, 2)])


# going on


def test_watching_changes_nothing_and_names_everything(tmp_path: Path) -> None:
    told: list[Incident] = []
    health = Health(window=4, wins_above=0.6, loses_below=0.4)
    plan = Curriculum(0, 2, stage_iterations=8, gate=0.95, window=8)
    watched = train(tmp_path, health=health, steps=plan, alarm=told.append)
    assert watched.digest == train(steps=plan).digest
    assert watched.incidents == tuple(told)
    assert {incident.action for incident in told} == {"continue"}
    gates = [incident.iteration for incident in told if incident.kind == "gate"]
    assert gates == [8, 16, 24]
    assert "wins" in {incident.kind for incident in told}
    assert [incident.iteration for incident in told] == sorted(incident.iteration for incident in told)


def test_incidents_before_a_resume_are_told_of_at_the_end(tmp_path: Path) -> None:
    options: dict[str, Any] = {"health": Health(window=4, wins_above=0.6)}
    whole = train(**options)
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at_call(19), **options)
    again: list[Incident] = []
    resumed = train(tmp_path, resume=True, alarm=again.append, **options)
    assert resumed.incidents == whole.incidents
    assert [incident.iteration for incident in again] == [i.iteration for i in whole.incidents if i.iteration > 16]


def test_a_checkpoint_from_before_the_watch_is_gone_on_with(tmp_path: Path) -> None:
    whole = train()
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at_call(19))
    newest = checkpoints.latest(tmp_path)
    state = {name: value for name, value in newest.state.items() if name != "watch"}
    checkpoints.save(tmp_path, checkpoints.Checkpoint(newest.iteration, newest.tensors, state))
    assert train(tmp_path, resume=True).digest == whole.digest


def test_a_training_goes_on_from_the_checkpoint_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at_call(19))
    checkpoint = checkpoints.latest(tmp_path)
    for path in tmp_path.glob("step-*"):
        path.unlink()
    assert train(tmp_path, resume=checkpoint).digest == train().digest


# stopping


def test_a_training_that_is_stopped_says_why_and_keeps_its_weights(tmp_path: Path) -> None:
    told: list[Incident] = []
    health = Health(wins="stop", window=5, wins_above=0.83)
    line = rf"^step 20: the detector wins: .* above 0\.83; the weights are saved in {tmp_path}$"
    with pytest.raises(DivergenceError, match=line):
        train(tmp_path, health=health, alarm=told.append)
    assert [(incident.iteration, incident.kind, incident.action) for incident in told] == [(20, "wins", "stop")]
    assert checkpoints.latest(tmp_path).iteration == 20
    with pytest.raises(DivergenceError, match=r"^step 20: the detector wins: [^;]*$"):
        train(health=health)


def test_a_value_that_is_not_finite_is_told_of_before_the_training_stops() -> None:
    told: list[Incident] = []
    with pytest.raises(DivergenceError, match=r"^step 2: expected finite"):
        train(optimizer=adam(1e30), alarm=told.append)
    assert [(incident.iteration, incident.kind, incident.action) for incident in told] == [(2, "non_finite", "stop")]


# going back


def test_a_training_goes_back_to_the_last_good_state_and_goes_on_slower(tmp_path: Path) -> None:
    told: list[Incident] = []
    seen: list[int] = []
    fitted = train(tmp_path, health=WON, alarm=told.append, callback=lambda step: seen.append(step.iteration))
    assert [(i.iteration, i.kind, i.action, i.back_to) for i in told] == [(20, "wins", "back-off", 15)] * 2
    assert [i.rate for i in told] == pytest.approx([0.05, 0.05**2])
    assert fitted.incidents == tuple(told)
    assert seen == [*range(1, 21), *range(16, 21), *range(16, 25)]
    assert checkpoints.latest(tmp_path / "good").iteration == 20
    assert len(list((tmp_path / "good").glob("step-*"))) == 2


def test_going_back_is_what_training_slower_from_there_would_have_been(tmp_path: Path) -> None:
    """The state gone back to is the one at the end of the last window in order, to the bit."""
    fitted = train(tmp_path / "back", health=WON)
    train(tmp_path / "plain", iterations=15)
    slower = train(tmp_path / "plain", optimizer=adam(0.05 * 0.05**2), resume=True)
    assert slower.digest == fitted.digest


@pytest.mark.parametrize("n", [1, 5, 6, 15, 16, 19, 20, 21, 23, 25, 26, 29, 34])
def test_killed_and_resumed_with_a_return_in_it_it_ends_the_same(n: int, returned: Fitted, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, health=WON, callback=stop_at_call(n))
    resumed = train(tmp_path, health=WON, resume=True)
    assert (resumed.digest, resumed.incidents) == (returned.digest, returned.incidents)
    assert resumed.iterations == 24


@pytest.mark.parametrize("removed", [False, True], ids=["before", "amid"])
def test_a_kill_before_and_amid_the_removal_of_a_way_that_was_given_up(
    removed: bool, returned: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.unlink

    def killed(self: Path, missing_ok: bool = False) -> None:
        if self.parent == tmp_path and self.stem > "step-00000015":
            if removed:
                real(self)
            raise Stopped
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(Stopped):
            train(tmp_path, health=WON)
    resumed = train(tmp_path, health=WON, resume=True)
    assert (resumed.digest, resumed.incidents) == (returned.digest, returned.incidents)


def test_nothing_is_resumed_from_a_way_that_was_given_up(tmp_path: Path) -> None:
    kept: list[list[int]] = []

    def note(_: Incident) -> None:
        kept.append(sorted(checkpoints.read(path).iteration for path in tmp_path.glob("step-*.json")))

    train(tmp_path, health=WON, alarm=note)
    assert [max(iterations) for iterations in kept] == [15, 15]


def test_weights_that_blow_up_are_taken_back(tmp_path: Path) -> None:
    told: list[Incident] = []
    health = Health(non_finite="back-off", rate_factor=1e-16)
    fitted = train(tmp_path, optimizer=adam(1e30), health=health, alarm=told.append)
    assert [(i.iteration, i.kind, i.back_to) for i in told] == [(2, "non_finite", 0)]
    assert fitted.digest == train(optimizer=adam(1e30 * 1e-16)).digest


def test_a_training_that_goes_back_too_often_stops(tmp_path: Path) -> None:
    told: list[Incident] = []
    health = Health(non_finite="back-off", rate_factor=0.5, back_offs=2)
    line = r"^step 2: expected finite .*; after 2 back-offs; the weights before it are saved in "
    with pytest.raises(DivergenceError, match=line) as caught:
        train(tmp_path, optimizer=adam(1e30), health=health, alarm=told.append)
    assert "\n" not in str(caught.value)
    assert [(incident.action, incident.rate) for incident in told] == [
        ("back-off", 0.5),
        ("back-off", 0.25),
        ("stop", None),
    ]


def test_a_gate_that_is_not_met_can_send_a_training_back(tmp_path: Path) -> None:
    plan = Curriculum(0, 1, stage_iterations=12, gate=0.99, window=4)
    health = Health(gate="back-off", window=4, back_offs=1)
    told: list[Incident] = []
    with pytest.raises(DivergenceError, match=r"^step 12: the gate was not met: .*; after 1 back-offs; "):
        train(tmp_path, steps=plan, health=health, alarm=told.append)
    assert [(incident.iteration, incident.back_to) for incident in told] == [(12, 8), (12, None)]


def test_a_training_that_was_not_watched_so_far_goes_back_to_where_it_was_resumed(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, callback=stop_at_call(7))
    health = Health(wins="back-off", window=4, wins_above=0.5, back_offs=1, rate_factor=1e-9)
    told: list[Incident] = []
    with pytest.raises(DivergenceError, match="after 1 back-offs"):
        train(tmp_path, resume=True, health=health, alarm=told.append)
    assert told[0].back_to == 4


@pytest.mark.parametrize(
    "health",
    [
        Health(non_finite="back-off"),
        Health(gate="back-off"),
        Health(stuck="back-off"),
        Health(wins="back-off"),
        Health(loses="back-off"),
    ],
)
def test_there_must_be_somewhere_to_go_back_to(health: Health) -> None:
    with pytest.raises(ValueError, match="expected a folder for the states that health backs off to, got folder=None"):
        train(health=health)


def test_going_back_is_for_one_member_and_one_process(tmp_path: Path) -> None:
    health = Health(loses="back-off")
    with pytest.raises(ValueError, match="one member and one process with health that backs off, got 3 and 1"):
        train(tmp_path / "a", detector=several(), seed=(0, 1, 2), health=health)
    with pytest.raises(ValueError, match="one member and one process with health that backs off, got 1 and 2"):
        train(tmp_path / "b", health=health, fabric=SimpleNamespace(world_size=2))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_good_state_is_not_written_over(tmp_path: Path) -> None:
    train(tmp_path, health=WON)
    for path in tmp_path.glob("step-*"):
        path.unlink()
    with pytest.raises(ValueError, match="expected a folder without checkpoints, got some"):
        train(tmp_path)


# several members


def test_each_member_is_watched_and_one_stops_all(tmp_path: Path) -> None:
    options: dict[str, Any] = {"seed": (0, 1, 2), "health": Health(window=8, wins_above=0.7)}
    told: list[Incident] = []
    fitted = train(detector=several(), alarm=told.append, **options)
    members = {incident.member for incident in told if incident.kind == "wins"}
    assert members <= {0, 1, 2}
    assert members
    assert fitted.incidents == tuple(told)
    first = next(incident for incident in told if incident.kind == "wins")
    with pytest.raises(DivergenceError, match=rf"^step {first.iteration}: member {first.member}: the detector wins: "):
        train(tmp_path, detector=several(), seed=(0, 1, 2), health=Health(window=8, wins_above=0.7, wins="stop"))


def test_a_member_that_diverges_is_an_incident_and_rests(tmp_path: Path) -> None:
    class BlowsUp(torch.optim.SGD):
        left = 4

        def step(self, closure: Any = None) -> Any:  # noqa: ANN401
            super().step()
            self.left -= 1
            if self.left == 0:
                with torch.no_grad():
                    self.param_groups[0]["params"][0][1] = math.inf
            return closure

    told: list[Incident] = []
    fitted = train(
        tmp_path,
        detector=several(),
        seed=(0, 1, 2),
        optimizer=lambda parameters: BlowsUp(parameters, lr=0.01),
        checkpoint_every=100,
        health=Health(window=4),
        alarm=told.append,
    )
    assert [(i.iteration, i.kind, i.member, i.action) for i in told if i.kind == "non_finite"] == [
        (5, "non_finite", 1, "continue")
    ]
    assert fitted.diverged == {1: 5}
    assert all(incident.member != 1 for incident in told if incident.iteration > 5)
