# SPDX-License-Identifier: BSD-3-Clause
"""The daemon's instructions per request, against the baseline that is kept in the tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .backends import ROOT, RUN_DEADLINE_S

SCRIPT = ROOT / "harness/frontend/bench/instructions.py"
BASELINE = SCRIPT.with_suffix(".json")
RELEASE = ROOT / "build/release"
NOT_JUDGED = 77

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(not RELEASE.is_dir(), reason="there is no release build"),
]


def compare(case: str, baseline: Path = BASELINE) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--only", case, "--baseline", baseline],
        capture_output=True,
        text=True,
        timeout=RUN_DEADLINE_S,
    )
    if done.returncode == NOT_JUDGED:
        pytest.skip(done.stdout.strip())
    return done


@pytest.mark.parametrize("case", json.loads(BASELINE.read_text())["instructions_per_request"])
def test_no_more_than_the_baseline(case: str) -> None:
    done = compare(case)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_regression_is_noticed(tmp_path: Path) -> None:
    """Steps: a baseline of 9 % less than what is kept. Verify: it fails and says what to do."""
    planted = json.loads(BASELINE.read_text())
    planted["instructions_per_request"]["null-blk"] *= 0.91
    (tmp_path / "baseline").write_text(json.dumps(planted))
    done = compare("null-blk", tmp_path / "baseline")
    assert done.returncode == 1
    assert "MORE THAN BEFORE" in done.stdout
    assert "make instructions-baseline" in done.stdout


def test_the_counts_have_names(tmp_path: Path) -> None:
    """Steps: keep callgrind's file. Verify: it names functions of the daemon and their sources."""
    kept = tmp_path / "with a blank"
    bench = RELEASE / "harness/frontend/vhost-bench"
    subprocess.run(
        [
            *(bench, "--instructions", "--spawn", "vhost-null", "--target-size", "16M"),
            *("--requests", "1000", "--callgrind-out", kept),
        ],
        check=True,
        timeout=RUN_DEADLINE_S,
    )
    text = kept.read_text()
    # A name stands where it is used first, be it as a caller's or as a callee's.
    assert re.search(r"^c?f[eil]=\(\d+\) .*target/lib/device/blk", text, re.MULTILINE)
    assert re.search(r"^c?fn=\(\d+\) \w+_poll", text, re.MULTILINE)
