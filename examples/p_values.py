"""Detect with p-values: of new images of the target, at most a share alpha is refused at level alpha.

Usage: python examples/p_values.py
"""

import torch

import genat
from genat import shipped, sources

ALPHA = 0.1

run = genat.load(shipped.folder("digits"))
digits = sources.digits("test").tensor()
photographs = sources.Photographs(run.shape).draw(200, generator=torch.Generator().manual_seed(0))
for name, images in (("digits of the test set", digits), ("photographs", photographs)):
    judged = run.predict(images, alpha=ALPHA)
    refused = 1 - judged.in_distribution.double().mean()
    print(f"{name}: {refused:.3f} refused at level {ALPHA}, median p-value {judged.p_value.median():.4f}")
