"""Turn any picture into a face, and keep the way there.

Usage: python examples/transform.py IMAGE way.png
"""

import sys
from pathlib import Path

import genat
from genat import plots, shipped
from genat.sources import load_image

run = genat.load(shipped.folder("emoji-faces"))
image, notes = load_image(sys.argv[1], shape=run.shape)
climb = genat.transform(run.detector, image, **(run.climbing() | {"trajectory": True}))
assert climb.trajectory is not None
Path(sys.argv[2]).write_bytes(plots.trajectories(climb.trajectory))
before, after = run.predict(image), run.predict(climb.points)
print("converted:", ", ".join(notes) or "nothing")
print(
    f"logit {-before.score.item():.2f} before, {-after.score.item():.2f} after; a face: {after.in_distribution.item()}"
)
