"""Protocols that return tables: detection, also under attack, and how close samples come to the target."""

from genat.evaluation.fidelity import ClassReport, Recogniser, features, kernel_distance, recognised
from genat.evaluation.ood import OodRow, OodTable, as_dicts, ood_table

__all__ = [
    "ClassReport",
    "OodRow",
    "OodTable",
    "Recogniser",
    "as_dicts",
    "features",
    "kernel_distance",
    "ood_table",
    "recognised",
]
