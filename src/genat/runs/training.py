"""Training into a run folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from genat import assemble, checkpoints, config, detection, locks
from genat.checkpoints import Checkpoint
from genat.config import Config
from genat.networks import Together
from genat.runs.reading import CALIBRATION, CHECKPOINTS, CONFIG, HELD_OUT, Run, load, read_config
from genat.sources import Source
from genat.training import Fitted, Incident, Step, fit
from genat.training.devices import Crew
from genat.training.loggers import LOGGERS, Logger, check
from genat.training.recording import Recorder, repeated
from genat.training.trainer import GOOD

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SHOWN = 64


def train(
    settings: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    callback: Callable[[Step], None] | None = None,
    loggers: Sequence[Logger] = (),
    say: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] | None = None,
    crew: Crew | None = None,
) -> tuple[Run, Fitted]:
    """Train as configured into a run folder, then calibrate on held-out target images.

    Everything that can be wrong with the configuration and the data is found before the folder is touched. While it
    trains no other process can, but those of its crew: all return the same, the first alone writes and tells.

    Args:
        settings: the configuration.
        folder: of the run; new, unless it is resumed.
        resume: go on from the newest readable checkpoint, or from the beginning where a run was stopped before its
            first; the configuration must be the run's own.
        callback: called with a `Step` after each step.
        loggers: that write each step beside those which `settings.log` names, see `genat.training.loggers`.
        say: called with each line worth telling a person: what was converted, where the training went on, what its
            watch saw for the first time, where it went back, and how often in all; which checkpoints were passed over.
        stop: asked before each step, as in `genat.fit`.
        crew: the processes that share every batch; None is one, or as many as torchrun has started. The run does not
            depend on their number but for rounding, and may be resumed by another.

    Returns:
        The run as `load` reads it, and what `genat.fit` returned.

    Raises:
        ValueError: where the configuration, the data or the folder does not fit, or another process trains in it.
        FileNotFoundError: where there is nothing to resume.
        DivergenceError: where the watch sees what the configuration stops at.
        StoppedError: where `stop` said so.
        OSError: where the disk refuses; says from where the run can go on.
    """
    folder, crew = Path(folder), crew or Crew()
    if not crew.leads:
        return _follow(settings, folder, crew, resume=resume, stop=stop)
    _check_folder(folder, settings, resume=resume)
    with ExitStack() as stack:
        checkpoint = None
        if resume:
            stack.enter_context(locks.held(folder, say=say))
            checkpoint = _newest(folder / CHECKPOINTS, say)
        parts = _parts(settings)
        named = dict.fromkeys([*settings.log, *["tensorboard"] * settings.tensorboard])
        check(tuple(named))
        learned = parts.data.train
        for note in learned.notes:
            say(note)
        say(f"{len(learned)} images {learned.shape} to learn from, {len(parts.data.validation)} held out")
        if checkpoint is not None:
            say(f"resumed after step {checkpoint.iteration}")
        if not resume:
            checkpoints.make_folder(folder)
            stack.enter_context(locks.held(folder, say=say))
            _check_folder(folder, settings, resume=False)  # another may have begun and ended there in between
        stack.enter_context(_resumable(folder))
        checkpoints.clear_partial(folder)
        checkpoints.write_text(folder / CONFIG, config.dump(settings))
        logs = [*(LOGGERS[name] for name in named), *loggers]
        told = settings.model_dump(mode="json")
        with Recorder(folder, checkpoint, loggers=logs, configuration=told, say=say) as record:
            fabric = crew.launch(assemble.device(settings), precision=assemble.precision(settings))
            fabric.barrier()
            fitted = _fit(
                settings,
                parts,
                fabric=fabric,
                folder=folder,
                resume=checkpoint or False,
                callback=_both(record.step, callback),
                alarm=record.incident,
                stop=stop,
            )
        for line in repeated(fitted.incidents, folder):
            say(line)
        _calibrate(folder, settings, fitted, parts.data)
        fabric.barrier()
        return load(folder), fitted


def trained(
    settings: Config,
    folder: str | Path,
    *,
    by: Callable[..., tuple[Run, Fitted]] = train,
    say: Callable[[str], None] = lambda _: None,
) -> Run:
    """Return the run of a folder, trained, gone on with or read, whichever is left to do.

    Args:
        settings: the configuration.
        folder: of the run.
        by: trains where something is left to do: called with the configuration, the folder and `resume`.
        say: called with a line for each checkpoint that cannot be read and is passed over.

    Raises:
        ValueError: where the folder is of another configuration, or as `load` and `by` raise it.
    """
    folder = Path(folder)
    begun = (folder / CONFIG).exists()
    if begun:
        if config.load(folder / CONFIG) != settings:
            raise ValueError(
                f"{folder}: expected a run of {settings.name} as configured, got one of another configuration"
            )
        if checkpoints.any_in(folder / CHECKPOINTS):
            run = load(folder, say=say)
            if run.calibration is not None:
                return run
    return by(settings, folder, resume=begun)[0]


def _follow(
    settings: Config, folder: Path, crew: Crew, *, resume: bool, stop: Callable[[], bool] | None
) -> tuple[Run, Fitted]:
    """Do another process's share of a training that the first one has prepared."""
    parts = _parts(settings)
    fabric = crew.launch(assemble.device(settings), precision=assemble.precision(settings))
    fabric.barrier()  # the folder is the first one's until here
    checkpoint = _newest(folder / CHECKPOINTS, lambda _: None) if resume else None
    fitted = _fit(settings, parts, fabric=fabric, folder=folder, resume=checkpoint or False, stop=stop)
    fabric.barrier()
    return load(folder), fitted


@dataclass(frozen=True)
class _Parts:
    """What a training is made of."""

    data: assemble.Data
    target: Source | list[Source]
    outside: Source | list[Source]
    detector: nn.Module


def _parts(settings: Config) -> _Parts:
    data = assemble.target(settings)
    target, outside = assemble.learned(settings, data)
    detector = assemble.detector(settings, data.train.shape, classes=len(data.train.classes))
    return _Parts(data, target, outside, detector.to(assemble.device(settings)))


def _newest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint that can be read, the last good state where no other can; None before the first."""
    reasons = []
    for place in (folder, folder / GOOD):
        if checkpoints.any_in(place):
            try:
                found = checkpoints.latest(place, passed_over=say)
            except ValueError as error:
                reasons.append(str(error))
                continue
            for reason in reasons:
                say(f"passed over: {reason}")
            return found
    if reasons:
        raise ValueError("; ".join(reasons))
    say("no checkpoint yet: from the beginning")
    return None


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say of what the disk refuses from where the run can go on."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        try:
            on = f"goes on from step {checkpoints.latest(folder / CHECKPOINTS).iteration}"
        except ValueError:
            on = "begins anew"
        raise OSError(error.errno, f"{error.strerror}: the run {on} with --resume", error.filename) from error


def _fit(
    settings: Config,
    parts: _Parts,
    *,
    fabric: "Fabric",
    folder: Path,
    resume: bool | Checkpoint,
    callback: Callable[[Step], None] | None = None,
    alarm: Callable[[Incident], None] | None = None,
    stop: Callable[[], bool] | None,
) -> Fitted:
    detector = parts.detector
    return fit(
        detector,
        parts.target,
        parts.outside,
        iterations=settings.iterations,
        batch_size=settings.batch_size,
        batch_at_once=settings.batch_at_once,
        steps=settings.steps.build(),
        step_size=settings.step_size,
        shrink=settings.shrink,
        ball=settings.ball.build(),
        rule=settings.rule,
        random_start=settings.random_start,
        descent_steps=settings.descent.steps,
        descent_ball=settings.descent.build(),
        r1=settings.r1,
        classify=None if settings.classify is None else settings.classify.build(),
        optimizer=assemble.optimizer(settings),
        ema=settings.ema,
        replay=None if settings.replay is None else settings.replay.build(),
        clip_norm=settings.clip_norm,
        anneal=settings.anneal,
        seed=assemble.seeds(settings, detector.members) if isinstance(detector, Together) else settings.seed,
        fabric=fabric,
        folder=folder / CHECKPOINTS,
        checkpoint_every=settings.checkpoint_every,
        checkpoint_keep=settings.checkpoint_keep,
        resume=resume,
        health=assemble.health(settings),
        callback=callback,
        alarm=alarm,
        stop=stop,
    )


def _both(first: Callable[[Step], None], second: Callable[[Step], None] | None) -> Callable[[Step], None]:
    def call(step: Step) -> None:
        first(step)
        if second is not None:
            second(step)

    return call


def _calibrate(folder: Path, settings: Config, fitted: Fitted, data: assemble.Data) -> None:
    held_out = data.validation
    evenly = torch.linspace(0, len(held_out) - 1, min(_SHOWN, len(held_out)), dtype=torch.float64).long()
    checkpoints.write_tensors(folder / HELD_OUT, {"images": held_out.take(evenly).pixels})
    device = next(fitted.detector.parameters()).device
    detector = assemble.whole(fitted.detector, data.train.classes)
    calibration = detection.calibrate(detector, held_out.tensor().to(device), tpr=settings.tpr)
    detection.keep(calibration, folder / CALIBRATION, digest=fitted.digest)


def _check_folder(folder: Path, settings: Config, *, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder for the run, got a file")
    if resume:
        before = read_config(folder)
        if before != settings:
            old, new = before.model_dump(), settings.model_dump()
            keys = ", ".join(key for key in old if old[key] != new[key])
            raise ValueError(f"{folder}: expected to resume with the run's own configuration, got another {keys}")
    elif (folder / CONFIG).exists() or checkpoints.any_in(folder / CHECKPOINTS):
        raise ValueError(f"{folder}: expected a new folder, got a run: pass --resume to go on with it")
