"""Generative adversarial training: detectors that generate, and that detect also under attack.

A **detector** is any module `(N, *) -> (N,)`: a logit, high in distribution. `fit` trains one, `ascend` climbs it,
`sample` and `transform` generate with it, `ood_score` reads it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genat import decisions as decisions
    from genat import networks as networks
    from genat import ranking as ranking
    from genat import shipped as shipped
    from genat import sources as sources
    from genat.adversaries import worst_case as worst_case
    from genat.ascent import Climb as Climb
    from genat.ascent import ascend as ascend
    from genat.ascent import climb as climb
    from genat.balls import L2Ball as L2Ball
    from genat.balls import LinfBall as LinfBall
    from genat.curriculum import Curriculum as Curriculum
    from genat.detection import Calibration as Calibration
    from genat.detection import calibrate as calibrate
    from genat.detection import ood_score as ood_score
    from genat.generation import compose as compose
    from genat.generation import denoise as denoise
    from genat.generation import edit as edit
    from genat.generation import inpaint as inpaint
    from genat.generation import interpolate as interpolate
    from genat.generation import sample as sample
    from genat.generation import transform as transform
    from genat.networks import Committee as Committee
    from genat.objectives import maximin as maximin
    from genat.objectives import r1_penalty as r1_penalty
    from genat.recipe import Classification as Classification
    from genat.recipe import Replay as Replay
    from genat.recipe import adam as adam
    from genat.recipe import sgd as sgd
    from genat.runs import Run as Run
    from genat.runs import load as load
    from genat.training import DivergenceError as DivergenceError
    from genat.training import Health as Health
    from genat.training import fit as fit

_HOMES = {
    "adversaries": ("worst_case",),
    "ascent": ("Climb", "ascend", "climb"),
    "balls": ("L2Ball", "LinfBall"),
    "curriculum": ("Curriculum",),
    "detection": ("Calibration", "calibrate", "ood_score"),
    "generation": ("compose", "denoise", "edit", "inpaint", "interpolate", "sample", "transform"),
    "networks": ("Committee",),
    "objectives": ("maximin", "r1_penalty"),
    "recipe": ("Classification", "Replay", "adam", "sgd"),
    "runs": ("Run", "load"),
    "training": ("DivergenceError", "Health", "fit"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("decisions", "networks", "ranking", "shipped", "sources")

__all__ = sorted([*_HOME_OF, *_MODULES])  # noqa: PLE0605 - the same names as above


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import a public name when it is first asked for, so that the command line starts without torch."""
    if name in _HOME_OF:
        value = getattr(import_module(f"genat.{_HOME_OF[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"genat.{name}")
    else:
        raise AttributeError(f"module 'genat' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
