"""Deciding what an input is, or that it is nothing known: a label and a score, and rejection below a threshold.

Three systems decide: a committee alone (`Generative`), a classifier beside a committee (`Integrated`) and a classifier
alone (`Confident`). Scores are raw, in float64, and never through a sigmoid or a softmax, which turn into ties what
logits tell apart. `rates` counts what a threshold accepts; every curve is exact, step by step, not on a grid.
"""

from genat.decisions.curves import Rates, error_at_accuracy, rates, threshold, wrong_scores
from genat.decisions.systems import Confident, Decision, Generative, Integrated, System

__all__ = [
    "Confident",
    "Decision",
    "Generative",
    "Integrated",
    "Rates",
    "System",
    "error_at_accuracy",
    "rates",
    "threshold",
    "wrong_scores",
]
