# SPDX-License-Identifier: BSD-3-Clause
"""A run whose processes are killed at random moments leaves nothing behind, and can be gone on
with until all of its cells are measured.

``VHOSTLAB_RUN_KILLS`` says how often, ``VHOSTLAB_RUN_KILLS_SEED`` repeats the moments of a run that
failed. `make check-vm` kills three times, `make torture-runs` twenty.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time

import jsonschema
from vhostlab import matrix
from vhostlab.paths import source_dir
from vhostlab.results import RESULT_FILE, Result, Status, read

from runtests.run import EVENT_DEADLINE_S, Run, World

#: Who is sent what.
ROUNDS = (
    ("harness", signal.SIGKILL),
    ("stage", signal.SIGKILL),
    ("harness", signal.SIGTERM),
    ("avocado", signal.SIGKILL),
    ("harness", signal.SIGINT),
)

#: What a run has just done when it happens; a moment later, to be exact.
MOMENTS = ("launch", "started", "booted", "cell", "measured")
LATER_S = {"launch": 3.0, "started": 3.0, "booted": 0.5, "cell": 2.0, "measured": 0.3}


def kill(world: World, who: str, number: signal.Signals, moment: str, later_s: float) -> bool:
    """One round; return whether there was anything to kill."""
    run = Run(world)
    if moment != "launch" and not run.wait_event(moment):
        return False
    # not a wait for anything: the moment is to be any
    time.sleep(later_s)
    pid = run.find(who)
    if pid is None:
        return False
    os.kill(pid, number)
    status = run.end()
    soon = world.expect_clean()
    world.expect_whole()
    print(f"  clean after {soon:.1f} s, status {status}")
    if number in (signal.SIGTERM, signal.SIGINT) and "interrupted; to go on" in run.log.read_text():
        # orderly: a whole result that does not claim to be a success
        run_dir = world.run_dir()
        assert run_dir is not None
        assert status == 1 and read(Result, run_dir / RESULT_FILE).status is Status.ERROR
    elif who == "harness" and number is signal.SIGKILL:
        assert status == -signal.SIGKILL
    return True


def expect_complete(world: World, interruptions: int) -> None:
    """What is missing is measured, and the result is as good as any."""
    run = Run(world)
    status = run.end(EVENT_DEADLINE_S)
    assert status == 0, run.log.read_text()[-3000:]
    world.expect_clean()
    run_dir = world.run_dir()
    assert run_dir is not None
    result = read(Result, run_dir / RESULT_FILE)
    assert result.status is Status.PASS
    assert sorted(cell.id for cell in result.cells) == sorted(
        cell.id for cell in matrix.load(world.matrix).cells
    )
    assert all((run_dir / cell.fio_file).is_file() for cell in result.cells)
    assert len(result.resumed) <= interruptions + 1
    assert (run_dir / "report.html").is_file()
    schema = json.loads((source_dir() / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads((run_dir / RESULT_FILE).read_text()), schema)


def test_a_run_that_is_killed_again_and_again(world: World) -> None:
    kills = int(os.environ.get("VHOSTLAB_RUN_KILLS", 3))
    seed = int(os.environ.get("VHOSTLAB_RUN_KILLS_SEED", time.time_ns() % 1_000_000))
    print(f"\nVHOSTLAB_RUN_KILLS_SEED={seed}")
    chance = random.Random(seed)
    moments = list(MOMENTS)
    chance.shuffle(moments)
    done = tried = 0
    while done < kills:
        tried += 1
        assert tried < 3 * kills + 3, "the runs are over before anything can be killed"
        who, number = ROUNDS[done % len(ROUNDS)]
        moment = moments[done % len(moments)] if done < len(moments) else chance.choice(MOMENTS)
        later_s = chance.uniform(0, LATER_S[moment])
        print(f"{done + 1}: {number.name} to {who}, {later_s:.2f} s after {moment}", flush=True)
        done += kill(world, who, number, moment, later_s)
        if world.run_dir() and chance.random() < 0.1 and kills > len(ROUNDS):
            # not always the same run: begin another one
            expect_complete(world, tried)
            (world.results / "latest").unlink()
    expect_complete(world, tried)
