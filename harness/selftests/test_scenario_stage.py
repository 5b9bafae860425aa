# SPDX-License-Identifier: BSD-3-Clause
"""How a stage judges its scenarios and what it leaves when things go wrong. No guest is booted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from vhostlab import images
from vhostlab import target as targets
from vhostlab.errors import HarnessError, MilestoneTimeout, Unavailable
from vhostlab.paths import source_dir
from vhostlab.process import Process
from vhostlab.results import Better, Fragment, ScenarioResult, Status, read
from vhostlab.scenario import CheckFailed, HostContext, Options, Scenario
from vhostlab.scenario import stage as stages
from vhostlab.scenario.context import Bench
from vhostlab.scenario.progress import Follower, Progress

OPTIONS = Options(matrix=source_dir() / "fio-jobs" / "matrix" / "smoke.toml")

Body = Callable[[HostContext], Awaitable[None]]


def scenario(body: Body, name: str = "s", **changes: Any) -> Scenario:
    base: dict[str, Any] = {
        "name": name,
        "summary": "does something",
        "devices": frozenset(),
        "targets": frozenset(),
        "deadline_s": 5.0,
        "kernel_messages": "",
        "on_host": body,
    }
    return Scenario(**(base | changes))


async def nothing(ctx: HostContext) -> None:
    """Ends at once."""


def judged(tmp_path: Path, body: Body, **changes: Any) -> ScenarioResult:
    one = scenario(body, **changes)
    stage = stages.Stage("st", tmp_path, targets.get("vhostlab"), Progress(tmp_path), OPTIONS)
    # what these bodies do needs no bench
    asyncio.run(stages.judge(one, HostContext(cast(Bench, None), one.name), stage))
    kept = read(Fragment, tmp_path / "stages" / "st.json")
    assert kept == stage.fragment
    return kept.scenarios[-1]


def test_pass_keeps_checks_and_metrics(tmp_path: Path) -> None:
    async def body(ctx: HostContext) -> None:
        ctx.check("a", True, "fine")
        ctx.equal("b", 2, 2)
        ctx.metric("m", "s", Better.LOWER, 1.5)

    done = judged(tmp_path, body)
    assert (done.status, done.error, done.skip_reason) == (Status.PASS, None, None)
    assert [(c.name, c.passed, c.detail) for c in done.checks] == [
        ("a", True, "fine"),
        ("b", True, "2"),
    ]
    assert done.metrics[0].value == 1.5
    events = [e["event"] for e in Follower(tmp_path).news()]
    assert events == ["started", "ended"]


def test_a_false_check_fails_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    async def body(ctx: HostContext) -> None:
        ctx.equal("size", 1, 2)
        ctx.check("later", False)

    done = judged(tmp_path, body)
    assert done.status is Status.FAIL
    assert done.error == "size: got 1, expected 2\nlater"


def test_require_ends_the_scenario(tmp_path: Path) -> None:
    async def body(ctx: HostContext) -> None:
        ctx.require("alive", False, "it is dead")
        raise AssertionError("not reached")

    done = judged(tmp_path, body)
    assert (done.status, done.error) == (Status.FAIL, "alive: it is dead")


def test_skip_has_a_reason_and_forgives_nothing(tmp_path: Path) -> None:
    async def skips(ctx: HostContext) -> None:
        ctx.skip("no such disk")

    async def fails_then_skips(ctx: HostContext) -> None:
        ctx.check("before", False)
        ctx.skip("no such disk")

    done = judged(tmp_path, skips)
    assert (done.status, done.skip_reason, done.error) == (Status.SKIP, "no such disk", None)
    assert judged(tmp_path, fails_then_skips).status is Status.FAIL


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (HarnessError("it broke", "mend it"), Status.ERROR, "it broke; mend it"),
        (Unavailable("no qemu"), Status.UNAVAILABLE, "no qemu"),
        (MilestoneTimeout("boot", 5, console_tail="panic here"), Status.ERROR, "panic here"),
        (ZeroDivisionError("oops"), Status.ERROR, "ZeroDivisionError: oops"),
    ],
)
def test_errors_end_one_scenario_and_tell_why(
    tmp_path: Path, error: Exception, status: Status, words: str
) -> None:
    async def body(ctx: HostContext) -> None:
        raise error

    done = judged(tmp_path, body)
    assert done.status is status
    assert done.error is not None and words in done.error


def test_deadline(tmp_path: Path) -> None:
    async def body(ctx: HostContext) -> None:
        await asyncio.Event().wait()

    done = judged(tmp_path, body, deadline_s=0.05)
    assert done.status is Status.ERROR
    assert done.error is not None and "deadline of 0.05 s" in done.error


def test_a_time_out_carries_the_command_that_repeats_the_scenario(tmp_path: Path) -> None:
    async def body(ctx: HostContext) -> None:
        raise MilestoneTimeout("disks", 1)

    done = judged(tmp_path, body, name="abc")
    assert done.error is not None and "vmtest --target vhostlab --scenario abc" in done.error


def test_what_measures_is_repeated_with_its_matrix(tmp_path: Path) -> None:
    done = judged(tmp_path, nothing, name="perf", measures=True)
    assert done.replay == "vhostlab vmtest --target vhostlab --scenario perf --matrix smoke"
    assert "--matrix" not in judged(tmp_path, nothing).replay
    assert Options(tmp_path / "my.toml").matrix_name() == str(tmp_path / "my.toml")


def carry_out(tmp_path: Path, scenarios: Sequence[Scenario], target: str) -> Fragment:
    return asyncio.run(
        stages.run(
            "st",
            scenarios,
            target,
            Options(matrix=tmp_path / "none.toml"),
            tmp_path,
            Progress(tmp_path),
        )
    )


@pytest.fixture
def no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    async def build(_recipe: Path | None = None) -> images.Image:
        raise Unavailable("no package mirror", "connect this machine")

    monkeypatch.setattr(images, "build", build)


def test_what_does_not_apply_needs_no_guest(tmp_path: Path, no_image: None) -> None:
    needs_scsi = scenario(nothing, devices=frozenset({"scsi"}))
    done = carry_out(tmp_path, [needs_scsi], "qemu-storage-daemon")
    assert [s.status for s in done.scenarios] == [Status.SKIP]
    assert done.scenarios[0].skip_reason == "target qemu-storage-daemon has no scsi devices"


def test_without_an_image_everything_is_unavailable(tmp_path: Path, no_image: None) -> None:
    two = [scenario(nothing, "one"), scenario(nothing, "two")]
    done = carry_out(tmp_path, two, "vhostlab")
    assert [(s.name, s.status) for s in done.scenarios] == [
        ("one", Status.UNAVAILABLE),
        ("two", Status.UNAVAILABLE),
    ]
    assert done.scenarios[0].error == "no package mirror; connect this machine"


def shared(tmp_path: Path, boots: Callable[[list[Scenario], stages.Stage], None]) -> Fragment:
    """Runs three scenarios that share a guest, where booting and running is ``boots``."""
    stage = stages.Stage("st", tmp_path, targets.get("vhostlab"), Progress(tmp_path), OPTIONS)
    bench = Bench(
        target=targets.get("vhostlab"),
        image=cast(images.Image, None),
        accel="tcg",
        options=Options(matrix=tmp_path),
        run_dir=tmp_path,
        stage="st",
        scratch=tmp_path,
        booted=stage.booted,
        keeper=stage,
        progress=Progress(tmp_path),
    )

    async def on_one_guest(waiting: list[Scenario], *_: object) -> None:
        boots(waiting, stage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_on_one_guest", on_one_guest)
        three = [scenario(nothing, name) for name in "abc"]
        asyncio.run(stages._in_guests(three, bench, stage))
    return stage.fragment


def test_a_scenario_that_breaks_the_guest_costs_a_boot_and_nothing_more(tmp_path: Path) -> None:
    boots = 0

    def break_at_b(waiting: list[Scenario], stage: stages.Stage) -> None:
        nonlocal boots
        boots += 1
        while waiting:
            one = waiting.pop(0)
            status = Status.ERROR if one.name == "b" else Status.PASS
            stage.ended(one, status, reason="gone" if one.name == "b" else None)
            if one.name == "b":
                raise HarnessError("QEMU is gone, too")

    done = shared(tmp_path, break_at_b)
    assert boots == 2
    assert [(s.name, s.status) for s in done.scenarios] == [
        ("a", Status.PASS),
        ("b", Status.ERROR),
        ("c", Status.PASS),
    ]


def test_a_guest_that_does_not_boot_is_not_tried_for_ever(tmp_path: Path) -> None:
    boots = 0

    def never(waiting: list[Scenario], stage: stages.Stage) -> None:
        nonlocal boots
        boots += 1
        raise HarnessError("no boot")

    done = shared(tmp_path, never)
    assert boots == 1
    assert [(s.name, s.status, s.error) for s in done.scenarios] == [
        (name, Status.ERROR, "no boot") for name in "abc"
    ]


def test_counters_of_queues() -> None:
    queue = {"queue": 2, "running": True, "size": 128, "broken": None, "kicks": 5, "calls": 0}
    stats = {"tick_rate": 1, "controllers": [{"ctrlr": "blk", "queues": [queue]}, {"ctrlr": "x"}]}
    found = stages.counters("st", stats)
    assert [(q.controller, q.queue, dict(q.counters)) for q in found] == [
        ("blk", 2, {"kicks": 5, "calls": 0})
    ]
    assert stages.counters("st", None) == ()


def test_kernel_complaints_are_recognised() -> None:
    bad = (
        "blk_update_request: I/O error, dev vda, sector 0 op 0x1:(WRITE)",
        "Buffer I/O error on dev sda, logical block 0, async page read",
        "critical target error, dev sda, sector 8 op 0x3:(DISCARD)",
        "INFO: task fio:123 blocked for more than 120 seconds.",
        "WARNING: CPU: 0 PID: 1 at block/blk-mq.c:1",
        "virtio_blk virtio1: probe failed with error -2",
    )
    good = (
        "virtio_blk virtio1: [vda] 262144 512-byte logical blocks (134 MB/128 MiB)",
        "EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.",
        "sd 2:0:0:0: [sda] Attached SCSI disk",
        "XFS (vdb): Ending clean mount",
    )
    assert all(stages.COMPLAINTS.search(line) for line in bad)
    assert not any(stages.COMPLAINTS.search(line) for line in good)


def run_while_alive(tmp_path: Path, command: str, body: Callable[[], Any]) -> None:
    async def go() -> None:
        async with Process(["sh", "-c", command], tmp_path / "log") as process:
            await stages.while_alive(body(), process, "the target")

    asyncio.run(go())


def test_a_scenario_ends_with_the_target_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "GIVE_UP_S", 0.1)
    cleaned = []

    async def hangs_even_in_its_clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)
            await asyncio.Event().wait()

    with pytest.raises(HarnessError, match="the target ended with status 3: last words"):
        run_while_alive(tmp_path, "echo last words; exit 3", hangs_even_in_its_clean_up)
    assert cleaned == [True]


def test_a_living_target_disturbs_nothing(tmp_path: Path) -> None:
    async def fine() -> None:
        await asyncio.sleep(0)

    async def fails() -> None:
        raise CheckFailed("no")

    run_while_alive(tmp_path, "exec sleep 60", fine)
    with pytest.raises(CheckFailed):
        run_while_alive(tmp_path, "exec sleep 60", fails)
