# SPDX-License-Identifier: BSD-3-Clause
"""Running the programs under test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 30.0
_INTERVAL_S = 0.01


def vhost() -> Path:
    """$VHOST_BINARY, else the build with sanitizers, else the one that `make` leaves."""
    if named := os.environ.get("VHOST_BINARY"):
        return Path(named).absolute()
    for path in (ROOT / "build/asan/target/app/vhost/vhost", ROOT / "target/app/vhost/vhost"):
        if path.is_file():
            return path
    raise FileNotFoundError("no daemon is built: run `make` or `ci/build.sh asan`")


def vhostctl() -> Path:
    """The client of the same build."""
    return vhost().parent.parent / "vhostctl" / "vhostctl"


def sanitized() -> bool:
    """Does the build look for leaks at its end? That takes its time."""
    return b"__asan_init" in vhost().read_bytes()


def until(what: str, condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail naming what did not come."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(_INTERVAL_S)


def listens(path: Path) -> bool:
    """Does somebody accept connections there?"""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def rights(pid: int) -> list[dict[str, int]]:
    """Of each thread: its filter of system calls (2: one is there), capabilities as bits."""
    wanted = ("Seccomp", "NoNewPrivs", "CapPrm", "CapEff", "CapBnd")
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        found.append({name: int(fields[name], 16) for name in wanted})
    return found


def sockets(directory: Path) -> list[str]:
    """The names of all sockets in the directory."""
    return sorted(path.name for path in directory.iterdir() if path.is_socket())


def run(
    args: Sequence[str], cwd: Path, pass_fds: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected to end by itself."""
    return subprocess.run(
        [str(vhost()), *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        pass_fds=pass_fds,
        check=False,
    )


def refused(args: Sequence[str], cwd: Path, pass_fds: Sequence[int] = ()) -> str:
    """The one error line of a daemon that could not start; it leaves nothing behind."""
    before = sockets(cwd)
    done = run(args, cwd, pass_fds)
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("vhost: error: ")]
    assert len(errors) == 1, done.stderr
    assert "runtime error" not in done.stderr
    assert "Sanitizer" not in done.stderr
    assert sockets(cwd) == before
    return errors[0].removeprefix("vhost: error: ")


class Daemon:
    """Runs until the end of the `with` block, and must then end in order."""

    def __init__(
        self,
        directory: Path,
        args: Sequence[str] = (),
        config: str | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.directory = directory
        self.log = directory / f"vhost-{time.monotonic_ns()}.log"
        self._argv = [str(vhost()), *args]
        if config is not None:
            path = directory / "vhost.conf"
            path.write_text(config)
            self._argv += ["-c", str(path)]
        self._pass_fds = pass_fds
        self._stdin = stdin

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._argv,
                cwd=self.directory,
                stdin=self._stdin,
                stdout=log,
                stderr=log,
                pass_fds=self._pass_fds,
            )
        try:
            until("the daemon is ready", self._ready)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def _ready(self) -> bool:
        text = self.text()
        assert self.process.poll() is None, f"the daemon did not start:\n{text}"
        return "vhost: notice: ready" in text

    def text(self) -> str:
        """All it has logged."""
        return self.log.read_text()

    def end(self, number: int = signal.SIGTERM) -> float:
        """End it by a signal; the seconds that took."""
        begin = time.monotonic()
        self.process.send_signal(number)
        self.wait()
        return time.monotonic() - begin

    def wait(self) -> None:
        """Its end, which must be one in order."""
        try:
            status = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it does not end:\n{self.text()}") from None
        assert status == 0, f"exit status {status}:\n{self.text()}"
        # The filter of system calls lets it do all that it does by itself.
        assert "is not permitted to this process" not in self.text(), self.text()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            if kind is not None:
                self.process.kill()
                self.process.wait()
            else:
                self.end()


def ctl(directory: Path, *words: str, status: int = 0) -> str:
    """What vhostctl says; on standard error if it is expected to fail."""
    done = subprocess.run(
        [str(vhostctl()), *words],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def ctl_json(directory: Path, *words: str) -> Any:
    """The result of a command or method as JSON."""
    return json.loads(ctl(directory, "-j", *words))
