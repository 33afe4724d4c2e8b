"""What a training is watched for, and where its watch stands: the settings, and pure steps from state to state."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from genat.curriculum import Curriculum, Stage
from genat.training.records import Action, Incident, Kind, Step


@dataclass(frozen=True, slots=True)
class Health:
    """What a training is watched for, and what is done about it: continue, stop, or back-off.

    "continue" names what was seen and goes on; "stop" ends the training with a `DivergenceError`; "back-off" returns
    to the last good state, multiplies the learning rate by `rate_factor` and goes on from there, and stops where it
    has done so `back_offs` times.

    Steps are judged window by window, each window as a whole when it is full. The last good state is that at the end
    of the last window in which nothing was seen that these settings stop at or back off from; before there is one, it
    is the beginning.

    Args:
        non_finite: a loss, a gradient, a point or a weight that is not finite; there is no going on with it.
        gate: a stage that filled the curriculum's window and ended by its iterations, the gate unmet; and a whole
            training in which no stage met it.
        stuck: ascents that no longer move: the mean of `Step.path` over a window of ascents is below `stuck_below`.
        wins: a detector that wins for good: the mean adversarial AUROC over a window in the last stage is above
            `wins_above`. In earlier stages the curriculum answers, with longer ascents. Within a small ball this may
            be what was wished for.
        loses: a detector that loses for good: the mean adversarial AUROC over a window is below `loses_below`.
        window: steps in a window.
        stuck_below, wins_above, loses_below: the levels, in (0, 1). Ascents that a ball stops early have short paths
            without harm: `stuck_below` belongs under the ball's radius over steps times step size.
        rate_factor: in (0, 1).
        back_offs: how often a training may go back, at least 1.

    Raises:
        ValueError: for values out of range.

    Example:
        >>> import torch
        >>> from genat import fit, networks
        >>> target, outside = torch.full((10, 1), 0.9), torch.full((10, 1), 0.1)
        >>> detector = networks.build("mlp", (1,), {"hidden": (8,)}, seed=0)
        >>> options = {"iterations": 99, "steps": 1, "step_size": 0.01, "health": Health(window=10, wins="stop")}
        >>> fit(detector, target, outside, **options)
        Traceback (most recent call last):
        ...
        genat.training.records.DivergenceError: step 10: the detector wins: mean adversarial AUROC 1.0000 over 10 ...
    """

    non_finite: Literal["stop", "back-off"] = "stop"
    gate: Action = "continue"
    stuck: Action = "continue"
    wins: Action = "continue"
    loses: Action = "continue"
    window: int = 100
    stuck_below: float = 0.05
    wins_above: float = 0.999
    loses_below: float = 0.05
    rate_factor: float = 0.5
    back_offs: int = 3

    def __post_init__(self) -> None:
        if self.non_finite not in ("stop", "back-off"):
            raise ValueError(f"expected non_finite to be 'stop' or 'back-off', got {self.non_finite!r}")
        for name in ("gate", "stuck", "wins", "loses"):
            value = getattr(self, name)
            if value not in ("continue", "stop", "back-off"):
                raise ValueError(f"expected {name} to be 'continue', 'stop' or 'back-off', got {value!r}")
        for name in ("window", "back_offs"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} to be at least 1, got {getattr(self, name)}")
        for name in ("stuck_below", "wins_above", "loses_below", "rate_factor"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"expected {name} in (0, 1), got {getattr(self, name)}")

    @property
    def backs_off(self) -> bool:
        """Whether there is anything that it goes back for."""
        return "back-off" in (self.non_finite, self.gate, self.stuck, self.wins, self.loses)


@dataclass(frozen=True, slots=True)
class Watch:
    """Where the watch over a training stands; part of every checkpoint.

    Attributes:
        aurocs, paths: each member's sums over the window under way; NaN for a member that has diverged.
        steps: of the window under way.
        climbed: those of them that took an ascent.
        longest: those of them in the last stage.
        passed: stages of the training that ended by the gate.
        good: the last good state's iteration.
        back_offs: how often the training went back.
        incidents: all so far, those of ways that were given up too.
    """

    aurocs: tuple[float, ...]
    paths: tuple[float, ...]
    steps: int = 0
    climbed: int = 0
    longest: int = 0
    passed: int = 0
    good: int = 0
    back_offs: int = 0
    incidents: tuple[Incident, ...] = ()


def begin(members: int) -> Watch:
    """Return the watch at the beginning of a training."""
    return Watch((0.0,) * members, (0.0,) * members)


def observe(watch: Watch, health: Health, step: Step, *, plan: Curriculum, ended: Stage | None, final: bool) -> Watch:
    """Take note of a step; what it showed is added to the incidents.

    Args:
        watch: before the step.
        health: what to watch for.
        step: what it did.
        plan: the training's curriculum.
        ended: the stage that ended with it, None within a stage.
        final: whether it is the training's last.

    Returns:
        The watch after the step; its window is empty where one has just been judged.

    Example:
        >>> step = Step(7, loss=0.7, auroc=0.01, steps=2, inside=0, outside=0, path=1, gradient=1, seconds=0)
        >>> watch = observe(begin(1), Health(window=1), step, plan=Curriculum(0, 5), ended=None, final=False)
        >>> print(*watch.incidents)
        step 7: the detector loses: mean adversarial AUROC 0.0100 over 1 steps, below 0.05
    """
    rows = step.members or (step,)
    watch = replace(
        watch,
        aurocs=tuple(total + row.auroc for total, row in zip(watch.aurocs, rows, strict=True)),
        paths=tuple(total + row.path for total, row in zip(watch.paths, rows, strict=True)),
        steps=watch.steps + 1,
        climbed=watch.climbed + (step.steps > 0),
        longest=watch.longest + (step.steps == plan.last),
        passed=watch.passed + (ended is not None and ended.passed),
    )
    found = list(_gate(watch, step, plan, ended=ended, final=final))
    if watch.steps >= health.window:  # above it where a resumed training is watched in shorter windows
        found += _judged(watch, health, step.iteration)
        watch = _emptied(watch)
    return _noted(watch, health, found)


def refuse(watch: Watch, health: Health, iteration: int, why: str) -> Watch:
    """Take note of a value that is not finite, in a step that does not come about."""
    return _noted(watch, health, [Incident(iteration, "non_finite", why)])


def rest(watch: Watch, iteration: int, members: Iterable[int], why: str) -> Watch:
    """Take note of members that have diverged and rest from now on, while others continue."""
    rested = [Incident(iteration, "non_finite", f"member {member}: {why}", member=member) for member in members]
    return replace(watch, incidents=(*watch.incidents, *rested))


def go_back(watch: Watch) -> Watch:
    """Return the watch after a return to the last good state."""
    return replace(_emptied(watch), back_offs=watch.back_offs + 1)


def state(watch: Watch) -> dict[str, Any]:
    """Return what `restore` needs, as JSON can hold it."""
    kept = asdict(watch)
    return kept | {name: [None if math.isnan(x) else x for x in kept[name]] for name in ("aurocs", "paths")}


def restore(kept: Mapping[str, Any]) -> Watch:
    """Return the watch that `state` was taken of."""
    sums = {name: tuple(math.nan if x is None else x for x in kept[name]) for name in ("aurocs", "paths")}
    incidents = tuple(Incident(**incident) for incident in kept["incidents"])
    return Watch(**{**kept, **sums, "incidents": incidents})


def _gate(watch: Watch, step: Step, plan: Curriculum, *, ended: Stage | None, final: bool) -> Iterator[Incident]:
    if plan.gate is None:
        return
    if ended is not None and not ended.passed and ended.iterations >= plan.window:
        text = (
            f"the gate was not met: {ended.iterations} iterations ended the stage of {ended.steps} ascent steps, the "
            f"mean adversarial AUROC of its last {plan.window} was {ended.auroc:.4f}, not above {plan.gate:g}"
        )
        yield Incident(step.iteration, "gate", text, value=ended.auroc, level=plan.gate)
    if final and watch.passed == 0 and plan.first < plan.last:
        text = f"the gate was never met: none of the stages passed {plan.gate:g}"
        yield Incident(step.iteration, "gate", text, level=plan.gate)


def _judged(watch: Watch, health: Health, iteration: int) -> Iterator[Incident]:
    """Judge a full window, member by member; a mean that is NaN is that of a member which rests."""
    climbing = watch.climbed == watch.steps
    longest = climbing and watch.longest == watch.steps
    for member, sums in enumerate(zip(watch.aurocs, watch.paths, strict=True)):
        auroc, path = (total / watch.steps for total in sums)
        findings: tuple[tuple[Kind, bool, str, float, str, float], ...] = (
            ("stuck", climbing and path < health.stuck_below,
             "the ascent no longer moves: mean relative path", path, "below", health.stuck_below),
            ("wins", longest and auroc > health.wins_above,
             "the detector wins: mean adversarial AUROC", auroc, "above", health.wins_above),
            ("loses", auroc < health.loses_below,
             "the detector loses: mean adversarial AUROC", auroc, "below", health.loses_below),
        )  # fmt: skip
        several = len(watch.aurocs) > 1
        for kind, holds, what, value, side, level in findings:
            if holds:
                who = f"member {member}: " if several else ""
                text = f"{who}{what} {value:.4f} over {watch.steps} steps, {side} {level:g}"
                yield Incident(iteration, kind, text, member=member if several else None, value=value, level=level)


def _emptied(watch: Watch) -> Watch:
    zeros = (0.0,) * len(watch.aurocs)  # a member that rests brings its NaN along with the next step
    return replace(watch, aurocs=zeros, paths=zeros, steps=0, climbed=0, longest=0)


def _noted(watch: Watch, health: Health, found: Sequence[Incident]) -> Watch:
    """Add incidents and what is done about each; where anything stops the training, nothing goes back."""
    actions: list[Action] = [getattr(health, incident.kind) for incident in found]
    spent = watch.back_offs == health.back_offs
    stops = "stop" in actions or (spent and "back-off" in actions)
    noted = []
    for incident, action in zip(found, actions, strict=True):
        if action == "back-off" and not stops:
            rate = health.rate_factor ** (watch.back_offs + 1)
            noted.append(replace(incident, action=action, back_to=watch.good, rate=rate))
        else:
            noted.append(replace(incident, action="stop" if action == "back-off" else action))
    return replace(watch, incidents=(*watch.incidents, *noted))
