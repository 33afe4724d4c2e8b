"""A training that is killed at any moment resumes to the bits of one that is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killing.py")


@pytest.mark.parametrize("rounds", [pytest.param(3, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.soak)])
def test_killed_trainings_resume_to_the_same_bits(rounds: int, tmp_path: Path) -> None:
    line = [sys.executable, str(SCRIPT), str(tmp_path), str(rounds), "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)  # noqa: T201 - for the record
    assert (found["killed"], found["equal"]) == (rounds, rounds), done.stderr
    assert len(set(found["stood"])) > 1
