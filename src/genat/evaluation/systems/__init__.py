"""Attacks on whole systems that decide, a committee, a classifier that rejects or both, each adaptive to it."""

from genat.evaluation.systems.attacking import AttackedSystem, attack_system
from genat.evaluation.systems.growing import Grown, growing, growing_auroc
from genat.evaluation.systems.noise import FromNoise, from_noise
from genat.evaluation.systems.shortest import Shortest, minimum_l2

__all__ = [
    "AttackedSystem",
    "FromNoise",
    "Grown",
    "Shortest",
    "attack_system",
    "from_noise",
    "growing",
    "growing_auroc",
    "minimum_l2",
]
