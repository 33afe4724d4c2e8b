"""Try an attack of your own beside those that genat knows: what counts is the strongest on each image.

Usage: python examples/own_attack.py [--tiny]
"""

import sys

import torch
from torch import Tensor, nn

import genat
from genat import detection, shipped, sources


def random_search(detector: nn.Module, images: Tensor, ball: genat.L2Ball, *, tries: int, seed: int) -> Tensor:
    """Return images moved at random within the ball, a try kept where it raises the logit."""
    generator, best = torch.Generator().manual_seed(seed), images
    for _ in range(tries):
        there = (best + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
        there = ball.project(there, images)  # towards the images themselves, so that [0, 1] holds still
        higher = detection.logits(detector, there) > detection.logits(detector, best)
        best = torch.where(higher.view(-1, 1, 1, 1), there, best)
    return best


TRIES, STEPS = (3, 2) if "--tiny" in sys.argv else (300, 100)

run, ball = genat.load(shipped.folder("digits")), genat.L2Ball(1.0)
images = sources.DeadLeaves(run.shape).draw(50, generator=torch.Generator().manual_seed(0))
mine = random_search(run.detector, images, ball, tries=TRIES, seed=0)
attacked = genat.worst_case(run.detector, images, ball=ball, steps=STEPS, others={"random search": mine})
print(f"mean logit {detection.logits(run.detector, images).mean():.2f} clean")
for name, logits in attacked.each.items():
    print(f"{logits.mean():.2f} by {name}")
print(f"{attacked.logits.mean():.2f} by the strongest of them, image by image")
