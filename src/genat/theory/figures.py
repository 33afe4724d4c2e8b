"""The numbers that docs/theory.md shows, all of which `python -m genat.theory` measures anew in a minute."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from genat.balls import Ball, L2Ball
from genat.provenance import provenance
from genat.theory.dynamics import (
    First,
    Plays,
    best_response,
    contraction,
    fictitious_play,
    gaps,
    gradient_play,
    period,
)
from genat.theory.flows import Vector
from genat.theory.games import Game, adversary_value, detector_value
from genat.theory.solutions import solve
from genat.theory.steps import SETTINGS, inner_gradients, play_on_line, train_on_line
from genat.theory.verification import KINDS, random_game, verify

Row: TypeAlias = dict[str, str | int | float | list[float]]
"""A table's row: what stands in which column."""

_GAME = Game.free([0.5, 0.3, 0.2, 0.0, 0.0])
_ROUNDS = (12, 123, 1234)  # not multiples of ten, after which this game's averages can be exact
_FIRSTS: tuple[First, ...] = ("adversary", "detector", "both")


def measure(*, games: int = 200, seed: int = 0, command: str = "python -m genat.theory") -> dict[str, Any]:
    """Return the rows of all tables by the table's name, and how they were made, as JSON can hold them.

    Args:
        games: how many random games are solved twice, at least 4.
        seed: of the games and of the trainings on the line.
        command: what a person typed, for the record.

    Raises:
        ValueError: for fewer games than 4, or where cvxpy is not installed.
    """
    if games < len(KINDS):
        raise ValueError(f"expected games to be at least {len(KINDS)}, got {games}")
    return {
        "made": provenance(command),
        "seed": seed,
        "games": random_games(games, torch.Generator().manual_seed(seed)),
        "replies": replies(),
        "rates": rates(),
        "leaders": leaders(),
        "gradients": gradients(),
        "lessons": lessons(seed),
        "line": line(),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the columns' names and the cells of rows, in words; numbers have four digits.

    Example:
        >>> table([{"first": "both", "gap": 0.0123456, "d": [0.5, 1.0]}])
        (['first', 'gap', 'd'], [['both', '0.01235', '0.5 1']])
    """
    return list(rows[0]), [[_cell(value) for value in row.values()] for row in rows]


def random_games(count: int, generator: torch.Generator) -> list[Row]:
    """Return the worst of what `verify` finds on random games of up to 12 states, by kind."""
    rows: list[Row] = []
    kinds = [KINDS[i % len(KINDS)] for i in range(count)]
    sizes = torch.randint(1, 13, (count,), generator=generator).tolist()
    for kind in KINDS:
        chosen = [states for states, of_kind in zip(sizes, kinds, strict=True) if of_kind == kind]
        played = [random_game(kind, states=states, generator=generator) for states in chosen]
        checks = [verify(game, generator=generator) for game in played]
        rows.append(
            {
                "adversary": kind,
                "games": len(checks),
                "duality gap": max(check.gap for check in checks),
                "value, numeric − closed": max(check.value for check in checks),
                "d − p/(p+q), p ≥ .01": max(check.detector for check in checks),
                "adversary's shortfall": max(check.adversary for check in checks),
                "members' value − closed": max(check.members for check in checks),
                "moved members lose at least": min(check.moved for check in checks if check.moved is not None),
            }
        )
    return rows


def replies() -> list[Row]:
    """Return the duality gaps of players who answer exactly what they remember."""
    rows = []
    for first in _FIRSTS:
        plays = best_response(_GAME, _ROUNDS[-1], first=first)
        rows.append(_reply("the present play", first, plays, Plays(plays.detectors[1:], plays.adversaries[1:])))
    memories: dict[Literal["both", "adversary", "detector"], str] = {
        "both": "all plays of the other",
        "adversary": "all adversaries; the present detector",
        "detector": "the present adversary; all detectors",
    }
    for remember, name in memories.items():
        for first in _FIRSTS:
            plays = fictitious_play(_GAME, _ROUNDS[-1], first=first, remember=remember)
            means = plays.averages()
            d = plays.detectors[1:] if remember == "adversary" else means.detectors
            q = plays.adversaries[1:] if remember == "detector" else means.adversaries
            rows.append(_reply(name, first, plays, Plays(d, q)))
    return rows


def rates() -> list[Row]:
    """Return by which factor a round of gradient play shrinks deviations: in closed form, and measured."""
    n = 4
    game = Game.free(np.full(n, 1 / n))
    tilt = 1e-7 * (np.arange(n) - (n - 1) / 2)
    rows: list[Row] = []
    for alpha, beta in ((1.0, 1.0), (2.0, 7.0), (2.0, 9.0), (16.0, 1.0), (math.inf, 1.0)):
        for first in _FIRSTS:
            plays = gradient_play(game, 100, rates=(alpha, beta), first=first, start=(tilt, tilt[None, ::-1]))
            away = np.hstack([plays.detectors - 0.5, plays.adversaries - 1 / n])
            fall, _ = np.polyfit(np.arange(10, 101), np.log(np.linalg.norm(away, axis=1))[10:], deg=1)
            rows.append(
                {
                    "detector's rate": _number(alpha),
                    "adversary's rate": beta,
                    "first": first,
                    "factor a round": contraction(n, (alpha, beta), first=first),
                    "measured": math.exp(fall),
                }
            )
    return rows


def leaders() -> list[Row]:
    """Return where the leader of either game settles, who moves by gradient against exact answers."""
    value, off = solve(_GAME).value, ~_GAME.support
    logits = np.array([1.0, -1.0, 0.0, 2.0, -2.0])
    rows: list[Row] = []
    for rate in (0.4, 0.2, 0.1):
        plays = gradient_play(_GAME, 2000, rates=(rate, math.inf), first="adversary", start=(logits, np.zeros((1, 5))))
        short = [value - detector_value(_GAME, d) for d in plays.detectors[-500:]]
        rows.append(_leader("detector, maximin", rate, short, plays.detectors[[0, -1]][:, off]))
    for rate in (0.5, 1.0, 2.0):
        plays = gradient_play(_GAME, 2000, rates=(math.inf, rate), start=(np.zeros(5), logits[None]))
        short = [adversary_value(_GAME, q) - value for q in plays.adversaries[-500:]]
        rows.append(_leader("adversary, minimax", rate, short, plays.adversaries[[0, -1]][:, off]))
    return rows


def gradients() -> list[Row]:
    """Return the gradients that training may take for that of the inner maximum."""
    free, climb = L2Ball(), {"steps": 20, "step_size": 0.02}
    cases: tuple[tuple[str, tuple[float, ...], float, dict[str, Any], Ball], ...] = (
        ("arrives", (1.0, 0.8, 0.3), 0.05, {"steps": 250, "step_size": 0.001}, free),
        ("half a step off", (1.0, 0.8, 0.3), 0.05, climb, free),
        ("stops on the way", (1.0, 0.8, 0.3), 0.05, climb | {"steps": 5}, free),
        ("Adam, overshoots", (1.0, 0.8, 0.3), 0.05, climb | {"rule": "adam"}, free),
        ("stops at the ball", (1.0, 0.8, 0.3), 0.05, climb, L2Ball(0.1)),
        ("the lower bump", (1.0, 0.8, 0.3), 0.95, climb, free),
        ("bumps of one height", (1.0, 1.0, 0.3), 0.05, {"steps": 250, "step_size": 0.001}, free),
    )
    rows: list[Row] = []
    for name, parameters, start, how, ball in cases:
        found = inner_gradients(parameters, start, ball=ball, **how)
        rows.append(
            {
                "climb": name,
                "ends at": found.end,
                "used": found.used.tolist(),
                "of the climb's end": found.of_steps.tolist(),
                "of the maximum, from below": found.below.tolist(),
                "from above": found.above.tolist(),
            }
        )
    return rows


def lessons(seed: int) -> list[Row]:
    """Return what trainings on the line teach, mean over three seeds."""
    rows: list[Row] = []
    for name, setting in SETTINGS.items():
        seeds = range(seed, seed + 3)
        taught = [train_on_line(setting, generator=torch.Generator().manual_seed(s)) for s in seeds]
        rows.append(
            {
                "training": name,
                "logit at the peaks": _mean([lesson.peaks for lesson in taught]),
                "at outside data": _mean([lesson.elsewhere for lesson in taught]),
                "highest there": _mean([lesson.highest for lesson in taught]),
                "climbs that arrive": _mean([lesson.arrived for lesson in taught]),
                "adversarial AUROC": _mean([lesson.auroc for lesson in taught]),
            }
        )
    return rows


def line() -> list[Row]:
    """Return where the finite game of the line ends whose reach grows, and where the one of full reach does."""
    growing = np.arange(41) / 40
    rows: list[Row] = []
    for name, radii, rounds in (("grows from 0 to 1", growing, 200), ("is 1 throughout", growing[-1:], 200 * 41)):
        for level in (0.0, 1.0):
            game, d = play_on_line(radii.tolist(), rounds=rounds, level=level)
            elsewhere = d[game.moving]
            rows.append(
                {
                    "reach": name,
                    "d at first": 1 / (1 + math.exp(-level)),
                    "short of the value": solve(game).value - detector_value(game, d),
                    "d at the peaks": d[game.support].tolist(),
                    "at outside data, mean": float(elsewhere.mean()),
                    "highest there": float(elsewhere.max()),
                }
            )
    return rows


def _reply(name: str, first: First, plays: Plays, settled: Plays) -> Row:
    found, repeats = gaps(_GAME, settled), period(plays)
    row: Row = {"answers": name, "first": first}
    row |= {f"gap after {rounds} rounds": _number(found[rounds - 1]) for rounds in _ROUNDS}
    return row | {"plays repeat after": "never" if repeats is None else repeats}


def _leader(name: str, rate: float, short: list[float], off: Vector) -> Row:
    return {
        "leader": name,
        "rate": rate,
        "short of the value": _mean(short),
        "off the support, at first": off[0].tolist(),
        "at last": off[1].tolist(),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _number(value: float) -> float | str:
    """Return a number as JSON can hold it."""
    return float(value) if math.isfinite(value) else "∞"


def _cell(value: str | float | Sequence[float]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return " ".join(f"{round(entry, 4):g}" for entry in value)
