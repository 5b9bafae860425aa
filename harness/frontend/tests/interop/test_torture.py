# SPDX-License-Identifier: BSD-3-Clause
"""Our daemon is killed again and again under load, and started again at once: nobody may notice.

vhost-verify is the driver, and the history of its requests is the judge. It has many of them in
flight on few blocks, so that each block is written again and again, and never two of them on one
block. So after each completion the contents of a block are known, and are wrong if a request was
lost (its data are missing, or it never completes), or done again or only then, after a later one
had completed. A request that comes back twice is an error at once.

$TORTURE_KILLS is how often each daemon dies; `make torture` says 200.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from .backends import RUN_DEADLINE_S, Disk, Vhost, program

KILLS = int(os.environ.get("TORTURE_KILLS", "20"))
SEED = int(os.environ.get("TORTURE_SEED", "1"))
LIVES_S = (0.002, 0.25)
"""How long a daemon lives once it listens."""
START_S = 30.0
INTERVAL_S = 0.005
SERVICE_MS = 1000.0
INFLIGHT = 1 << 12

CORES = sorted(os.sched_getaffinity(0))[:2]
# Direct and indirect descriptors, one queue and many, on one core and on two, split and packed.
WAYS = {
    "blk": ("blk", ("-B", "64")),
    "blk-queues-indirect": ("blk", ("-B", "128", "-q", "4", "-i")),
    "blk-two-cores": ("blk", ("-B", "64", "-q", "4")),
    "scsi": ("scsi", ("-s", "-B", "64")),
    "blk-packed": ("blk", ("-p", "-B", "64")),
    "blk-packed-queues-indirect": ("blk", ("-p", "-B", "128", "-q", "4", "-i")),
    "blk-packed-two-cores": ("blk", ("-p", "-B", "64", "-q", "4")),
    "scsi-packed": ("scsi", ("-p", "-s", "-B", "64")),
}


class Mortal:
    """A daemon that can be killed, and its successors on the same files."""

    def __init__(self, directory: Path, device: str, cores: list[int]) -> None:
        self.argv = [*Vhost(directory, Disk("aio", device)).argv(), "-m", mask(cores)]
        self.directory = directory
        self.born = 0
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.born += 1
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                self.argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def listens(self) -> None:
        end = time.monotonic() + START_S
        while self.log().count("ready:") < self.born:
            assert time.monotonic() < end, self.log()
            self.lives(INTERVAL_S)

    def lives(self, seconds: float) -> None:
        """Lets it live for a while; it must not end by itself."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the daemon ended: {status}\n{self.log()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self.directory / "log").read_text()


def mask(cores: list[int]) -> str:
    return f"0x{sum(1 << core for core in cores):x}"


@pytest.mark.parametrize("way", WAYS)
def test_killed_under_load(tmp_path: Path, way: str) -> None:
    """Steps: kill the daemon at random moments, start it again. Verify: history, time to serve."""
    device, args = WAYS[way]
    chance = random.Random(SEED)
    cores = CORES if "cores" in way else CORES[:1]
    mortal = Mortal(tmp_path, device, cores)
    verify = subprocess.Popen(
        [str(program("vhost-verify")), "-R", "-e", "-n", "1000", *args, str(tmp_path / "sock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert verify.stdout is not None
        begun = verify.stdout.readline()  # it runs
        for _ in range(KILLS):
            mortal.listens()
            mortal.lives(chance.uniform(*LIVES_S))
            mortal.kill()
            assert verify.poll() is None, verify.communicate()[1]
            mortal.process = mortal.start()
        out, err = verify.communicate("enough\n", timeout=RUN_DEADLINE_S)
    finally:
        verify.kill()
        mortal.kill()
    assert verify.returncode == 0, f"{err}\n{mortal.log()}"
    print(begun + out, end="")
    result = json.loads(begun + out)
    assert result["protocol_features"] & INFLIGHT
    assert result["reconnects"] >= KILLS
    assert result["interrupted"] >= KILLS // 2, result
    assert result["slowest_ms"] < SERVICE_MS, result
