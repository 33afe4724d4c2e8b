"""The maximin and the minimax game on a finite space: in closed form, as convex programmes, and played.

`Game` says who plays for what; `solve` returns its value and every optimal detector and adversary; `solvers` find one
of each without knowing them; `dynamics` lets players learn; `steps` looks at the training step on a line. Statements
and proofs: docs/theory.md.
"""

from genat.theory.dynamics import Plays, best_response, contraction, fictitious_play, gaps, gradient_play, period
from genat.theory.games import (
    Game,
    Residuals,
    adversary_value,
    conditions,
    detector_value,
    duality_gap,
    payoff,
)
from genat.theory.solutions import (
    Adversaries,
    Detectors,
    Solution,
    adversary_replies,
    detector_replies,
    solve,
)
from genat.theory.solvers import solve_maximin, solve_minimax
from genat.theory.steps import inner_gradients, play_on_line, train_on_line
from genat.theory.verification import random_game, verify

__all__ = [
    "Adversaries",
    "Detectors",
    "Game",
    "Plays",
    "Residuals",
    "Solution",
    "adversary_replies",
    "adversary_value",
    "best_response",
    "conditions",
    "contraction",
    "detector_replies",
    "detector_value",
    "duality_gap",
    "fictitious_play",
    "gaps",
    "gradient_play",
    "inner_gradients",
    "payoff",
    "period",
    "play_on_line",
    "random_game",
    "solve",
    "solve_maximin",
    "solve_minimax",
    "train_on_line",
    "verify",
]
