"""Generate images without PyTorch, by numpy and onnxruntime, from what `genat export RUN --to onnx` writes.

Usage: python examples/onnx_ascent.py FOLDER/step.onnx grid.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

SIDE = 6  # of the grid


def generate(session: onnxruntime.InferenceSession, starts: np.ndarray) -> np.ndarray:
    """Climb as the run does: as many steps, as long."""
    told = session.get_modelmeta().custom_metadata_map
    steps, size, shrink = (json.loads(told[f"genat.{key}"]) for key in ("steps", "step_size", "shrink"))
    names = [one.name for one in session.get_inputs()]
    state = {"x": starts, "starts": starts, "first": np.zeros_like(starts), "second": np.zeros_like(starts)}
    for step in range(steps):
        state["step_size"] = np.array(size * shrink ** (step / max(steps - 1, 1)), np.float32)
        state["count"] = np.array(step + 1, np.float32)
        outputs = session.run(None, {name: state[name] for name in names})
        state |= dict(zip(("logit", "x", "first", "second"), outputs, strict=False))
    return state["x"]


def main(model: str, picture: str) -> None:
    """Write a grid of images, climbed to from noise."""
    session = onnxruntime.InferenceSession(model)
    channels, height, width = json.loads(session.get_modelmeta().custom_metadata_map["genat.shape"])
    noise = np.random.default_rng(0).random((SIDE * SIDE, channels, height, width), np.float32)
    images = generate(session, noise).reshape(SIDE, SIDE, channels, height, width)
    grid = images.transpose(0, 3, 1, 4, 2).reshape(SIDE * height, SIDE * width, channels)
    Image.fromarray((255 * grid).round().astype(np.uint8).squeeze()).save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
