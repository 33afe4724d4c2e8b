"""Train a network of your own: a function of the sample's shape, which a configuration names by module and name.

Usage: python examples/own_network.py FOLDER [--tiny]
"""

import sys

import torch
from torch import nn

from genat import config, runs
from genat.networks import check_detector


def build(shape: tuple[int, int, int], width: int = 64) -> nn.Module:
    """Return a detector `(N, C, H, W) -> (N,)` of pixels in [0, 1]."""
    inputs = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, 1), nn.Flatten(0))


if __name__ == "__main__":
    sys.modules["own_network"] = sys.modules["__main__"]  # so that a run finds it by its name
    check_detector(build((1, 8, 8)), torch.rand(2, 1, 8, 8))
    settings = config.load("digits", ["network=own_network:build", "network_options.width=128"])
    run, _ = runs.train(config.tiny(settings) if "--tiny" in sys.argv else settings, sys.argv[1])
    print(f"threshold {run.threshold:.3f}, on which {run.config.tpr:.0%} of held-out digits are accepted")
