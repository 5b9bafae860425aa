# SPDX-License-Identifier: BSD-3-Clause
"""A run of ``vhostlab run`` as a process, and everything that belongs to it on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vhostlab.host.leases import Leases
from vhostlab.results import PARTIAL, PLAN_FILE
from vhostlab.scenario.progress import Follower

#: From a signal until nothing is left; an orderly end stops QEMU and the target one by one.
CLEAN_DEADLINE_S = 60.0

#: Until the next thing happens in a run; TCG on a busy machine fits.
EVENT_DEADLINE_S = 600.0

MATRIX = """
name = "kills"
runtime_s = 1

[axes]
device = ["blk", "scsi"]
bdev = ["malloc"]
pattern = ["randread", "randwrite"]
bs = ["4k"]
depth = [1, 32]
# with the target's two cores, which then are leased
vcpus = [1]
"""


def until(what: str, deadline_s: float, probe: Callable[[], Any]) -> Any:
    """The first true value of the probe."""
    end = time.monotonic() + deadline_s
    while not (value := probe()):
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.02)
    return value


class World:
    """Directories of its own for everything that a run leaves on the machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.results = directory / "results"
        self.scratch = directory / "tmp"
        self.runtime = directory / "runtime"
        self.matrix = directory / "kills.toml"
        # sockets need a short path
        self.sockets = Path(tempfile.mkdtemp(prefix="vk-", dir="/tmp"))
        for path in (self.scratch, self.runtime):
            path.mkdir()
        self.matrix.write_text(MATRIX)
        self.environment = {
            "VHOSTLAB_SOCKETS": str(self.sockets),
            "VHOSTLAB_RUNTIME": str(self.runtime),
            "TMPDIR": str(self.scratch),
        }

    def close(self) -> None:
        """End what is still there; a test that fails must not leave it behind either."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def processes(self) -> dict[int, str]:
        """All that a run has started: the environment says so."""
        mark = f"VHOSTLAB_SOCKETS={self.sockets}".encode()
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    words = (path / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(path.name)] = words.decode(errors="replace")
        return found

    def left(self) -> list[str]:
        """What a run that has ended must not leave."""
        found = [f"process {pid}: {words[:120]}" for pid, words in self.processes().items()]
        for path in (self.sockets, self.scratch):
            found += [str(entry) for entry in path.iterdir()]
        found += [str(lease) for lease in Leases(self.runtime).held()]
        return found

    def expect_clean(self, deadline_s: float = CLEAN_DEADLINE_S) -> float:
        """Nothing is left, soon; return how soon."""
        began = time.monotonic()
        while left := self.left():
            assert time.monotonic() < began + deadline_s, "left behind:\n" + "\n".join(left)
            time.sleep(0.02)
        return time.monotonic() - began

    def expect_whole(self) -> None:
        """Every file of every run is whole."""
        for path in self.results.rglob("*"):
            if path.name.endswith(PARTIAL) or "avocado" in path.parts or not path.is_file():
                continue
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name == "junit.xml":
                ElementTree.parse(path)
            elif path.name == "report.html":
                assert path.read_text().rstrip().endswith("</html>")

    def run_dir(self) -> Path | None:
        """The run, once it has a plan."""
        latest = self.results / "latest"
        return latest.resolve() if (latest / PLAN_FILE).is_file() else None


class Run:
    """``vhostlab run``, new or gone on with."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.known = world.run_dir()
        words = ["--resume"] if self.known else ["--matrix", str(world.matrix)]
        argv = [sys.executable, "-m", "vhostlab", "run", "--results", str(world.results), *words]
        self.follower = Follower(self.known) if self.known else None
        if self.follower:
            list(self.follower.news())
        self.log = world.directory / f"run-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | world.environment,
            )

    def events(self) -> Iterator[str]:
        """What has happened since the last time."""
        if self.follower is None and (run_dir := self.world.run_dir()):
            self.follower = Follower(run_dir)
        if self.follower:
            yield from (str(event["event"]) for event in self.follower.news())

    def wait_event(self, name: str) -> bool:
        """Wait for it; return whether it came before the run ended."""

        def seen() -> str:
            if name in self.events():
                return "seen"
            return "over" if self.process.poll() is not None else ""

        return bool(until(f"event {name}", EVENT_DEADLINE_S, seen) == "seen")

    def find(self, which: str) -> int | None:
        """A process of the run, as soon as there is one; None when the run ends before."""
        if which == "harness":
            return self.process.pid
        mark = {"avocado": " -m avocado run ", "stage": " -m vhostlab stage "}[which]

        def there() -> tuple[int | None] | None:
            over = self.process.poll() is not None
            for pid, words in self.world.processes().items():
                if mark in words:
                    return (pid,)
            return (None,) if over else None

        pid: int | None = until(f"process {which}", EVENT_DEADLINE_S, there)[0]
        return pid

    def end(self, deadline_s: float = CLEAN_DEADLINE_S) -> int:
        """Wait for the end of the process that was started; its status."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on: {self.log.read_text()[-2000:]}") from None
