# SPDX-License-Identifier: BSD-3-Clause
"""Our daemon hands over to another process again and again under load: nobody may notice.

The driver and the judge are those of test_torture.py. Here no connection may end, and no request is
interrupted: the longest that one takes is what a guest sees of it.

$TORTURE_HANDOVERS is how often each daemon hands over; `make torture` says 100.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .backends import RUN_DEADLINE_S, Disk, Vhost, program

HANDOVERS = int(os.environ.get("TORTURE_HANDOVERS", "10"))
SEED = int(os.environ.get("TORTURE_SEED", "1"))
LIVES_S = (0.002, 0.25)
"""How long a daemon serves until it is to hand over."""
START_S = 30.0
INTERVAL_S = 0.005
PR_SET_CHILD_SUBREAPER = 36

# Split and packed, direct and indirect descriptors, one queue and many, memory and files.
WAYS = {
    "blk": (Disk("malloc"), ("-B", "64")),
    "blk-file": (Disk("aio"), ("-B", "64")),
    "blk-file-queues-indirect": (Disk("aio"), ("-B", "128", "-q", "4", "-i")),
    "blk-packed": (Disk("malloc"), ("-p", "-B", "64")),
    "blk-file-packed": (Disk("aio"), ("-p", "-B", "64", "-i")),
    "scsi": (Disk("malloc", "scsi"), ("-s", "-B", "64")),
    "scsi-file": (Disk("aio", "scsi"), ("-s", "-B", "64")),
}


class Line:
    """A daemon and its successors, which become our children."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        self.log_path = directory / "log"
        self.taken_over = 0
        with self.log_path.open("wb") as log:
            process = subprocess.Popen(
                Vhost(directory, disk).argv(),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = process.pid
        self.until("a daemon that listens", lambda log: "ready:" in log)

    def log(self) -> str:
        return self.log_path.read_text()

    def until(self, what: str, condition: object) -> None:
        assert callable(condition)
        end = time.monotonic() + START_S
        while not condition(self.log()):
            assert time.monotonic() < end, f"no {what}:\n{self.log()}"
            time.sleep(INTERVAL_S)

    def hand_over(self) -> None:
        self.taken_over += 1
        os.kill(self.pid, signal.SIGUSR2)
        self.until("successor", lambda log: log.count("taken over:") == self.taken_over)
        self._reap()
        self.pid = int(re.findall(r"handing over to process (\d+)", self.log())[-1])

    def _reap(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, self.log()

    def end(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        self._reap()

    def pauses_ms(self) -> list[float]:
        return [float(ms) for ms in re.findall(r"a pause of ([\d.]+) ms", self.log())]


@pytest.mark.parametrize("way", WAYS)
def test_handed_over_under_load(tmp_path: Path, way: str) -> None:
    """Steps: hand over at random moments. Verify: history; one connection; all rings taken over."""
    disk, args = WAYS[way]
    chance = random.Random(SEED)
    line = Line(tmp_path, disk)
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
        for _ in range(HANDOVERS):
            time.sleep(chance.uniform(*LIVES_S))
            line.hand_over()
            assert verify.poll() is None, verify.communicate()[1]
        out, err = verify.communicate("enough\n", timeout=RUN_DEADLINE_S)
    finally:
        verify.kill()
        line.end()
    assert verify.returncode == 0, f"{err}\n{line.log()}"
    result = json.loads(begun + out)
    print(f"{begun}{out}pauses: {line.pauses_ms()}")
    assert (result["reconnects"], result["interrupted"]) == (0, 0)
    assert len(line.pauses_ms()) == HANDOVERS
    assert all(pause > 0 for pause in line.pauses_ms()), line.log()
