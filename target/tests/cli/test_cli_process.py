# SPDX-License-Identifier: BSD-3-Clause
"""The daemon as a process: what it inherits, what it may use, how it is ended."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .program import Daemon, listens, sockets, until, vhost

NULL = "[Null]\nDev N 1\n[VhostBlk0]\nName blk.0\nDev N\n"
DEFAULT_NOFILE = 1024


@contextmanager
def soft_limit(what: int, value: int) -> Iterator[None]:
    """Children that are started meanwhile inherit it."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def test_closed_standard_descriptors(tmp_path: Path) -> None:
    """Nothing of the daemon's own may get their numbers: log lines would be written there."""
    (tmp_path / "vhost.conf").write_text(NULL)
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$0" -c vhost.conf <&- >&- 2>&-', str(vhost())], cwd=tmp_path
    )
    try:
        until("it listens", lambda: listens(tmp_path / "blk.0"))
        for number in range(3):
            link = Path(f"/proc/{process.pid}/fd/{number}").readlink()
            assert str(link) == "/dev/null", f"descriptor {number} is {link}"
    finally:
        process.terminate()
        assert process.wait() == 0


def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    """A front-end with many queues shall not use up what the others need."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard <= DEFAULT_NOFILE:
        pytest.skip(f"the hard limit of open files is {hard}: there is nothing to raise")
    with (
        soft_limit(resource.RLIMIT_NOFILE, DEFAULT_NOFILE),
        Daemon(tmp_path, config=NULL) as daemon,
    ):
        limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    assert limits == (hard, hard)


def test_a_closed_terminal_ends_it_in_order(tmp_path: Path) -> None:
    # It may be ignored here, under nohup, and the daemon would inherit that.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with Daemon(tmp_path, ["-f", "pid"], NULL) as daemon:
            daemon.end(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert sockets(tmp_path) == []
    assert not (tmp_path / "pid").exists()


def test_nohup(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Daemon(tmp_path, config=NULL) as daemon:
            daemon.process.send_signal(signal.SIGHUP)
            assert listens(tmp_path / "blk.0")
            assert daemon.process.poll() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_come_in_pairs(tmp_path: Path) -> None:
    """A shell and a terminal, or a service manager, send two at once: the end is in order."""
    with Daemon(tmp_path, ["-f", "pid"], NULL) as daemon:
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            daemon.process.send_signal(number)
        daemon.end(signal.SIGCONT)
    assert sockets(tmp_path) == []
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("limit", [5, 8, 12, 16])
def test_too_few_open_files(tmp_path: Path, limit: int) -> None:
    """It starts or says why not; DPDK by itself would abort without a word."""
    (tmp_path / "vhost.conf").write_text(NULL)
    script = f'ulimit -n {limit}; exec timeout 1 "$0" -q -c vhost.conf'
    done = subprocess.run(
        ["sh", "-c", script, str(vhost())], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode in (1, 124)
    if done.returncode == 1:
        (line,) = done.stderr.splitlines()
        assert re.match(r"vhost: error: .*(open files|may be open)", line)
    assert sockets(tmp_path) == []
