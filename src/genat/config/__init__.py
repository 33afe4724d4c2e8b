"""The one configuration: typed, from a preset or a YAML file, overridden key by key."""

from genat.config.reading import dump, load, presets, tiny
from genat.config.schema import (
    AugmentConfig,
    BallConfig,
    ClassifyConfig,
    Config,
    DataConfig,
    DescentConfig,
    HealthConfig,
    OptimizerConfig,
    OutsideConfig,
    ReplayConfig,
    SamplingConfig,
    Section,
    StepsConfig,
)

__all__ = [
    "AugmentConfig",
    "BallConfig",
    "ClassifyConfig",
    "Config",
    "DataConfig",
    "DescentConfig",
    "HealthConfig",
    "OptimizerConfig",
    "OutsideConfig",
    "ReplayConfig",
    "SamplingConfig",
    "Section",
    "StepsConfig",
    "dump",
    "load",
    "presets",
    "tiny",
]
