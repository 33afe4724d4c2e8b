"""A run folder: all that a training leaves behind, and all that the other commands need.

`config.yaml`, `metrics.jsonl`, `incidents.jsonl`, `checkpoints/`, `calibration.json`, `held_out.safetensors`,
`samples/`, `samples-gan/`, `evaluation/`, `report.html`; and `.lock`, which the training that is under way holds.
"""

from genat.runs.reading import CALIBRATION, CHECKPOINTS, CONFIG, HELD_OUT, Run, load
from genat.runs.training import train, trained
from genat.training.recording import INCIDENTS, METRICS, incidents, metrics

__all__ = [
    "CALIBRATION",
    "CHECKPOINTS",
    "CONFIG",
    "HELD_OUT",
    "INCIDENTS",
    "METRICS",
    "Run",
    "incidents",
    "load",
    "metrics",
    "train",
    "trained",
]
