# SPDX-License-Identifier: BSD-3-Clause
"""The gate goes red when slowness is planted into the daemon, and is green when there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .backends import ROOT

DEADLINE_S = 900.0
"""Two builds without a compiler cache, and six counts."""

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif(not (ROOT / "build/release").is_dir(), reason="there is no release build"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git repository"),
]


def gate(out: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit status and verdict of T0 on one case."""
    argv = [sys.executable, "-m", "vhostlab", "gate", "HEAD", "HEAD", "--only", "work", "--json"]
    done = subprocess.run(
        [*argv, "--cases", "null-blk", "-o", str(out), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_planted_slowness_is_red(tmp_path: Path) -> None:
    """Steps: plant 10 ns into each request. Verify: fail, by about as many instructions."""
    status, found = gate(tmp_path, "--head-options=-Dplanted=busy -Dplanted_ns=10")
    assert status == 1
    assert found["verdict"] == "fail"
    assert "+planted.busy.10" in found["head"]["version"]
    rows = {row["metric"]: row for row in found["tiers"][0]["rows"]}
    assert 10 <= rows["instructions"]["head"] - rows["instructions"]["base"] <= 60
    assert rows["instructions"]["verdict"] == "fail"
    assert rows["kicks"]["verdict"] == "pass"


def test_the_same_daemon_is_green(tmp_path: Path) -> None:
    """Steps: compare a build with itself, counted anew. Verify: pass; the counts agree."""
    status, found = gate(tmp_path, "--always")
    assert status == 0
    assert found["verdict"] == "pass"
    assert found["base"]["build_id"] == found["head"]["build_id"]
    rows = {row["metric"]: row for row in found["tiers"][0]["rows"]}
    assert abs(rows["instructions"]["change"]) < 0.005
