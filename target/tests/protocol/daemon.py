# SPDX-License-Identifier: BSD-3-Clause
"""The daemon under test, started as an operator starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from .connection import listens
from .waiting import until

ROOT = Path(__file__).resolve().parents[3]
START_DEADLINE_S = 30.0
SANITIZER = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:handle_segv=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}

CONFIG = """\
[Global]
  ReactorMask 0x1
[Malloc]
  NumberOfLuns 3
  LunSizeInMB 8
[VhostScsi0]
  Name scsi.0
  Dev 0 Malloc2
[VhostBlk0]
  Name blk.0
  Dev Malloc0
[VhostBlk1]
  Name blk.1
  Dev Malloc1
"""
NOT_PERMITTED = "is not permitted to this process"
"""What its system call filter says; nothing that it does by itself may need more."""
CONTROLLERS = ("blk.0", "blk.1", "scsi.0")


def binary() -> Path:
    """$VHOST_BINARY, else the build with sanitizers, else the one that `make` leaves."""
    if named := os.environ.get("VHOST_BINARY"):
        return Path(named).absolute()
    for path in (ROOT / "build/asan/target/app/vhost/vhost", ROOT / "target/app/vhost/vhost"):
        if path.is_file():
            return path
    raise FileNotFoundError("no daemon is built: run `make` or `ci/build.sh asan`")


class Daemon:
    """Runs until the end of the `with` block; its exit status must then be 0."""

    def __init__(self, directory: Path, config: str = CONFIG) -> None:
        self.directory = directory
        self.log = directory / "vhost.log"
        self._config = directory / "vhost.conf"
        self._config.write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def socket(self, name: str) -> Path:
        return self.directory / name

    def __enter__(self) -> Self:
        argv = [str(binary()), "-c", str(self._config), "-S", str(self.directory)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **SANITIZER},
            )
        try:
            until("the daemon is ready", self._ready, START_DEADLINE_S)
        except AssertionError:
            self.kill()
            raise
        return self

    def _ready(self) -> bool:
        """It listens, and is confined."""
        assert self.process.poll() is None, f"the daemon did not start:\n{self.log_tail()}"
        said = "vhost: notice: ready" in self.log.read_text(errors="replace")
        return said and all(listens(self.socket(name)) for name in CONTROLLERS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
            return
        self.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, deadline_s: float = 20.0) -> float:
        """Ends it by SIGTERM, returns the seconds that took."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        try:
            status = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end it:\n{self.log_tail()}") from None
        assert status == 0, f"exit status {status}:\n{self.log_tail()}"
        assert NOT_PERMITTED not in self.log_tail(), self.log_tail()
        return time.monotonic() - begin

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def assert_alive(self) -> None:
        assert self.process.poll() is None, f"the daemon has died:\n{self.log_tail()}"

    def fds(self) -> dict[str, str]:
        """Its open descriptors and what they are."""
        found = {}
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found[entry.name] = str(entry.readlink())
            except FileNotFoundError:
                continue
        return found

    def guest_mappings(self) -> int:
        """How many pieces of the tests' guest memory it maps."""
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        return sum("/memfd:guest" in line for line in maps.splitlines())
