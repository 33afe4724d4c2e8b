"""Detectors: the papers' networks and smaller ones, and what makes a detector of anyone's network.

A detector is a module `(N, *) -> (N,)`: a logit, high in distribution. Every builder takes the shape of one sample
first; pixels come in [0, 1] and are normalised inside.
"""

from genat.networks.adapt import Hosted, from_classifier, take_logit
from genat.networks.builders import BUILDERS, build, build_joint
from genat.networks.committee import Committee
from genat.networks.convnets import convnet, small_convnet, strided_convnet
from genat.networks.joint import Joint
from genat.networks.layers import Affine, Normalize, Residual, Scaled, Select, Standardize, parameter_count
from genat.networks.mlps import mlp
from genat.networks.probe import check_detector
from genat.networks.recomputed import Recomputed, recompute
from genat.networks.resnets import resnet, resnet50
from genat.networks.star import star
from genat.networks.together import Together
from genat.networks.weights import init
from genat.networks.wide_resnets import plain_wide_resnet28, preact_resnet32, wide_resnet, wide_resnet34_10

__all__ = [
    "BUILDERS",
    "Affine",
    "Committee",
    "Hosted",
    "Joint",
    "Normalize",
    "Recomputed",
    "Residual",
    "Scaled",
    "Select",
    "Standardize",
    "Together",
    "build",
    "build_joint",
    "check_detector",
    "convnet",
    "from_classifier",
    "init",
    "mlp",
    "parameter_count",
    "plain_wide_resnet28",
    "preact_resnet32",
    "recompute",
    "resnet",
    "resnet50",
    "small_convnet",
    "star",
    "strided_convnet",
    "take_logit",
    "wide_resnet",
    "wide_resnet34_10",
]
