"""The one training loop: outside data climbs, the detector learns to tell where it arrived from the target."""

from genat.training.devices import Crew
from genat.training.health import Health
from genat.training.loop import fit
from genat.training.records import DivergenceError, Fitted, Incident, Step, StoppedError
from genat.training.seeding import step_generator

__all__ = ["Crew", "DivergenceError", "Fitted", "Health", "Incident", "Step", "StoppedError", "fit", "step_generator"]
