"""Attacks on whole systems that decide, a committee, a classifier that rejects or both, each adaptive to it."""

from genat.evaluation.systems.attacking import AttackedSystem, attack_system

__all__ = ["AttackedSystem", "attack_system"]
