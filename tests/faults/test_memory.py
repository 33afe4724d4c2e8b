"""A long training takes no more memory than a short one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import json, os, sys
from pathlib import Path
from genat import config, runs

page, seen = os.sysconf("SC_PAGE_SIZE"), []

def note(step):
    if step.iteration % 20 == 0:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
        seen.append((step.iteration, resident / 2**20))

keys = ["iterations=2000", "batch_size=16", "network=small_convnet", "network_options.width=8", "checkpoint_every=50"]
keys += ["steps={first: 0, last: 3}", "health={window: 20, loses_below: 0.99, wins_above: 0.5}"]
runs.train(config.load("digits", keys), Path(sys.argv[1]) / "run", callback=note)
print(json.dumps(seen))
"""


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    line = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(line, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps, mebibytes = np.array([pair for pair in json.loads(done.stdout) if pair[0] > 400]).T
    slope = 1000 * np.polyfit(steps, mebibytes, 1)[0]
    print(f"{slope:.3f} MB per 1,000 steps, from {mebibytes[0]:.1f} to {mebibytes[-1]:.1f} MB")  # noqa: T201
    assert len(steps) > 50
    assert slope < 1
