"""Paint part of a face anew: what the mask covers is replaced and climbs, and every other pixel stays.

Usage: python examples/edit_with_mask.py out.png
"""

import sys
from pathlib import Path

import torch

import genat
from genat import assemble, generation, plots, shipped

run = genat.load(shipped.folder("emoji-faces"))
face = run.held_out().tensor()[:1]
mask = generation.box_mask((6, 8, 26, 16), shape=run.shape)  # left, top, right, bottom
starts = assemble.starts(run.config, run.shape)
made = genat.inpaint(run.detector, face, starts, mask=mask, seeds=range(8), **run.climbing())
assert torch.equal(made.images[:, :, ~mask.squeeze()], face.expand(8, -1, -1, -1)[:, :, ~mask.squeeze()])
Path(sys.argv[1]).write_bytes(plots.pairs(face.expand(8, -1, -1, -1), made.images))
print(f"eight ways to complete one face: {sys.argv[1]}")
