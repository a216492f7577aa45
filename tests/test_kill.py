"""Runs that are killed at random moments resume to the same files."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_files() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.kill", "--runs=3", "--seed=1"], capture_output=True,
                          text=True, timeout=600, cwd=Path(__file__).resolve().parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("all: 3 of 3 runs, killed ")
