"""A run folder is written whole, read back exactly, and never harmed."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from genat import assemble, checkpoints, config, detection, runs
from genat.ascent import Rule
from genat.config import Config, ReplayConfig, SamplingConfig
from genat.generation import Rejection
from genat.training import DivergenceError, Step, recording


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    pass


def stop_at(n: int) -> Callable[[Step], None]:
    def callback(step: Step) -> None:
        if step.iteration == n:
            raise Stopped

    return callback


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def changed(settings: Config, **keys: object) -> Config:
    return Config.model_validate(settings.model_dump() | keys)


@pytest.fixture
def settings(tiny_yaml: Path) -> Config:
    return config.load(tiny_yaml)


@pytest.fixture
def stopped(settings: Config, tmp_path: Path) -> Path:
    """A run that was stopped at step 27, after the checkpoint of step 20."""
    with pytest.raises(Stopped):
        runs.train(settings, tmp_path / "stopped", callback=stop_at(27))
    return tmp_path / "stopped"


def iterations(folder: Path) -> list[float]:
    return [line["iteration"] for line in runs.metrics(folder)]


# there and back


def test_a_run_is_read_as_it_was_trained(settings: Config, tmp_path: Path) -> None:
    run, fitted = runs.train(settings, tmp_path / "run")
    loaded = runs.load(str(tmp_path / "run"))
    assert (run.config, run.shape, run.iteration) == (loaded.config, loaded.shape, loaded.iteration)
    assert (loaded.config, loaded.shape, loaded.iteration) == (settings, (1, 8, 8), 40)
    assert not loaded.detector.training
    assert not any(parameter.requires_grad for parameter in loaded.detector.parameters())
    for name, value in fitted.detector.state_dict().items():
        assert torch.equal(loaded.detector.state_dict()[name], value)
    assert any(not torch.equal(a, b) for a, b in
               zip(fitted.last.parameters(), loaded.detector.parameters(), strict=True))  # fmt: skip
    held_out = assemble.target(settings).validation.tensor()
    assert loaded.calibration is not None
    assert torch.equal(loaded.calibration.logits, detection.logits(fitted.detector, held_out).sort().values)
    assert loaded.threshold == run.threshold
    prediction = loaded.predict(held_out)
    assert prediction.in_distribution.double().mean() >= settings.tpr
    assert torch.equal(prediction.score, -detection.logits(fitted.detector, held_out))
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_without_a_mean_the_last_weights_are_read(settings: Config, tmp_path: Path) -> None:
    run, fitted = runs.train(changed(settings, ema=None, iterations=5), tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(fitted.last.parameters(), run.detector.parameters(), strict=True))


def test_the_first_weights_file_is_not_needed_any_more(settings: Config, tmp_path: Path) -> None:
    network = assemble.detector(settings, (1, 8, 8))
    save_file(network.state_dict(), tmp_path / "first.safetensors")
    runs.train(changed(settings, init=str(tmp_path / "first.safetensors"), iterations=2), tmp_path / "run")
    (tmp_path / "first.safetensors").unlink()
    assert runs.load(tmp_path / "run").iteration == 2


def test_how_a_run_climbs_is_its_configurations_and_can_be_turned(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    own: dict[str, object] = {"steps": 5, "step_size": 0.2, "shrink": 1.0, "stop_at": None, "strength": 1.0}
    assert dict(run.climbing()) == own | {"rule": "steepest"}
    turned: dict[str, object] = {"steps": 2, "step_size": 0.5, "shrink": 0.5, "stop_at": 3.0, "strength": 0.1}
    assert dict(run.climbing(steps=2, step_size=0.5, shrink=0.5, stop_at=3.0, strength=0.1)) == turned | {
        "rule": "steepest"
    }


@pytest.mark.parametrize(("sampling", "expected"), [(None, "adam"), ("sign", "sign")])
def test_a_run_climbs_by_the_rule_it_was_trained_with(sampling: Rule | None, expected: str, tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    settings = run.config.model_copy(update={"rule": "adam", "sampling": SamplingConfig(rule=sampling)})
    assert replace(run, config=settings).climbing()["rule"] == expected


def test_a_run_with_replay_resumes_and_reads_back(settings: Config, tmp_path: Path) -> None:
    mine = settings.model_copy(update={"replay": ReplayConfig(burst=1, rows=settings.batch_size)})
    run, fitted = runs.train(mine, tmp_path / "run")
    assert run.calibration is not None
    assert runs.load(tmp_path / "run").config.replay == mine.replay
    assert runs.train(mine, tmp_path / "run", resume=True)[1].digest == fitted.digest


def test_samples_are_judged_by_held_out_images(tiny_run: Path, stopped: Path) -> None:
    run = runs.load(tiny_run)
    assert run.rejection() is None
    assert run.calibration is not None
    found = run.rejection(tries=4)
    assert found == Rejection(run.calibration.logits.quantile(0.95).item(), 4)
    assert runs.load(stopped).rejection() is None
    with pytest.raises(ValueError, match="expected a finished training"):
        runs.load(stopped).rejection(tries=2)


def test_images_held_out_are_kept(tiny_run: Path, settings: Config) -> None:
    shown, held_out = runs.load(tiny_run).held_out(), assemble.target(settings).validation
    everything = {bytes(image.flatten().tolist()) for image in held_out.pixels}
    assert len(shown) == 64
    assert all(bytes(image.flatten().tolist()) in everything for image in shown.pixels)


def test_what_is_said_and_called(settings: Config, tmp_path: Path) -> None:
    said: list[str] = []
    seen: list[Step] = []
    runs.train(changed(settings, iterations=3), tmp_path / "run", say=said.append, callback=seen.append)
    assert said == [
        "958 images (1, 8, 8) to learn from, 240 held out",
        "step 3: the gate was never met: none of the stages passed 0.8",
    ]
    assert [step.iteration for step in seen] == [1, 2, 3] == iterations(tmp_path / "run")


# predictions


def test_before_the_end_there_is_no_threshold(stopped: Path) -> None:
    run = runs.load(stopped)
    assert (run.iteration, run.calibration) == (20, None)
    for use in (lambda: run.threshold, lambda: run.predict(torch.zeros(1, 1, 8, 8)), run.held_out):
        with pytest.raises(ValueError, match="stopped: expected a finished training, got one at step 20: resume it"):
            use()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8), r"expected images \(N, 1, 8, 8\), got \(2, 3, 8, 8\)"),
        (torch.zeros(1, 8, 8), r"expected images \(N, 1, 8, 8\), got \(1, 8, 8\)"),
        (torch.full((1, 1, 8, 8), 255.0), r"expected images in \[0, 1\], got 255 to 255"),
        (torch.full((1, 1, 8, 8), -0.1), r"expected images in \[0, 1\], got -0.1 to -0.1"),
        (torch.full((1, 1, 8, 8), float("nan")), r"expected images in \[0, 1\], got nan to nan"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), r"expected images \(N, \*\), floating point"),
    ],
)
def test_images_of_another_kind_are_refused(images: torch.Tensor, message: str, tiny_run: Path) -> None:
    with pytest.raises(ValueError, match=message):
        runs.load(tiny_run).predict(images)


# damage


def test_a_run_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: expected a run folder, got none"):
        runs.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"expected a run folder, got one without config\.yaml"):
        runs.load(tmp_path)


def corrupt_checkpoints(folder: Path) -> None:
    for path in folder.glob("checkpoints/*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])


def forget_the_shape(folder: Path) -> None:
    for path in folder.glob("checkpoints/*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["state"]["shape"]
        path.write_text(json.dumps(checkpoints.sealed(content)), encoding="utf-8")


def writes(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (writes("config.yaml", b"a: [1"), r"config\.yaml: expected YAML"),
        (writes("config.yaml", b"- 1"), r"config\.yaml: expected keys and values, got list"),
        (writes("config.yaml", b"iteratoins: 4"), r"config\.yaml: iteratoins: unknown key"),
        (writes("config.yaml", b"\xff\xfe\x00"), r"config\.yaml: expected UTF-8 text"),
        (
            writes("config.yaml", b"network: mlp\nnetwork_options: {hidden: [4]}"),
            "expected weights of network mlp, got others",
        ),
        (writes("config.yaml", b"network: mlp"), r"config\.yaml: expected the network of the checkpoint's weights"),
        (writes("calibration.json", b""), r"calibration\.json: expected a calibration"),
        (writes("calibration.json", b"[]"), r"calibration\.json: expected a calibration"),
        (writes("calibration.json", b"{}"), r"calibration\.json: expected a calibration"),
        (writes("calibration.json", b"\xff"), r"calibration\.json: expected a calibration"),
        (corrupt_checkpoints, r"step-00000040\.safetensors: expected SHA-256 .* the file is altered"),
        (forget_the_shape, "checkpoints: expected a checkpoint with the samples' shape, got none"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), "checkpoints: expected a checkpoint, got none"),
    ],
)
def test_damage_is_named_in_one_line_and_makes_nothing_worse(
    damage: Callable[[Path], None], message: str, tiny_run: Path
) -> None:
    damage(tiny_run)
    before = snapshot(tiny_run)
    with pytest.raises(ValueError, match=message) as caught:
        runs.load(tiny_run)
    assert "\n" not in str(caught.value)
    assert snapshot(tiny_run) == before


@pytest.mark.parametrize("key", ["logits", "tpr"])
@pytest.mark.parametrize("value", [None, "x", [], {}, [[1], [2, 3]], [None], [float("nan")]])
def test_a_calibration_of_these_weights_but_another_kind_is_named(key: str, value: object, tiny_run: Path) -> None:
    path = tiny_run / runs.CALIBRATION
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {key: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"calibration\.json: expected a calibration") as caught:
        runs.load(tiny_run)
    assert "\n" not in str(caught.value)


def test_weights_other_than_the_calibrated_have_no_threshold(tiny_run: Path, settings: Config) -> None:
    digest = runs.load(tiny_run).threshold
    newest = tiny_run / "checkpoints" / "step-00000040.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    run = runs.load(tiny_run)
    assert run.iteration == 20
    with pytest.raises(ValueError, match="expected a finished training, got one at step 20: resume it"):
        run.predict(torch.zeros(1, 1, 8, 8))
    assert runs.train(settings, tiny_run, resume=True)[0].threshold == digest


@pytest.mark.parametrize("damage", [None, b"not an archive"])
def test_held_out_images_that_cannot_be_read_are_named(damage: bytes | None, tiny_run: Path) -> None:
    path = tiny_run / runs.HELD_OUT
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ValueError, match=r"held_out\.safetensors: expected held-out images"):
        runs.load(tiny_run).held_out()


def test_metrics_of_no_run_and_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        runs.metrics(tmp_path)
    (tmp_path / runs.METRICS).write_text('{"iteration": 1}\n{"iter\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: expected one JSON object a line"):
        runs.metrics(tmp_path)


# training into a folder


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data": {"kind": "folder", "path": "no/such"}}, "which does not exist"),
        ({"data": {"classes": [11]}}, "expected a class of"),
        ({"data": {"split": "tset"}}, "expected split train or test of digits, got 'tset'"),
        ({"outside": [{"kind": "folder", "path": "no/such"}]}, "which does not exist"),
        ({"network": "mpl"}, "expected a network"),
        ({"network_options": {"width": 3}}, "expected options of mlp"),
        ({"init": "no/such.safetensors"}, "expected a safetensors file"),
        ({"augment": {"crop_ratio": [0.9, 1.1]}}, "expected crop_ratio and crop_probability only with crop_scale"),
    ],
)
def test_what_is_wrong_is_found_before_the_folder_is_made(
    keys: dict[str, Any], message: str, settings: Config, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        runs.train(changed(settings, **keys), tmp_path / "a" / "run")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_leaves_no_folder(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="expected a GPU for cuda"):
        runs.train(changed(settings, device="cuda"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_overwritten(settings: Config, tiny_run: Path) -> None:
    before = snapshot(tiny_run)
    with pytest.raises(ValueError, match="expected a new folder, got a run: pass --resume to go on with it"):
        runs.train(settings, tiny_run)
    assert snapshot(tiny_run) == before


def test_checkpoints_without_their_configuration_are_not_overwritten(settings: Config, tiny_run: Path) -> None:
    (tiny_run / runs.CONFIG).unlink()
    before = snapshot(tiny_run)
    with pytest.raises(ValueError, match="expected a new folder, got a run"):
        runs.train(settings, tiny_run)
    with pytest.raises(FileNotFoundError, match=r"got one without config\.yaml"):
        runs.train(settings, tiny_run, resume=True)
    assert snapshot(tiny_run) == before


def test_a_run_resumes_with_its_own_configuration_only(settings: Config, tiny_run: Path) -> None:
    before = snapshot(tiny_run)
    with pytest.raises(ValueError, match=r"the run's own configuration, got another iterations, r1$"):
        runs.train(changed(settings, r1=0.5, iterations=99), tiny_run, resume=True)
    assert snapshot(tiny_run) == before


def test_there_must_be_a_run_to_resume(settings: Config, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a run folder, got none"):
        runs.train(settings, tmp_path / "none", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(settings: Config, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a folder for the run, got a file"):
        runs.train(settings, tmp_path / "run")
    assert (tmp_path / "run").read_text(encoding="utf-8") == "mine"


def test_a_stopped_run_resumes_to_the_whole(settings: Config, stopped: Path, tiny_run: Path) -> None:
    said: list[str] = []
    assert iterations(stopped) == list(range(1, 28))
    run, _ = runs.train(settings, stopped, resume=True, say=said.append)
    assert "resumed after step 20" in said
    assert iterations(stopped) == list(range(1, 41))
    whole = runs.load(tiny_run)
    assert run.threshold == whole.threshold
    for ours, theirs in zip(runs.metrics(stopped), runs.metrics(tiny_run), strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    assert (stopped / runs.CALIBRATION).read_bytes() == (tiny_run / runs.CALIBRATION).read_bytes()


def test_a_run_stopped_before_its_first_checkpoint_resumes(settings: Config, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        runs.train(settings, tmp_path / "early", callback=stop_at(3))
    run, _ = runs.train(settings, tmp_path / "early", resume=True)
    assert run.threshold == runs.load(tiny_run).threshold
    assert iterations(tmp_path / "early") == list(range(1, 41))


def test_a_line_that_was_torn_is_written_again(settings: Config, stopped: Path) -> None:
    path = stopped / runs.METRICS
    path.write_bytes(path.read_bytes()[:-30])
    assert iterations(stopped) == list(range(1, 27))
    runs.train(settings, stopped, resume=True)
    assert iterations(stopped) == list(range(1, 41))


def test_a_finished_run_resumes_to_itself(settings: Config, tiny_run: Path) -> None:
    before = snapshot(tiny_run)
    runs.train(settings, tiny_run, resume=True)
    assert snapshot(tiny_run) == before


def test_a_training_that_blows_up_can_be_looked_at(settings: Config, tmp_path: Path) -> None:
    wild = changed(settings, optimizer={"name": "sgd", "lr": 1e38})
    with pytest.raises(DivergenceError, match=r"^step \d+: expected finite"):
        runs.train(wild, tmp_path / "run")
    run = runs.load(tmp_path / "run")
    assert all(bool(torch.isfinite(parameter).all()) for parameter in run.detector.parameters())
    assert iterations(tmp_path / "run") == list(range(1, run.iteration + 1))


# what its watch saw

LOSING = {"window": 5, "loses_below": 0.99}  # nearly every window is lost


def test_what_the_watch_saw_is_said_and_written(settings: Config, tmp_path: Path) -> None:
    said: list[str] = []
    watched = changed(settings, health=LOSING)
    _, fitted = runs.train(watched, tmp_path / "run", say=said.append)
    assert fitted.incidents
    assert runs.incidents(tmp_path / "run") == list(fitted.incidents)
    first = fitted.incidents[0]
    lost = [incident for incident in fitted.incidents if incident.kind == "loses"]
    assert len(lost) > 1
    assert said[1:] == [
        str(first),
        "step 40: the gate was never met: none of the stages passed 0.8",
        f"loses: {len(lost)} times, all in {tmp_path / 'run' / 'incidents.jsonl'}; the last: {lost[-1]}",
    ]
    assert runs.incidents(tmp_path) == []  # a run from before there was a watch


def test_a_resumed_run_tells_of_what_was_seen_before_once(settings: Config, tmp_path: Path) -> None:
    watched = changed(settings, health=LOSING)
    _, whole = runs.train(watched, tmp_path / "whole")
    assert any(20 < incident.iteration <= 27 for incident in whole.incidents)
    with pytest.raises(Stopped):
        runs.train(watched, tmp_path / "run", callback=stop_at(27))
    _, resumed = runs.train(watched, tmp_path / "run", resume=True)
    assert runs.incidents(tmp_path / "run") == list(resumed.incidents) == list(whole.incidents)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_run_that_went_back_shows_the_way_that_it_kept(tensorboard: bool, settings: Config, tmp_path: Path) -> None:
    if tensorboard:
        pytest.importorskip("tensorboard")
    said, ways = list[str](), list[list[float]]()
    health = {"window": 5, "wins_above": 0.4, "wins": "back-off", "back_offs": 1}
    watched = changed(settings, health=health, checkpoint_every=5, tensorboard=tensorboard)

    def say(line: str) -> None:
        said.append(line)
        if "back to step" in line:
            ways.append(iterations(tmp_path / "run"))

    with pytest.raises(DivergenceError, match=r"^step 35: the detector wins: .*; after 1 back-offs"):
        runs.train(watched, tmp_path / "run", say=say)
    assert ways == [list(range(1, 31))]  # the last stage begins with step 31
    assert iterations(tmp_path / "run") == list(range(1, 36))
    seen = [(incident.iteration, incident.action, incident.back_to) for incident in runs.incidents(tmp_path / "run")]
    assert seen == [(35, "back-off", 30), (35, "stop", None)]
    assert len(said) == 2  # that it stops is what the error tells
    if tensorboard:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

        events = EventAccumulator(str(tmp_path / "run" / "events"))
        events.Reload()
        assert [event.step for event in events.Scalars("training/loss")] == list(range(1, 36))


@pytest.mark.parametrize("text", ['{"iteration": 1}\n', '{"iter\n', "[1]\n"])
def test_incidents_of_another_kind(text: str, tmp_path: Path) -> None:
    (tmp_path / runs.INCIDENTS).write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"incidents\.jsonl: expected (an incident|one JSON object) a line, got"
    ) as caught:
        runs.incidents(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_newer_settings_reach_the_training(settings: Config, tmp_path: Path) -> None:
    few = changed(settings, iterations=4, steps={"first": 2, "last": 2})
    made = {}
    others: dict[str, dict[str, object]] = {
        "plain": {},
        "sizes": {"step_size": [0.05, 0.4]},
        "shrink": {"shrink": 0.1},
        "anneal": {"anneal": 1.0},
    }
    for name, keys in others.items():
        made[name] = runs.train(changed(few, **keys), tmp_path / name)[1].digest
        assert runs.load(tmp_path / name).config == changed(few, **keys)
    assert len(set(made.values())) == 4


def test_a_run_resumes_from_the_checkpoint_that_it_was_found_by(
    settings: Config, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = checkpoints.read

    def reading(manifest: Path) -> checkpoints.Checkpoint:
        read.append(manifest)
        return real(manifest)

    monkeypatch.setattr(checkpoints, "read", reading)
    runs.train(settings, stopped, resume=True)
    assert [path.name for path in read] == ["step-00000020.json", "step-00000040.json"]  # then what it has become


def test_a_checkpoint_that_is_passed_over_is_named(settings: Config, tiny_run: Path) -> None:
    flipped = tiny_run / "checkpoints" / "step-00000040.safetensors"
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"?")
    said: list[str] = []
    assert runs.load(tiny_run, say=said.append).iteration == 20
    runs.train(settings, tiny_run, resume=True, say=said.append)
    assert said[0] == said[1]
    assert said[0].startswith(f"passed over: {flipped}: expected SHA-256 ")
    assert "resumed after step 20" in said


def test_a_run_killed_before_its_first_checkpoint_begins_anew(settings: Config, tiny_run: Path, tmp_path: Path) -> None:
    """Its configuration is there, and perhaps tensors that no JSON speaks of."""
    begun = tmp_path / "begun" / "checkpoints"
    begun.mkdir(parents=True)
    (begun / "step-00000000.safetensors").write_bytes(b"half")
    (begun.parent / runs.CONFIG).write_text(config.dump(settings), encoding="utf-8")
    (begun.parent / ".metrics.jsonl.99.partial").write_bytes(b"half")
    said: list[str] = []
    run, _ = runs.train(settings, begun.parent, resume=True, say=said.append)
    assert said[0] == "no checkpoint yet: from the beginning"
    assert run.threshold == runs.load(tiny_run).threshold
    assert not list(begun.parent.rglob("*.partial"))


def test_the_last_good_state_is_gone_on_from_where_nothing_else_can_be_read(settings: Config, tmp_path: Path) -> None:
    watched, folder = changed(settings, health={"non_finite": "back-off"}), tmp_path / "run"
    _, whole = runs.train(watched, folder)
    for path in (folder / "checkpoints").glob("*.json"):
        path.write_text("{", encoding="utf-8")
    said: list[str] = []
    _, resumed = runs.train(watched, folder, resume=True, say=said.append)
    assert resumed.digest == whole.digest
    assert [line.partition(":")[0] for line in said if "step-000000" in line] == ["passed over"]
    assert any(line.startswith("resumed after step ") for line in said)


def test_as_many_checkpoints_stay_as_asked(settings: Config, tmp_path: Path) -> None:
    for keep, expected in ((1, [40]), (3, [20, 30, 40]), (None, [0, 10, 20, 30, 40])):
        runs.train(changed(settings, checkpoint_every=10, checkpoint_keep=keep), tmp_path / f"{keep}")
        kept = sorted((tmp_path / f"{keep}" / "checkpoints").glob("*.json"))
        assert [int(path.stem.removeprefix("step-")) for path in kept] == expected


# two at once


def test_a_second_training_in_a_folder_is_refused(settings: Config, tmp_path: Path) -> None:
    folder, refused = tmp_path / "run", list[str]()

    def again(step: Step) -> None:
        if step.iteration == 3:
            for resume in (True, False):
                with pytest.raises(ValueError, match="expected a") as caught:
                    runs.train(settings, folder, resume=resume)
                refused.append(str(caught.value))

    _, fitted = runs.train(settings, folder, callback=again)
    assert refused == [
        f"{folder}: expected a folder that nothing trains in, got process {os.getpid()} at it",
        f"{folder}: expected a new folder, got a run: pass --resume to go on with it",
    ]
    assert runs.train(settings, folder, resume=True)[1].digest == fitted.digest


def test_of_two_that_begin_at_once_one_is_refused(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other began, and ended, while this one read its data."""
    own = assemble.target

    def meanwhile(asked: Config) -> assemble.Data:
        monkeypatch.setattr(assemble, "target", own)
        runs.train(settings, tmp_path / "run")
        return own(asked)

    monkeypatch.setattr(assemble, "target", meanwhile)
    with pytest.raises(ValueError, match="expected a new folder, got a run"):
        runs.train(settings, tmp_path / "run")


# a full disk


def test_a_disk_that_is_full_stops_the_run_which_goes_on_later(
    settings: Config, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10))

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if next(calls) == 2:
            path.write_bytes(b"as much as there was room for")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    folder = tmp_path / "full"
    with pytest.raises(OSError, match="No space left on device: the run goes on from step 20 with --resume") as caught:
        runs.train(settings, folder)
    assert caught.value.filename == str(folder / "checkpoints" / "step-00000040.safetensors")
    run, _ = runs.train(settings, folder, resume=True)
    assert run.threshold == runs.load(tiny_run).threshold
    assert not list(folder.rglob("*.partial"))


def test_a_disk_that_is_full_before_the_first_checkpoint(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", full)
        with pytest.raises(OSError, match="No space left on device: the run begins anew with --resume"):
            runs.train(settings, tmp_path / "full")
    assert runs.train(settings, tmp_path / "full", resume=True)[0].iteration == 40


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_metrics_that_find_no_room_are_named() -> None:
    with Path("/dev/full").open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left") as caught:
        recording._append(file, "{}\n")
    assert (caught.value.errno, caught.value.filename) == (28, "/dev/full")


def test_augmentation_reaches_the_batches(settings: Config, tmp_path: Path) -> None:
    few = changed(settings, iterations=2)
    _, plain = runs.train(few, tmp_path / "plain")
    _, shifted = runs.train(changed(few, augment={"shift": 1}), tmp_path / "shifted")
    assert plain.digest != shifted.digest


def test_curves_for_tensorboard(settings: Config, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    runs.train(changed(settings, iterations=3, tensorboard=True), tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "events"))
    events.Reload()
    assert "training/auroc" in events.Tags()["scalars"]
    losses = [line["loss"] for line in runs.metrics(tmp_path / "run")]
    got = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert [step for step, _ in got] == [1, 2, 3]
    assert [value for _, value in got] == pytest.approx(losses)


def test_tensorboard_that_is_not_there_is_said_before_the_folder_is_made(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"tensorboard: expected the extra, got none .*genat\[log\]"):
        runs.train(changed(settings, tensorboard=True), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_a_value(tiny_run: Path) -> None:
    run = runs.load(tiny_run)
    assert replace(run, calibration=None).calibration is None
    assert checkpoints.latest(tiny_run / runs.CHECKPOINTS).iteration == run.iteration
