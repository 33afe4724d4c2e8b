"""What a training leaves in a run folder step by step, and how it is read back."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from genat import checkpoints
from genat.checkpoints import Checkpoint
from genat.training.loggers import Log, Logger
from genat.training.records import Incident, Step
from genat.training.trainer import incidents_of

METRICS, INCIDENTS = "metrics.jsonl", "incidents.jsonl"
_EACH = ("loss", "auroc", "inside", "outside")  # what is written of each detector of a committee


def metrics(folder: str | Path) -> list[dict[str, Any]]:
    """Return the records of a run's training, one a step: numbers by name.

    Of a committee they are means over its detectors, and `members` has, by name, a list of each detector's; null is one
    that has diverged.

    Raises:
        FileNotFoundError: where there are none.
        ValueError: where a line is not JSON.
    """
    return _lines(Path(folder) / METRICS)


def incidents(folder: str | Path) -> list[Incident]:
    """Return what the watch over a run's training saw, in order; nothing where the run is older than the watch.

    Raises:
        ValueError: where a line is no incident.
    """
    path = Path(folder) / INCIDENTS
    try:
        return [Incident(**line) for line in _lines(path)] if path.exists() else []
    except TypeError as error:
        raise ValueError(f"{path}: expected an incident a line, got another: {error}") from None


class Recorder:
    """Writes each step to `metrics.jsonl` and to the logs that are asked for, and what was seen beside them.

    What a checkpoint holds is what is on disk: steps after it, which come again, are taken out.

    Args:
        folder: the run's.
        checkpoint: that the training goes on from; None is from the beginning.
        loggers: that begin the logs, see `genat.training.loggers`.
        configuration: what they are told of the training.
        say: called with a line at what was seen for the first time, and at every return.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: Checkpoint | None,
        *,
        loggers: Sequence[Logger] = (),
        configuration: Mapping[str, Any] = MappingProxyType({}),
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.loggers, self.configuration, self.say = folder, loggers, configuration, say
        self.said: set[str] = set()
        seen = incidents_of(checkpoint) if checkpoint is not None else ()
        checkpoints.write_text(folder / INCIDENTS, "".join(_line(incident) for incident in seen))
        self._open(after=0 if checkpoint is None else checkpoint.iteration)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        for log in self.logs:
            log.close()

    def step(self, step: Step) -> None:
        """Write a step."""
        values = {name: value for name, value in asdict(step).items() if value is not None}
        members = values.pop("members")  # in other logs the mean alone
        each = {"members": {name: [_number(one[name]) for one in members] for name in _EACH}} if members else {}
        _append(self.file, json.dumps(values | each) + "\n")
        shown = {f"training/{name}": value for name, value in values.items()}
        for log in self.logs:
            log.step(step.iteration, shown)

    def incident(self, incident: Incident) -> None:
        """Write what was seen, and take back the steps that a return gives up."""
        with (self.folder / INCIDENTS).open("ab", buffering=0) as file:
            _append(file, _line(incident))
        if incident.back_to is not None:
            self.__exit__()
            self._open(after=incident.back_to)
        new = incident.kind not in self.said and incident.action == "continue"  # a stop is told by the error
        if new or incident.action == "back-off":
            self.said.add(incident.kind)
            self.say(str(incident))

    def _open(self, *, after: int) -> None:
        path = self.folder / METRICS
        kept = [line for line in metrics(self.folder) if line["iteration"] <= after] if after and path.exists() else []
        checkpoints.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.file = path.open("ab", buffering=0)  # so that nothing is left to be written when a disk is full
        self.logs: list[Log] = [logger(self.folder, self.configuration, after) for logger in self.loggers]


def repeated(seen: Sequence[Incident], folder: Path) -> Iterator[str]:
    """Return a line for each kind of incident that there was more than one of."""
    for kind in dict.fromkeys(incident.kind for incident in seen):
        of_kind = [incident for incident in seen if incident.kind == kind]
        if len(of_kind) > 1:
            yield f"{kind}: {len(of_kind)} times, all in {folder / INCIDENTS}; the last: {of_kind[-1]}"


def _lines(path: Path) -> list[dict[str, Any]]:
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # a line that is being written, or torn, is left
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected one JSON object a line, got {error}") from None


def _append(file: FileIO, line: str) -> None:
    content = line.encode()
    try:
        while content:
            content = content[file.write(content) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file.name)) from error


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON knows no other numbers


def _line(incident: Incident) -> str:
    return json.dumps(asdict(incident)) + "\n"
