"""`genat evaluate RUN robustness`: a committee under attack, detector by detector and whole, beside classifiers."""

from genat.evaluation.robustness.protocol import COMMITTEE, FOLDER, INTEGRATED, PEERS, TABLE, read, robustness
from genat.evaluation.robustness.scales import SCALES, Scale
from genat.evaluation.robustness.synthesis import PICTURES

__all__ = ["COMMITTEE", "FOLDER", "INTEGRATED", "PEERS", "PICTURES", "SCALES", "TABLE", "Scale", "read", "robustness"]
