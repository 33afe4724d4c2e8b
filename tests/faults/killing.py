"""Train in processes that are killed, and in one that is not: `python killing.py FOLDER ROUNDS SEED`.

Children are forked from one that has read the data and imported the engine, so that most of a child's life is training.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import lightning_fabric  # noqa: F401 - seconds of a child's life otherwise

from genat import assemble, config, runs

KEYS = ["network=mlp", "network_options={hidden: [16]}", "iterations=60", "batch_size=16", "checkpoint_every=3"]
KEYS += ["steps={first: 0, last: 3, gate: 0.6, window: 5}", "outside=[{kind: uniform-noise}]", "ema=0.9"]
KEYS += ["health={non_finite: back-off}"]  # which keeps a last good state, too
SETTINGS = config.load("digits", KEYS)


def train(folder: Path) -> int:
    """Train in a child as a person would, resuming where there is something to resume, and return its number."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            _, fitted = runs.train(SETTINGS, folder, resume=(folder / runs.CONFIG).exists())
            (folder / "digest").write_text(fitted.digest)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def left(folder: Path) -> dict[str, object]:
    """Return what a training came to."""
    lines = [line | {"seconds": 0} for line in runs.metrics(folder)]
    partial = [path.name for path in folder.rglob("*.partial")]
    names = sorted(path.name for path in (folder / runs.CHECKPOINTS).iterdir())
    calibration = (folder / runs.CALIBRATION).read_text()
    digest = (folder / "digest").read_text()
    return {"digest": digest, "lines": lines, "partial": partial, "names": names, "calibration": calibration}


def main(place: Path, rounds: int, seed: int) -> None:
    """Print a JSON object: how many were killed, where they stood, and how many ended as the whole one did."""
    assemble.target(SETTINGS)
    began = time.monotonic()
    whole = place / "whole"
    assert os.waitpid(train(whole), 0)[1] == 0
    lasts, expected, chance = time.monotonic() - began, left(whole), random.Random(seed)
    equal, killed, stood = 0, 0, []
    for number in range(rounds):
        folder = place / f"{number}"
        while True:
            pid = train(folder)
            time.sleep(chance.uniform(0, lasts))
            os.kill(pid, signal.SIGKILL)
            if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
                killed += 1
                break
            for path in sorted(folder.rglob("*"), reverse=True):  # it had ended: once more
                path.rmdir() if path.is_dir() else path.unlink()
        stood.append(len(runs.metrics(folder)) if (folder / runs.METRICS).exists() else -1)
        ended = os.waitpid(train(folder), 0)[1] == 0
        equal += ended and left(folder) == expected
    print(json.dumps({"killed": killed, "equal": equal, "stood": stood, "seconds": lasts}))  # noqa: T201 - its result


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
