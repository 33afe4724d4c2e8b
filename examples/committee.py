"""A committee: one detector a class, trained together; it classifies, and refuses what no detector claims.

Usage: python examples/committee.py FOLDER [--tiny]
"""

import sys

import torch

from genat import config, runs, sources

settings = config.load("committee-digits")
if "--tiny" in sys.argv:
    settings = config.tiny(settings)
run, _ = runs.train(settings, sys.argv[1])
test = sources.digits("test")
assert test.labels is not None
right = run.classify(test.tensor()).argmax(dim=1) == test.labels
noise = torch.rand(200, *run.shape, generator=torch.Generator().manual_seed(0))
print(f"accuracy {right.double().mean():.3f}")
print(f"accepted: {run.predict(test.tensor()).in_distribution.double().mean():.3f} of the digits,")
print(f"          {run.predict(noise).in_distribution.double().mean():.3f} of noise")
