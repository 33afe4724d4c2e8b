"""How close generated images come to real ones, how diverse they are, and whether they are copies."""

from genat.evaluation.fidelity.caching import cached
from genat.evaluation.fidelity.checks import Estimate
from genat.evaluation.fidelity.classes import (
    ClassReport,
    Recogniser,
    class_score,
    effective_classes,
    features,
    recognised,
)
from genat.evaluation.fidelity.copies import Memorisation, memorisation
from genat.evaluation.fidelity.distances import diversity, mean_distance, nearest
from genat.evaluation.fidelity.extractors import (
    Extractor,
    classifier_features,
    efficientnet_features,
    inception_features,
    principal_features,
)
from genat.evaluation.fidelity.gaussians import frechet_distance, frechet_estimate, gaussian_distance, moments
from genat.evaluation.fidelity.kernels import kernel_distance, kernel_estimate
from genat.evaluation.fidelity.neighbours import Neighbourhood, neighbourhood
from genat.evaluation.fidelity.record import Comparison, Fidelity, fidelity

__all__ = [
    "ClassReport",
    "Comparison",
    "Estimate",
    "Extractor",
    "Fidelity",
    "Memorisation",
    "Neighbourhood",
    "Recogniser",
    "cached",
    "class_score",
    "classifier_features",
    "diversity",
    "effective_classes",
    "efficientnet_features",
    "features",
    "fidelity",
    "frechet_distance",
    "frechet_estimate",
    "gaussian_distance",
    "inception_features",
    "kernel_distance",
    "kernel_estimate",
    "mean_distance",
    "memorisation",
    "moments",
    "nearest",
    "neighbourhood",
    "principal_features",
    "recognised",
]
