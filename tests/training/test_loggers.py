"""Logs of a training beside its own record: those here, told apart by fakes that record their calls, and one's own."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from genat import config, runs
from genat.config import Config
from genat.training import StoppedError, loggers


@pytest.fixture
def settings(tiny_yaml: Path) -> Config:
    keys = ["iterations=4", "checkpoint_every=2", "network_options.hidden=[8]", "outside=[{kind: uniform-noise}]"]
    return config.load(tiny_yaml, keys)


def asking(settings: Config, *names: str) -> Config:
    return settings.model_copy(update={"log": names})


class Recording:
    """Stands for a library: every call is kept, by name, with what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def take(self, name: str, answer: Any = None) -> Any:  # noqa: ANN401
        def call(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            self.calls.append((name, given, named))
            return answer

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(given, named) for found, given, named in self.calls if found == name]


def install(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:  # noqa: ANN401
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Weights & Biases and trackio, whose runs have one form."""
    calls = Recording()
    run = SimpleNamespace(log=calls.take("log"), finish=calls.take("finish"))
    install(monkeypatch, "wandb", init=calls.take("init", run), Settings=calls.take("settings", "quiet"))
    install(monkeypatch, "trackio", init=calls.take("init", run))
    for variable in ("WANDB_MODE", "WANDB_PROJECT", "TRACKIO_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    return calls


def stopped_and_resumed(settings: Config, folder: Path) -> None:
    with pytest.raises(StoppedError):
        runs.train(settings, folder, stop=iter([False, False, True]).__next__)
    runs.train(settings, folder, resume=True)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_that_is_resumed_goes_on_in_one_log(
    name: str, settings: Config, runner: Recording, tmp_path: Path
) -> None:
    stopped_and_resumed(asking(settings, name), tmp_path / "run")
    first, second = (named for _, named in runner.named("init"))
    assert first == second
    assert (first["project"], first["resume"]) == ("genat", "allow")
    assert first["config"] == asking(settings, name).model_dump(mode="json")
    identity = json.loads((tmp_path / "run" / "log.json").read_text(encoding="utf-8"))["id"]
    assert identity in (first.get("id"), first["name"].removeprefix("run-"))
    logged = runner.named("log")
    assert [named["step"] for _, named in logged] == [1, 2, 3, 4]
    records = runs.metrics(tmp_path / "run")
    assert [values["training/loss"] for (values,), _ in logged] == [record["loss"] for record in records]
    assert len(runner.named("finish")) == 2


def test_weights_and_biases_sends_nothing_unless_told(
    settings: Config, runner: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.train(asking(settings, "wandb"), tmp_path / "a")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    runs.train(asking(settings, "wandb"), tmp_path / "b")
    first, second = (named for _, named in runner.named("init"))
    assert (first["mode"], first["dir"], first["settings"]) == ("offline", str(tmp_path / "a"), "quiet")
    assert (second["mode"], second["project"]) == ("online", "mine")
    assert first["id"] != second["id"]


def test_trackio_keeps_to_itself_what_it_prints(
    settings: Config,
    runner: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    talking = SimpleNamespace(log=runner.take("log"), finish=lambda: sys.stdout.write("finished\n"))

    def init(**_: object) -> SimpleNamespace:
        sys.stdout.write("begun\n")
        return talking

    install(monkeypatch, "trackio", init=init)
    runs.train(asking(settings, "trackio"), tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["begun", "finished"]


class FakeMLflow:
    """MLflow's client with one experiment, in memory."""

    def __init__(self, calls: Recording) -> None:
        self.calls = calls
        self.runs: list[SimpleNamespace] = []
        self.experiment: SimpleNamespace | None = None

    def __call__(self, address: str) -> "FakeMLflow":
        self.calls.take("client")(address)
        return self

    def get_experiment_by_name(self, _: str) -> SimpleNamespace | None:
        return self.experiment

    def create_experiment(self, name: str) -> str:
        self.experiment = SimpleNamespace(experiment_id=f"experiment {name}")
        return f"experiment {name}"

    def create_run(self, experiment: str, **named: Any) -> SimpleNamespace:  # noqa: ANN401
        run = SimpleNamespace(info=SimpleNamespace(run_id=f"run {len(self.runs)}"), experiment=experiment, **named)
        self.runs.append(run)
        return run

    def search_runs(self, experiments: list[str], *, filter_string: str, max_results: int) -> list[SimpleNamespace]:
        found = [
            run for run in self.runs if run.experiment in experiments and f"'{run.tags['genat']}'" in filter_string
        ]
        return found[:max_results]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return self.calls.take(name)


def test_mlflow_writes_into_the_run_and_goes_on_in_one(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Recording()
    client = FakeMLflow(calls)
    install(monkeypatch, "mlflow", MlflowClient=client)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    stopped_and_resumed(asking(settings, "mlflow"), tmp_path / "run")
    assert {address for (address,), _ in calls.named("client")} == {(tmp_path / "run" / "mlruns").as_uri()}
    assert [run.run_name for run in client.runs] == ["run"]
    parameters = {key: value for (_, key, value), _ in calls.named("log_param")}
    assert (parameters["steps.last"], parameters["name"]) == ("3", "tiny")
    losses = [(value, named["step"]) for (_, key, value), named in calls.named("log_metric") if key == "training/loss"]
    assert losses == [(record["loss"], record["iteration"]) for record in runs.metrics(tmp_path / "run")]
    assert len(calls.named("set_terminated")) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    runs.train(asking(settings, "mlflow"), tmp_path / "other")
    assert calls.named("client")[-1] == (("http://127.0.0.1:1",), {})
    assert len(client.runs) == 2


@pytest.mark.parametrize(
    ("name", "extra"), [("tensorboard", "log"), ("wandb", "wandb"), ("mlflow", "mlflow"), ("trackio", "trackio")]
)
def test_what_is_not_installed_is_said_before_the_folder_is_made(
    name: str, extra: str, settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, {"tensorboard": "torch.utils.tensorboard"}.get(name, name), None)
    with pytest.raises(ValueError, match=rf"^{name}: expected the extra, got none installed: .* 'genat\[{extra}\]'$"):
        runs.train(asking(settings, name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_logger_that_there_is_none_of_is_one_line(tiny_yaml: Path) -> None:
    with pytest.raises(ValueError, match=r"log.0: input should be 'tensorboard', 'wandb', 'mlflow' or 'trackio'"):
        config.load(tiny_yaml, ["log=[visdom]"])


# one's own


class Kept:
    """A log in memory."""

    def __init__(self, after: int) -> None:
        self.after, self.closed = after, False
        self.steps: list[tuple[int, float]] = []

    def step(self, iteration: int, values: Mapping[str, float]) -> None:
        self.steps.append((iteration, values["training/loss"]))

    def close(self) -> None:
        self.closed = True


def test_a_logger_of_ones_own_sees_every_step_and_where_it_goes_on(settings: Config, tmp_path: Path) -> None:
    begun: list[Kept] = []

    def mine(folder: Path, configuration: Mapping[str, Any], after: int) -> loggers.Log:
        assert (folder, configuration["name"]) == (tmp_path / "run", "tiny")
        begun.append(Kept(after))
        return begun[-1]

    with pytest.raises(StoppedError):
        runs.train(settings, tmp_path / "run", loggers=[mine], stop=iter([False, False, True]).__next__)
    runs.train(settings, tmp_path / "run", loggers=[mine], resume=True)
    first, second = begun
    assert (first.after, second.after) == (0, 2)
    assert first.steps + second.steps == [(one["iteration"], one["loss"]) for one in runs.metrics(tmp_path / "run")]
    assert first.closed
    assert second.closed
