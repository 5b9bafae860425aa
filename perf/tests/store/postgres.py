# SPDX-License-Identifier: BSD-3-Clause
"""A real PostgreSQL server of the tests' own: its directory goes with it, and it has no port."""

from __future__ import annotations

import os
import pwd
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

DEADLINE_S = 60.0
READY = "database system is ready to accept connections"
USER = "vhostlab"


@dataclass(frozen=True)
class Server:
    """A server that accepts connections."""

    socket_dir: Path

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.socket_dir}"

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" STRATEGY file_copy')
        return self.url(name)


def program(name: str) -> str:
    """One of the server's programs, which Debian keeps out of PATH."""
    there = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(there[-1]) if there else shutil.which(name)
    if not found:
        pytest.fail(f"PostgreSQL's {name} is missing: run ci/setup.sh (apt-get install postgresql)")
    return found


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root. The server ends when the tests do, however they end."""
    words = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        words += [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    return words


def _wait_until_ready(server: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    said: list[str] = []
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            pytest.fail(f"PostgreSQL was not ready within {DEADLINE_S:g} s: {''.join(said)}")
        if line is None:
            pytest.fail(f"PostgreSQL ended with {server.wait()}: {''.join(said)}")
        said.append(line)
        if READY in line:
            return


@contextmanager
def running() -> Iterator[Server]:
    """Start a server; it is gone at the end."""
    # short, for the socket, and where another user may go: not pytest's tmp_path
    home = Path(tempfile.mkdtemp(prefix="vl-pg-", dir="/tmp"))
    data = home / "data"
    try:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        subprocess.run(
            [*_unprivileged(), program("initdb"), "-D", str(data), "-U", USER, "--auth=trust",
             "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(home),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            "autovacuum": "off",
            "lc_messages": "C",
        }
        server = subprocess.Popen(
            [*_unprivileged(), program("postgres"), "-D", str(data),
             *(w for k, v in settings.items() for w in ("-c", f"{k}={v}"))],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/",
        )  # fmt: skip
        assert server.stderr is not None
        lines: queue.Queue[str | None] = queue.Queue()

        def listen(stream: Iterator[str]) -> None:
            for line in stream:
                lines.put(line)
            lines.put(None)

        listener = threading.Thread(target=listen, args=(server.stderr,), daemon=True)
        listener.start()
        try:
            _wait_until_ready(server, lines)
            yield Server(home)
        finally:
            # at once: nothing of it is needed any more
            server.send_signal(signal.SIGQUIT)
            try:
                server.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            listener.join(DEADLINE_S)
            server.stderr.close()
    finally:
        shutil.rmtree(home)
