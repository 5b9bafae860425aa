# SPDX-License-Identifier: BSD-3-Clause
"""What is left when a process of the harness dies: nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab import guardian, scratch
from vhostlab.paths import socket_dir
from vhostlab.scratch import scratch_dir

OWNER = """
import asyncio, sys
from pathlib import Path
from vhostlab.process import Process
from vhostlab.scratch import scratch_dir

async def main(base):
    with scratch_dir("test", base) as path:
        (path / "file").write_text("x")
        # a child with a child of its own, which ignores what is polite
        script = "trap '' TERM HUP; sleep 600 & echo $! $$; wait"
        async with Process(["sh", "-c", script], base / "log"):
            while len((base / "log").read_text().split()) < 2:
                await asyncio.sleep(0.01)
            print(path, flush=True)
            await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1])))
"""


def gone(what: str, check: Callable[[], bool], deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def dead(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_leaves_nothing(tmp_path: Path, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        path = Path(owner.stdout.readline().strip())
        assert (path / "file").is_file()
        pids = [int(word) for word in (tmp_path / "log").read_text().split()]
        assert not any(dead(pid) for pid in pids)
        owner.send_signal(number)
    gone("the directory", lambda: not path.exists())
    gone("the processes", lambda: all(dead(pid) for pid in pids))


def test_what_is_released_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.mkdir()
    own = guardian.Guardian()
    own.add_directory(path)
    own.release_directory(path)
    other = tmp_path / "goes"
    other.mkdir()
    own.add_directory(other)
    program = own._program
    assert program is not None and program.stdin is not None
    program.stdin.close()
    assert program.wait(20) == 0
    assert path.is_dir() and not other.exists()


@given(st.lists(st.tuples(st.sampled_from(["group", "directory"]), st.sampled_from("abc"))))
def test_as_often_released_as_added_is_nothing_left(kept: list[tuple[str, str]]) -> None:
    said = [("add", *k) for k in kept] + [("release", *k) for k in reversed(kept)]
    lines = [f'["{verb}", "{kind}", "{what}"]\n'.encode() for verb, kind, what in said]
    assert guardian.left(lines) == []
    assert sorted(guardian.left(lines[: len(kept)])) == sorted(set(kept))


def test_directories_are_private_short_and_go(tmp_path: Path) -> None:
    with scratch_dir("one", tmp_path) as path, socket_dir("two") as sockets:
        assert path.parent == tmp_path and path.name.startswith("vl-one-")
        assert path.stat().st_mode & 0o777 == 0o700
        assert len(str(sockets)) < 40
    assert not path.exists() and not sockets.exists()


def test_the_next_one_sweeps_up(tmp_path: Path) -> None:
    dead_one, foreign = tmp_path / "vl-x-1", tmp_path / "vl-x-2"
    for path in (dead_one, foreign):
        path.mkdir()
    (dead_one / ".owner").touch()
    with scratch_dir("mine", tmp_path) as mine:
        assert not dead_one.exists()
        # no mark: somebody else's
        assert foreign.exists()
        scratch._swept.clear()
        with scratch_dir("again", tmp_path):
            assert mine.exists(), "its owner lives"


def test_another_process_does_not_sweep_what_is_in_use(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vhostlab.scratch import scratch_dir\n"
        "with scratch_dir('b', Path(sys.argv[1])): pass"
    )
    with scratch_dir("a", tmp_path) as mine:
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        assert mine.exists()
