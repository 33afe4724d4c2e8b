"""Generate digits with a detector that comes with genat: each is a climb of its logit, from a photograph's crop.

Usage: python examples/sample.py grid.png [--tiny]
"""

import sys
from pathlib import Path

import genat
from genat import assemble, plots, shipped

COUNT = 4 if "--tiny" in sys.argv else 64

run = genat.load(shipped.folder("digits"))
starts = assemble.starts(run.config, run.shape)
made = genat.sample(run.detector, starts, seeds=range(COUNT), rejection=run.rejection(), **run.climbing())
Path(sys.argv[1]).write_bytes(plots.grid(made.images))
print(f"{COUNT} samples from {made.climbs} climbs, at most {made.passes} passes each: {sys.argv[1]}")
