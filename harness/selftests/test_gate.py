# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab gate``: what is compared, what needs to be measured, how long it will take."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from vhostlab import cli, process
from vhostlab.gate import child, coverage, revisions
from vhostlab.gate.run import Gate, Request
from vhostlab.gate.steps import Steps
from vhostlab.paths import source_dir
from vhostlab.target import vhostlab as target_driver

IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
IDENTITY |= {"GIT_COMMITTER_EMAIL": "a@b"}


def git(tree: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words],
        cwd=tree,
        env={**os.environ, **IDENTITY},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of its own, of these sources as they are committed."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "tree"
    git(tmp_path, "clone", "-q", "--shared", str(source_dir()), str(place))
    # What is being worked on counts too.
    for name in ("perf", "harness"):
        subprocess.run(["cp", "-r", source_dir() / name, place], check=True)
    git(place, "add", "-A")
    git(place, "commit", "-q", "--allow-empty", "-m", "the same")
    monkeypatch.setenv("VHOSTLAB_SOURCE", str(place))
    return place


def commit(tree: Path, name: str, text: str) -> None:
    with (tree / name).open("a") as file:
        file.write(text)
    git(tree, "add", name)
    git(tree, "commit", "-q", "-m", f"change {name}")


def gate(tree: Path, *words: str) -> tuple[int, dict[str, Any]]:
    out = tree / "results/try"
    status = cli.main(["gate", *words, "-o", str(out)])
    found: dict[str, Any] = json.loads((out / "gate.json").read_text())
    return status, found


# ---- what is compared ----


def test_a_change_of_words_passes_without_a_build(tree: Path) -> None:
    """Steps: change a document, judge. Verify: pass, the reason; nothing was built."""
    commit(tree, "docs/TESTING.md", "more\n")
    status, found = gate(tree, "HEAD~1")
    assert (status, found["verdict"]) == (0, "pass")
    assert [t["verdict"] for t in found["tiers"]] == ["not needed"] * 3
    assert found["reason"] == "nothing that the daemon is built from has changed"
    assert found["head"]["subject"] == "change docs/TESTING.md"
    assert not (tree / "build").exists()
    assert "change docs/TESTING.md" in (tree / "results/try/gate.html").read_text()


def test_what_is_not_committed_is_judged(tree: Path) -> None:
    (tree / "README.md").write_text("other\n")
    _, found = gate(tree, "HEAD")
    assert found["head"]["dirty"]
    assert found["changed"] == {"files": 1, "of_the_daemon": 0}
    assert git(tree, "status", "--porcelain", "-uno") == "M README.md"
    assert git(tree, "stash", "list") == ""


def test_what_the_base_got_meanwhile_is_no_change(tree: Path) -> None:
    """Steps: main goes on after the branch was made. Verify: the branch is compared with its start;
    a revision and one of its past are compared as they are."""
    begin = revisions.resolve(tree, "HEAD")
    git(tree, "checkout", "-q", "-b", "other")
    commit(tree, "meson.build", "# other\n")
    git(tree, "checkout", "-q", "-")
    commit(tree, "docs/TESTING.md", "more\n")
    head, other = revisions.resolve(tree, "HEAD"), revisions.resolve(tree, "other")
    assert revisions.start(tree, other, head).commit == begin.commit
    assert revisions.start(tree, begin, head) == begin
    assert revisions.start(tree, head, begin) == head
    _, found = gate(tree, "other")
    assert found["base"]["name"] == "where HEAD left other"
    assert found["changed"] == {"files": 1, "of_the_daemon": 0}


def test_a_change_of_the_daemon_is_measured(tree: Path) -> None:
    commit(tree, "target/lib/virtio/split.c", "/* more */\n")
    request = Request(base="HEAD~1")
    judged = Gate(tree, tree / "out", request, Console(file=io.StringIO()))
    assert not judged.same_sources
    planted = Request(base="HEAD", head_options=("-Dplanted=busy",))
    assert not Gate(tree, tree / "out", planted, Console(file=io.StringIO())).same_sources


def test_what_cannot_be_built_is_no_pass(tree: Path) -> None:
    """Steps: break the build file. Verify: exit status 2, the build's own words."""
    commit(tree, "meson.build", "error('it was broken on purpose')\n")
    status, found = gate(tree, "HEAD~1", "--only", "work")
    assert (status, found["verdict"]) == (2, "could not run")
    assert "broken on purpose" in found["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["NOSUCH"], "there is no revision NOSUCH"),
        (["HEAD", "--only", "works"], "there is no part works"),
        (["HEAD", "--cases", "null"], "there is no case null"),
        (["HEAD", "--coverage-parts", "all"], "there is no part all"),
        (["HEAD", "--budget", "0"], "--budget must be positive"),
        (["HEAD", "-o", "/proc/x"], "cannot make /proc/x"),
        (["HEAD", "--only", ""], "no part is named"),
    ],
)
def test_bad_input(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gate", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "daemon", "counted"),
    [
        ("target/lib/virtio/split.c", True, True),
        ("target/lib/virtio/split_test.c", False, True),
        ("target/meson.build", True, True),
        ("meson_options.txt", True, True),
        ("target/tests/protocol/test_log.py", False, True),
        ("target/fuzz/corpus/codec/slots", False, True),
        ("harness/frontend/src/split.c", False, True),
        ("harness/vhostlab/cli.py", False, False),
        ("docs/TESTING.md", False, False),
        ("targets/lib/x.c", False, False),
    ],
)
def test_which_files_matter(path: str, daemon: bool, counted: bool) -> None:
    assert revisions.is_daemon(path) is daemon
    assert revisions.is_counted(path) is counted


# ---- time left ----


@given(st.lists(st.floats(min_value=0.1, max_value=1000), min_size=1, max_size=20))
def test_time_left_is_all_that_is_to_come(times: list[float]) -> None:
    steps = Steps(Console(file=io.StringIO()))
    for number, seconds in enumerate(times):
        steps.plan(str(number), seconds)
    assert steps.remaining() == pytest.approx(sum(times))
    assert steps.remaining(spent=1e9) == pytest.approx(sum(times[1:]))
    for number in range(len(times)):
        with steps.step(str(number)):
            assert steps.remaining() >= 0
    assert steps.remaining() == 0


def test_each_step_is_told_where_there_is_no_terminal() -> None:
    text = io.StringIO()
    steps = Steps(Console(file=text))
    steps.plan("one", 100)
    steps.plan("left out", 100)
    steps.plan("two", 300)
    with steps.step("one"):
        pass
    with steps.step("two"):
        pass
    assert text.getvalue().splitlines()[0] == "  one (about 8 min left)"
    assert "left out" not in text.getvalue()


# ---- coverage ----


def test_a_daemon_that_counts_is_asked_before_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps: kill a target with and without $GCOV_PREFIX. Verify: gcov_dump is called with it."""
    import asyncio

    called: list[str] = []

    class Rpc:
        async def call(self, method: str) -> None:
            called.append(method)

    async def kill() -> None:
        target = target_driver.VhostlabTarget(tmp_path)
        async with target:
            target._process = process.Process([sys.executable, "-c", "input()"], target.log)
            await target._process.start()
            await target.kill()
            assert not target.process.alive

    monkeypatch.setattr(target_driver.VhostlabTarget, "rpc", Rpc())
    monkeypatch.delenv("GCOV_PREFIX", raising=False)
    asyncio.run(kill())
    assert called == []
    monkeypatch.setenv("GCOV_PREFIX", str(tmp_path))
    asyncio.run(kill())
    assert called == ["gcov_dump"]


def test_parts_of_coverage_that_fit_the_budget(tree: Path) -> None:
    commit(tree, "target/lib/virtio/split_test.c", "/* more */\n")
    unit = coverage.PARTS["unit"].seconds
    enough = coverage.BUILD_S + 2 * coverage.READ_S + unit + 1
    request = Request(base="HEAD~1", only=("coverage",), budget_s=enough)
    judged = Gate(tree, tree / "out", request, Console(file=io.StringIO()))
    assert judged._plan(False, []) == ["unit"]
    assert set(judged.parts_left_out) == set(coverage.PARTS) - {"unit"}


def test_coverage_of_another_revision_is_left_out(tree: Path) -> None:
    commit(tree, "target/lib/virtio/split_test.c", "/* more */\n")
    commit(tree, "docs/TESTING.md", "more\n")
    status, found = gate(tree, "HEAD~2", "HEAD~1", "--only", "coverage")
    assert status == 0
    assert "another revision lies" in found["tiers"][2]["not_judged"][0]


# ---- programs that are run ----

PARENT = """
import sys
import time
from collections.abc import Callable
from pathlib import Path
from vhostlab.gate import child
child.run(sys.argv[1:], cwd=Path("/"))
"""
CHILD = """
import pathlib, subprocess, sys
inner = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
pathlib.Path(sys.argv[1]).write_text(str(inner.pid))
try:
    inner.wait()
except KeyboardInterrupt:
    inner.kill()
    pathlib.Path(sys.argv[2]).touch()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_was_run_ends_with_us_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Steps: end the gate. Verify: the program that it ran was told, and could tidy up."""
    started, tidied = tmp_path / "started", tmp_path / "tidied"
    words = [sys.executable, "-c", CHILD, str(started), str(tidied)]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *words])
    until(lambda: started.exists() and started.read_text() != "")
    parent.send_signal(number)
    assert parent.wait(60) != 0
    until(tidied.exists)
    until(lambda: not Path(f"/proc/{started.read_text()}").exists())


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        child.run(["tail", "-f", "/dev/null"], cwd=tmp_path, timeout_s=0.1)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
