# SPDX-License-Identifier: BSD-3-Clause
"""vhostlab ab on real daemons: it measures, it can go red, and Ctrl-C leaves a verdict.

The margins are wide, so that a machine that is busy with other things can judge; how finely a quiet
one can is not a question for a test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from .backends import ROOT, RUN_DEADLINE_S, daemon, program

SCHEMA = json.loads((ROOT / "docs" / "ab.schema.json").read_text())
WIDE = {"iops": 0.5, "latency_p50": 0.9, "latency_p99": 0.9, "target_cpu_per_io": 0.9}


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """perf/gates.toml with wide margins and guards that let everything pass."""
    lines, metric = [], ""
    for line in (ROOT / "perf" / "gates.toml").read_text().splitlines():
        if line.startswith("["):
            metric = line.strip("[]").removeprefix("ab.").removeprefix("metrics.")
        if line.startswith("margin") and metric in WIDE:
            line = f"margin = {WIDE[metric]}"
        if line.startswith("margin") and metric == "canary":
            line = "margin = 0.9"
        if line.startswith(("steal_percent", "others_cores", "canary_slower")):
            line = f"{line.split()[0]} = 1000.0"
        lines.append(line)
    path = tmp_path / "gates.toml"
    path.write_text("\n".join(lines))
    return path


def command(tmp_path: Path, gates: Path, head: Path, *more: str) -> list[str]:
    words = [
        "--base-binary",
        daemon(),
        "--head-binary",
        head,
        "--gates",
        gates,
        "-o",
        tmp_path / "o",
    ]
    cells = ["--cells", "null qd1", "--turn", "0.03"]
    return [sys.executable, "-m", "vhostlab", "ab", *map(str, words), *cells, *more]


def environment(tmp_path: Path) -> dict[str, str]:
    own = {
        "VHOSTLAB_BENCH_PROGRAM": str(program("vhost-bench")),
        "VHOSTLAB_CACHE": str(tmp_path / "cache"),
        "VHOSTLAB_RUNTIME": str(tmp_path / "runtime"),
    }
    return os.environ | own


def test_it_goes_red(tmp_path: Path, gates: Path) -> None:
    """A head that sleeps after each request: at depth 1 a wake-up costs more than the request."""
    head = tmp_path / "vhost-that-sleeps"
    head.write_text(f'#!/bin/sh\nexec {daemon()} "$@" --mode event\n')
    head.chmod(0o755)
    done = subprocess.run(
        command(tmp_path, gates, head, "--blocks", "8", "--budget", "4", "--json"),
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(tmp_path),
    )
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert found == json.loads((tmp_path / "o" / "ab.json").read_text())
    assert (tmp_path / "o" / "ab.html").is_file()
    assert found["verdict"] == "fail" and "confirmed by fresh blocks" in found["reason"]
    assert {b["phase"] for b in found["blocks"]} == {"main", "confirm"}
    measured = {e["metric"] for e in found["cells"]}
    assert measured >= {"iops", "latency_p50", "latency_p99", "target_cpu_per_io"}
    assert {c["name"] for c in found["canary"]["figures"]} == {"loop", "copy"}


def test_an_interruption_leaves_a_verdict_and_no_daemon(tmp_path: Path, gates: Path) -> None:
    argv = command(tmp_path, gates, daemon(), "--budget", "5")
    running = subprocess.Popen(argv, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
    blocks, deadline = tmp_path / "o" / "blocks.json", time.monotonic() + RUN_DEADLINE_S
    try:
        while not blocks.is_file() or not json.loads(blocks.read_text())["blocks"]:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=RUN_DEADLINE_S)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0, out
    found = json.loads((tmp_path / "o" / "ab.json").read_text())
    assert found["verdict"] == "inconclusive" and found["verdict"].upper() in out
    ours = str(tmp_path / "o" / "base" / "vhost")
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert ours not in process.read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
