"""Reading the logit: a score, a threshold for a true positive rate, and a p-value that holds its word."""

from genat.detection.calibration import Calibration, Prediction, keep, kept
from genat.detection.scores import calibrate, logits, ood_score
from genat.detection.stream import Judged, stream

__all__ = ["Calibration", "Judged", "Prediction", "calibrate", "keep", "kept", "logits", "ood_score", "stream"]
