"""What a person sees of a run: results as pictures in its folder, and one HTML file that shows all of it."""

from genat.report import benchmarks, robustness
from genat.report.edits import composed, denoised, inpainted, interpolated, masked, transformed
from genat.report.page import REPORT, write
from genat.report.results import EDITED, SHOWN_WAYS, TRANSFORMED, Edited, make_samples, save, save_samples
from genat.report.sections import (
    Picture,
    Section,
    Table,
    detection_table,
    fidelity_table,
    fidelity_words,
    recognition,
)

__all__ = [
    "EDITED",
    "REPORT",
    "SHOWN_WAYS",
    "TRANSFORMED",
    "Edited",
    "Picture",
    "Section",
    "Table",
    "benchmarks",
    "composed",
    "denoised",
    "detection_table",
    "fidelity_table",
    "fidelity_words",
    "inpainted",
    "interpolated",
    "make_samples",
    "masked",
    "recognition",
    "robustness",
    "save",
    "save_samples",
    "transformed",
    "write",
]
