# SPDX-License-Identifier: BSD-3-Clause
"""make bench-compare: the table is made, whatever the figures are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .backends import QSD, ROOT, RUN_DEADLINE_S, daemon, program

SCRIPT = ROOT / "harness/frontend/bench/figures.py"

pytestmark = [
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in ("fio", "valgrind", QSD)),
        reason="one of fio, valgrind, qemu-storage-daemon is not installed",
    ),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two processors"),
]


def figures(tmp_path: Path, only: str, *args: object) -> subprocess.CompletedProcess[str]:
    image = tmp_path / "disk.raw"
    image.write_bytes(os.urandom(8 << 20))
    argv = [
        *(sys.executable, SCRIPT, "--bench", program("vhost-bench"), "--daemon", daemon()),
        *("--only", only, "--groups", 2, "--block-seconds", 0.02, "--file", image),
        *("--json", tmp_path / "report.json", *args),
    ]
    return subprocess.run(
        [str(arg) for arg in argv], capture_output=True, text=True, timeout=RUN_DEADLINE_S
    )


@pytest.mark.parametrize(
    "only", ["null randread depth 32", "null scsi / blk depth 128", "aio randread depth 1 /"]
)
def test_a_ratio(tmp_path: Path, only: str) -> None:
    """Verify: progress, the line with bar, verdict and disturbance, the same as JSON."""
    done = figures(tmp_path, only)
    assert done.returncode == 0, done.stderr
    assert "1 figures, about" in done.stderr
    row = next(row for row in done.stdout.splitlines() if row.startswith(only))
    assert ">= " in row
    assert "met" in row.lower()
    report = json.loads((tmp_path / "report.json").read_text())
    figure = report["figures"][0]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert figure["met"] == (figure["value"] >= figure["bar"])
    assert figure["others_percent"] >= 0


def test_memory(tmp_path: Path) -> None:
    done = figures(tmp_path, "resident memory")
    assert done.returncode == 0, done.stderr
    assert "MiB" in done.stdout


def test_neighbour(tmp_path: Path) -> None:
    """Verify: both kinds of runs were made, and the lower the better."""
    done = figures(tmp_path, "beside a flood")
    assert done.returncode == 0, done.stderr
    assert " us against " in done.stdout
    (figure,) = json.loads((tmp_path / "report.json").read_text())["figures"]
    assert not figure["at_least"]
    assert figure["met"] == (figure["value"] <= figure["bar"])


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Steps: a daemon that ends at once. Verify: the reason, and exit status 1."""
    no_daemon = tmp_path / "daemon"
    no_daemon.write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo none\nexit 1\n')
    no_daemon.chmod(0o755)
    done = figures(tmp_path, "null randread depth 32", "--daemon", no_daemon)
    assert done.returncode == 1
    assert "could not be made: vhost-bench: " in done.stdout
