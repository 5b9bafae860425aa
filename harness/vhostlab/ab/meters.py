# SPDX-License-Identifier: BSD-3-Clause
"""What a process used, to the nanosecond and the instruction, and what disturbed the machine."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
import time
from contextlib import suppress
from pathlib import Path

from vhostlab.host.load import OthersMeter

_TICKS = os.sysconf("SC_CLK_TCK")

_SYSCALL_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_LIBC = ctypes.CDLL(None, use_errno=True)
_ATTR_SIZE = 112
_EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 5, 1 << 6

HARDWARE, SOFTWARE = 0, 1
INSTRUCTIONS, TASK_CLOCK = 1, 1


def threads(pid: int) -> list[int]:
    """The threads of a process now."""
    with suppress(OSError):
        return [int(p.name) for p in Path(f"/proc/{pid}/task").iterdir()]
    return []


def cpu_ns(pid: int) -> int:
    """CPU time of all threads, in nanoseconds; /proc/PID/stat counts hundredths of a second."""
    total = 0
    for thread in threads(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    return total


def _open(kind: int, event: int, thread: int) -> int:
    """perf_event_open(2) of a thread, user space only; -1 where it cannot be had."""
    number = _SYSCALL_PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return -1
    # type, size, config, sample_period, sample_type, read_format, flags; the rest is 0
    attr = struct.pack("<IIQQQQQ", kind, _ATTR_SIZE, event, 0, 0, 0, _EXCLUDE_KERNEL | _EXCLUDE_HV)
    buffer = ctypes.create_string_buffer(attr, _ATTR_SIZE)
    return int(_LIBC.syscall(number, buffer, thread, -1, -1, 0x8))


class Counter:
    """An event of all threads that a process has when it is made. ``available`` says whether."""

    def __init__(self, pid: int, kind: int = HARDWARE, event: int = INSTRUCTIONS) -> None:
        self._descriptors = [_open(kind, event, t) for t in threads(pid)]
        self.available = bool(self._descriptors) and min(self._descriptors) >= 0
        if not self.available:
            self.close()

    def read(self) -> int:
        """The count so far; 0 where there is none."""
        return sum(int.from_bytes(os.read(fd, 8), "little") for fd in self._descriptors)

    def close(self) -> None:
        for fd in self._descriptors:
            if fd >= 0:
                os.close(fd)
        self._descriptors = []


def _steal_seconds() -> float:
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(words[8]) / _TICKS if len(words) > 8 else 0.0


def _mhz() -> float:
    """The mean clock of the processors, where the kernel says one."""
    found = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return sum(map(float, found)) / len(found) if found else 0.0


class Guard:
    """Watches the machine through a block. It knows nothing of the arms."""

    def __init__(self) -> None:
        self._others = OthersMeter()
        self._began = time.monotonic()
        self._steal = _steal_seconds()

    def figures(self, ours_seconds: float) -> dict[str, float]:
        """``ours_seconds``: CPU time of the daemons and guests since, which is not others'."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        steal = (_steal_seconds() - self._steal) / elapsed
        others = max(0.0, self._others.cores(ours_seconds) - steal)
        found = {
            "steal_percent": round(steal * 100, 2),
            "others_cores": round(others, 3),
            "seconds": round(elapsed, 2),
        }
        mhz = _mhz()
        return found | ({"mhz": round(mhz, 1)} if mhz else {})
