"""Where a training's curves go beside `metrics.jsonl`: TensorBoard, Weights & Biases, MLflow, trackio, or your own.

A logger is a function that begins a log, `(folder, configuration, after) -> Log`; it is called when a training begins,
when it is resumed, and when it goes back to an earlier step. Those here send nothing to any host unless the environment
says so in the way that each library documents.
"""

import contextlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from genat import checkpoints

IDENTITY = "log.json"
_PROJECT = "genat"


class Log(Protocol):
    """A log that is being written."""

    def step(self, iteration: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one training step, by name."""

    def close(self) -> None:
        """Write what is left, and end."""


Logger: TypeAlias = Callable[[Path, Mapping[str, Any], int], Log]
"""Begins a log: of a run in this folder, with this configuration, that goes on after this step, 0 at the beginning."""


def tensorboard(folder: Path, configuration: Mapping[str, Any], after: int) -> Log:  # noqa: ARG001 - the form of a logger
    """Begin TensorBoard's events in the run's `events/`; steps that come again are taken out of what is shown."""
    return _TensorBoard(_module("tensorboard").SummaryWriter(str(folder / "events"), purge_step=after + 1))


def wandb(folder: Path, configuration: Mapping[str, Any], after: int) -> Log:  # noqa: ARG001
    """Begin a run of Weights & Biases in the run's `wandb/`: offline, unless WANDB_MODE says otherwise."""
    module = _module("wandb")
    quiet = module.Settings(console="off", silent=True, disable_git=True, save_code=False)
    run = module.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        dir=str(folder),
        id=_identity(folder),
        name=folder.name,
        config=dict(configuration),
        mode=os.environ.get("WANDB_MODE", "offline"),
        resume="allow",
        settings=quiet,
    )
    return _Run(run)


def mlflow(folder: Path, configuration: Mapping[str, Any], after: int) -> Log:  # noqa: ARG001
    """Begin a run of MLflow: in the run's `mlruns/`, unless MLFLOW_TRACKING_URI says otherwise."""
    module = _module("mlflow")
    os.environ.setdefault(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # else MLflow asks for a database, which its skinny half lacks
    client = module.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").resolve().as_uri())
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    tag = _identity(folder)
    earlier = client.search_runs([experiment], filter_string=f"tags.genat = '{tag}'", max_results=1)
    if earlier:
        return _MLflow(client, earlier[0].info.run_id)
    run = client.create_run(experiment, run_name=folder.name, tags={"genat": tag})
    for key, value in _flat(configuration):
        client.log_param(run.info.run_id, key, value)
    return _MLflow(client, run.info.run_id)


def trackio(folder: Path, configuration: Mapping[str, Any], after: int) -> Log:  # noqa: ARG001
    """Begin a run of trackio: in its folder (TRACKIO_DIR), unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL is set."""
    module = _module("trackio")
    with contextlib.redirect_stdout(sys.stderr):  # what it prints is for people
        run = module.init(
            project=os.environ.get("TRACKIO_PROJECT", _PROJECT),
            name=f"{folder.name}-{_identity(folder)}",
            config=dict(configuration),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    return _Run(run)


LOGGERS: Mapping[str, Logger] = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow, "trackio": trackio}
"""What `log` in a configuration knows by name."""

_MODULES = {"tensorboard": "torch.utils.tensorboard"}
_EXTRAS = {"tensorboard": "log"}


def check(names: Sequence[str]) -> None:
    """Refuse names of `LOGGERS` whose library is not installed, before anything is written.

    Raises:
        ValueError: one line that says what to install.
    """
    for name in names:
        _module(name)


def _module(name: str) -> Any:  # noqa: ANN401 - an optional library
    try:
        return import_module(_MODULES.get(name, name))
    except ImportError:
        extra = _EXTRAS.get(name, name)
        raise ValueError(f"{name}: expected the extra, got none installed: pip install 'genat[{extra}]'") from None


def _identity(folder: Path) -> str:
    """Return what a run is called by, the same after every resume."""
    path = folder / IDENTITY
    if not path.exists():
        checkpoints.write_text(path, json.dumps({"id": uuid.uuid4().hex[:12]}) + "\n")
    return str(checkpoints.read_json(path, what="a log's id")["id"])


def _flat(configuration: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """Return a configuration as dotted keys and words.

    Example:
        >>> _flat({"name": "a", "steps": {"last": 3}})
        [('name', 'a'), ('steps.last', '3')]
    """
    pairs: list[tuple[str, str]] = []
    for key, value in configuration.items():
        inner = isinstance(value, Mapping) and bool(value)
        pairs += _flat(value, f"{prefix}{key}.") if inner else [(f"{prefix}{key}", str(value))]
    return pairs


class _TensorBoard:
    def __init__(self, writer: Any) -> None:  # noqa: ANN401
        self.writer = writer

    def step(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        self.writer.close()


class _Run:
    """A run of Weights & Biases, or of trackio, which has the same form."""

    def __init__(self, run: Any) -> None:  # noqa: ANN401
        self.run = run

    def step(self, iteration: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=iteration)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self.run.finish()


class _MLflow:
    def __init__(self, client: Any, run_id: str) -> None:  # noqa: ANN401
        self.client, self.run_id = client, run_id

    def step(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, step=iteration)

    def close(self) -> None:
        self.client.set_terminated(self.run_id)
