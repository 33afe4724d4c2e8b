"""Learn eight Gaussians on a ring from points alone, and count how much of the support the 1/2 level set covers.

Usage: python examples/simulate_2d.py [--tiny]
"""

import sys

import torch

import genat
from genat.networks import build
from genat.sources.toy import ring

ITERATIONS = 40 if "--tiny" in sys.argv else 3000

toy = ring()
fitted = genat.fit(
    build("mlp", (2,), {"hidden": [128, 128, 128], "mean": 0.5, "std": 0.2}, seed=0),
    toy.target,
    toy.outside,
    iterations=ITERATIONS,
    steps=genat.Curriculum(0, 10),
    step_size=0.05,
    r1=0.01,
    anneal=0.5,
)
points = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    claimed = fitted.detector(points) > 0
found = toy.inside(points)
print(f"intersection over union of level set and support: {(claimed & found).sum() / (claimed | found).sum():.2f}")
