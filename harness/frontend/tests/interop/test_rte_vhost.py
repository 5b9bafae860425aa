# SPDX-License-Identifier: BSD-3-Clause
"""Against a back-end whose protocol side is DPDK's librte_vhost: packed rings, in-flight area.

Its rings are served by the model of the tests, its messages, memory and in-flight area by DPDK.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .backends import (
    DISK_MB,
    ROOT,
    RUN_DEADLINE_S,
    START_DEADLINE_S,
    Backend,
    Disk,
    program,
    run_json,
)

INFLIGHT = 1 << 12
PACKED = 1 << 34
REQUESTS = 5000
DEATHS = 6
STEPS = (3, 400)
"""The first back-end dies after so few steps, the last one after so many."""

PLACES = (program("vhost-verify").parent, ROOT / "build/release/harness/frontend")
PROGRAM = next((p / "rte-backend" for p in PLACES if (p / "rte-backend").is_file()), None)
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="rte-backend is not built (release build, with DPDK's librte_vhost)"
)

WAYS = {
    "poll": (),
    "event": ("-e",),
    "indirect": ("-i", "-e"),
    "no-event-idx": ("-E", "-e"),
    "many-queues": ("-q", "4", "-d", "8", "-e"),
    "many-regions": ("-r", "4"),
}


class RteBackend(Backend):
    """Dies after `steps` steps unless that is 0."""

    def __init__(self, directory: Path, steps: int = 0) -> None:
        super().__init__(directory, Disk("aio"))
        self.steps = steps

    def argv(self) -> list[str]:
        return [str(PROGRAM), str(self.socket), str(self.image()), str(self.steps)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ring", ["split", "packed"])
def test_data(tmp_path: Path, ring: str, way: str) -> None:
    packed = ("-p",) if ring == "packed" else ()
    with RteBackend(tmp_path) as backend:
        result = run_json("vhost-verify", *packed, *WAYS[way], "-n", REQUESTS, backend.socket)
    assert result["requests"] >= REQUESTS
    assert bool(result["features"] & PACKED) == (ring == "packed")
    assert result["protocol_features"] & INFLIGHT


@pytest.mark.parametrize("indirect", [(), ("-i",)], ids=["direct", "indirect"])
@pytest.mark.parametrize("ring", ["split", "packed"])
def test_deaths(tmp_path: Path, ring: str, indirect: tuple[str, ...]) -> None:
    """Steps: the back-end dies again and again under load. Verify: every block, every time."""
    socket = tmp_path / "sock"
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_MB << 20)
    args = ["-R", "-e", "-n", str(4 * REQUESTS), *indirect, *(["-p"] if ring == "packed" else [])]
    verify = subprocess.Popen(
        [str(program("vhost-verify")), *args, str(socket)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = (tmp_path / "log").open("wb")
    try:
        for i in range(DEATHS + 1):
            steps = 0 if i == DEATHS else STEPS[0] + (STEPS[1] - STEPS[0]) * i // DEATHS
            argv = [str(PROGRAM), str(socket), str(disk), str(steps)]
            backend = subprocess.Popen(argv, stdout=log, stderr=log)
            if steps > 0:
                assert backend.wait(START_DEADLINE_S) == -9, verify.poll()
        out, err = verify.communicate(timeout=RUN_DEADLINE_S)
    finally:
        log.close()
        verify.kill()
        backend.kill()
        backend.wait()
    assert verify.returncode == 0, err
    assert json.loads(out)["reconnects"] >= DEATHS
