"""The one inner loop: training, generation, editing and the attacks of the house all climb a logit here."""

from genat.ascent.climbing import Climb, NonFiniteError, ascend, climb, frozen
from genat.ascent.loop import UNIT_BOX, Box, Detector, Moments, Rule, spread

__all__ = [
    "UNIT_BOX",
    "Box",
    "Climb",
    "Detector",
    "Moments",
    "NonFiniteError",
    "Rule",
    "ascend",
    "climb",
    "frozen",
    "spread",
]
