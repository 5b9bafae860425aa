# SPDX-License-Identifier: BSD-3-Clause
"""wait, process, errors: deadlines, evidence, and children that cannot be left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vhostlab.errors import REPLAY, HarnessError, MilestoneTimeout, Unavailable
from vhostlab.process import Process, find_program, output_of, process_cpu_seconds, spawn, tail
from vhostlab.wait import until


def test_until_returns_the_first_value_that_is_there() -> None:
    values = iter([None, None, 7, 8])

    async def probe() -> int | None:
        return next(values)

    assert asyncio.run(until("seven", 5, probe, 0.001)) == 7


def test_until_takes_falsy_values_for_values() -> None:
    async def probe() -> int | None:
        return 0

    assert asyncio.run(until("zero", 5, probe)) == 0


def test_until_names_its_milestone_when_it_is_late() -> None:
    async def never() -> None:
        return None

    began = time.monotonic()
    with pytest.raises(MilestoneTimeout) as caught:
        asyncio.run(until("the moon", 0.2, never, 0.01))
    assert caught.value.milestone == "the moon"
    assert caught.value.deadline_s == 0.2
    assert 0.2 <= time.monotonic() - began < 5


def test_until_probes_once_even_with_no_time_left() -> None:
    async def probe() -> str | None:
        return "there"

    assert asyncio.run(until("at once", 0, probe)) == "there"


def test_until_cancels_a_probe_that_hangs() -> None:
    async def hang() -> str | None:
        await asyncio.Event().wait()
        return "never"

    with pytest.raises(MilestoneTimeout):
        asyncio.run(until("hung", 0.1, hang))


def test_until_passes_on_what_makes_the_wait_hopeless() -> None:
    async def dead() -> str | None:
        raise HarnessError("it is dead")

    with pytest.raises(HarnessError, match="it is dead"):
        asyncio.run(until("life", 60, dead))


def test_until_does_not_take_a_probes_own_timeout_for_the_deadline() -> None:
    async def probe() -> str | None:
        raise TimeoutError("of the probe")

    with pytest.raises(TimeoutError, match="of the probe"):
        asyncio.run(until("x", 60, probe))


def test_milestone_error_shows_all_the_evidence() -> None:
    token = REPLAY.set("vhostlab run boot")
    try:
        error = MilestoneTimeout("agent", 3, console_tail="last words\n")
        error.add_evidence(console_tail="ignored", target_log_tail="target says")
    finally:
        REPLAY.reset(token)
    text = str(error)
    for part in ("agent", "3 s", "| last words", "| target says", "to repeat: vhostlab run boot"):
        assert part in text
    assert "ignored" not in text


def test_unavailable_is_exit_status_2_and_says_what_to_do() -> None:
    with pytest.raises(Unavailable) as caught:
        find_program("no-such-program-here", "install it")
    assert caught.value.exit_status == 2
    assert str(caught.value) == "no-such-program-here was not found; install it"


def test_process_logs_and_reports_its_status(tmp_path: Path) -> None:
    async def run() -> int:
        async with spawn(["sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path / "log") as child:
            return await child.wait(10)

    assert asyncio.run(run()) == 3
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_process_is_ended_on_the_way_out(tmp_path: Path) -> None:
    async def run() -> Process:
        async with spawn(["sleep", "1000"], tmp_path / "log") as child:
            assert child.alive
            assert os.getpgid(child.pid) == child.pid
        return child

    assert asyncio.run(run()).returncode == -signal.SIGTERM


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1000 & wait; done"

    async def run() -> int | None:
        child = Process(["sh", "-c", script], tmp_path / "log", stop_timeout_s=0.3)
        async with child:

            async def ready() -> bool | None:
                return True if "ready" in child.log_tail() else None

            await until("trap set", 10, ready)
            group = child.pid
        os.killpg(group, signal.SIGKILL)  # the shell's own child
        return child.returncode

    assert asyncio.run(run()) == -signal.SIGKILL


def test_process_gets_only_the_descriptors_it_was_given(tmp_path: Path) -> None:
    async def run() -> str:
        kept, _ = os.pipe()
        given, _ = os.pipe()
        os.set_inheritable(kept, True)
        argv = ["sh", "-c", "ls -l /proc/self/fd"]
        async with spawn(argv, tmp_path / "log", pass_fds=[given]) as child:
            await child.wait(10)
        lines = (tmp_path / "log").read_text().splitlines()
        numbers = {line.split()[-3] for line in lines if "->" in line}
        assert str(given) in numbers
        return str(kept) if str(kept) in numbers else ""

    assert asyncio.run(run()) == ""


def test_process_dies_with_the_harness(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from vhostlab.process import spawn\n"
        "async def main():\n"
        "    async with spawn(['sleep', '1000'], Path(sys.argv[1])) as child:\n"
        "        print(child.pid, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    assert parent.returncode == -signal.SIGKILL
    name = Path(f"/proc/{int(parent.stdout)}/comm")

    async def gone() -> bool | None:
        return None if "sleep" in tail(name, 1) else True

    assert asyncio.run(until("end of the child", 10, gone))


def test_process_cpu_time_is_kept_after_the_end(tmp_path: Path) -> None:
    async def run() -> float:
        async with spawn(["sh", "-c", "while :; do :; done"], tmp_path / "log") as child:

            async def busy() -> bool | None:
                return True if process_cpu_seconds(child.pid) > 0.05 else None

            await until("CPU time", 20, busy)
        return child.cpu_seconds()

    assert asyncio.run(run()) > 0.04


def test_process_that_cannot_start_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot start"):
        asyncio.run(Process(["/no/such/program"], tmp_path / "log").start())


def test_output_of_tells_the_last_line_of_a_failure() -> None:
    with pytest.raises(HarnessError, match=r"sh failed \(status 4\): second"):
        asyncio.run(output_of(["sh", "-c", "echo first >&2; echo second >&2; exit 4"], 10))


def test_output_of_has_a_deadline() -> None:
    with pytest.raises(HarnessError, match="did not end"):
        asyncio.run(output_of(["sleep", "1000"], 0.2))


def test_tail_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n" for n in range(100000)))
    assert tail(path, 2) == "line 99998\nline 99999"
    assert tail(tmp_path / "absent", 2) == ""
