# SPDX-License-Identifier: BSD-3-Clause
"""Which cores run the queues of a controller: at their start, and when an operator moves them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .daemon import Daemon, binary
from .frontend import Blk, FrontEnd
from .management import Refused, call
from .memory import GuestMemory, SplitRing
from .scsi import (
    FIRST_REQUEST_QUEUE,
    GOOD,
    S_OK,
    S_RESET,
    ControlQueue,
    ScsiDisk,
    read_10,
    write_10,
)
from .test_fairness import Flood, read_table
from .waiting import until

CORES = sorted(os.sched_getaffinity(0))[:2]
CONFIG = """\
[Global]
  ReactorMask [{cores}]
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
QUEUES = 4

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="this machine has one processor")


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    config = CONFIG.format(cores=",".join(map(str, CORES)))
    with Daemon(tmp_path_factory.mktemp("cores"), config) as daemon:
        # What a reactor makes once shall not look like a leak.
        for core in CORES:
            call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0", cpumask=f"[{core}]")
            with FrontEnd(daemon.socket("blk.0")) as front, GuestMemory() as memory:
                front.negotiate()
                front.share(memory)
                ring = SplitRing(memory, 0)
                front.start([ring])
                assert Blk(ring).flush() == 0
                ring.close()
            until("the session has ended", lambda: not shown(daemon, "blk.0")["connected"])
        call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0")
        yield daemon


def shown(daemon: Daemon, name: str) -> dict[str, Any]:
    (controller,) = call(daemon, "vhost_get_controllers", name=name)
    return dict(controller)


def cores_of(daemon: Daemon, name: str) -> list[int]:
    """Of the running queues, in the order of their numbers."""
    (controller,) = call(daemon, "vhost_get_stats", name=name)["controllers"]
    return [queue["lcore"] for queue in controller["queues"] if queue["running"]]


def wait_for_cores(daemon: Daemon, name: str, cores: list[int]) -> None:
    until(f"{name} runs on cores {cores}", lambda: cores_of(daemon, name) == cores)


@pytest.fixture
def rings(ready: FrontEnd, memory: GuestMemory) -> Iterator[list[SplitRing]]:
    """Four rings of blk.0, running."""
    rings = [SplitRing(memory, index) for index in range(QUEUES)]
    ready.start(rings)
    for index, disk in enumerate([Blk(ring, 512) for ring in rings]):
        assert disk.write(index, bytes([index]) * 512) == 0
    yield rings
    for ring in rings:
        ring.close()


@pytest.fixture(autouse=True)
def whole_mask(shared_daemon: Daemon) -> Iterator[None]:
    yield
    call(shared_daemon, "vhost_controller_set_cpumask", ctrlr="blk.0")


def test_queues_are_spread(daemon: Daemon, rings: list[SplitRing]) -> None:
    """Steps: start four queues. Verify: two on each core, the lowest first; both are shown."""
    assert cores_of(daemon, "blk.0") == CORES * 2
    controller = shown(daemon, "blk.0")
    assert controller["lcore"] == CORES[0]
    assert controller["lcores"] == CORES


def test_single_queues_get_the_cores_in_turn(daemon: Daemon) -> None:
    """What the guide of 17.07 promises: the core with the fewest, the lowest of equals."""
    with ExitStack() as stack:
        for name, core in (("blk.1", CORES[0]), ("blk.0", CORES[1])):
            front = stack.enter_context(FrontEnd(daemon.socket(name)))
            memory = stack.enter_context(GuestMemory())
            front.negotiate()
            front.share(memory)
            ring = SplitRing(memory, 0)
            stack.callback(ring.close)
            front.start([ring])
            assert Blk(ring).flush() == 0
            assert cores_of(daemon, name) == [core]
            assert shown(daemon, name)["lcores"] == [core]
    until("both have gone", lambda: not shown(daemon, "blk.0")["connected"])
    assert shown(daemon, "blk.0")["lcores"] == []
    assert shown(daemon, "blk.0")["lcore"] is None


def test_a_queue_is_moved(daemon: Daemon, rings: list[SplitRing]) -> None:
    """Verify: it, and nothing else, runs elsewhere, and its driver reads what it wrote."""
    disks = [Blk(ring, 512) for ring in rings]
    for there in (CORES[1], CORES[0]) * 5:
        call(daemon, "vhost_controller_move_queue", ctrlr="blk.0", queue=0, lcore=there)
        wait_for_cores(daemon, "blk.0", [there, *(CORES * 2)[1:]])
        for index, disk in enumerate(disks):
            assert disk.read(index, 512) == bytes([index]) * 512


def test_another_mask(daemon: Daemon, rings: list[SplitRing]) -> None:
    """Verify: queues leave what is no longer theirs, and use what is, with requests each time."""
    for mask, cores in (
        (f"[{CORES[1]}]", [CORES[1]] * QUEUES),
        # Who is as well off where it is stays.
        (None, [CORES[1], CORES[0]] * 2),
        (f"[{CORES[0]}]", [CORES[0]] * QUEUES),
        (f"[{CORES[0]},{CORES[1]}]", CORES * 2),
    ):
        params = {"cpumask": mask} if mask is not None else {}
        call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0", **params)
        wait_for_cores(daemon, "blk.0", cores)
        for index, ring in enumerate(rings):
            assert Blk(ring, 512).read(index, 512) == bytes([index]) * 512


@pytest.mark.parametrize(
    ("busy", "placed"),
    [
        # Two that shared a core part; the others make room.
        ((0, 2), [CORES[0], CORES[-1], CORES[-1], CORES[0]]),
        # One has a core of its own.
        ((1,), [CORES[0], CORES[-1], CORES[0], CORES[0]]),
    ],
)
def test_busy_queues_weigh_more(daemon: Daemon, busy: tuple[int, ...], placed: list[int]) -> None:
    """Steps: use some of four queues, then rebalance. Verify: where all of them are."""
    with FrontEnd(daemon.socket("blk.0")) as front, GuestMemory(size=4 << 20) as memory:
        front.negotiate()
        front.share(memory)
        rings = [SplitRing(memory, index, size=1024) for index in range(QUEUES)]
        front.start(rings)
        wait_for_cores(daemon, "blk.0", CORES * 2)
        floods = [Flood(rings[index], read_table(memory, 64 << 10)) for index in busy]
        for flood in floods:
            flood.start()
        for flood in floods:
            until("they are served", flood.is_done)

        def rebalanced() -> bool:
            # Placement looks at what queues do ten times in a second at most.
            call(daemon, "vhost_controller_rebalance", ctrlr="blk.0")
            return cores_of(daemon, "blk.0") == placed

        until(f"they run on {placed}", rebalanced)
        for ring in rings:
            ring.close()


@pytest.fixture
def scsi(daemon: Daemon, memory: GuestMemory) -> Iterator[tuple[ControlQueue, list[SplitRing]]]:
    """A SCSI device on both cores, four queues in all: its control queue, all its rings."""
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        front.share(memory)
        control = ControlQueue(memory)
        rings = [control.ring, *(SplitRing(memory, i) for i in range(1, FIRST_REQUEST_QUEUE + 2))]
        front.start(rings)
        for ring in rings[FIRST_REQUEST_QUEUE:]:
            assert ScsiDisk(ring).ready().status == GOOD
        assert cores_of(daemon, "scsi.0") == CORES * 2
        yield control, rings
        for ring in rings:
            ring.close()
    call(daemon, "vhost_controller_set_cpumask", ctrlr="scsi.0")


def test_a_queue_of_a_scsi_device_is_moved(
    daemon: Daemon, scsi: tuple[ControlQueue, list[SplitRing]]
) -> None:
    """Verify: it and no other, those of control and events included, with requests each time."""
    control, rings = scsi
    disks = [ScsiDisk(ring) for ring in rings[FIRST_REQUEST_QUEUE:]]
    pattern = bytes(range(256)) * 2
    for lba, disk in enumerate(disks):
        assert disk.run(write_10(lba, 1), data_out=pattern).status == GOOD
    for queue in range(len(rings)):
        home = cores_of(daemon, "scsi.0")
        for there in (CORES[0], CORES[1], home[queue]):
            call(daemon, "vhost_controller_move_queue", ctrlr="scsi.0", queue=queue, lcore=there)
            wait_for_cores(daemon, "scsi.0", [*home[:queue], there, *home[queue + 1 :]])
            for lba, disk in enumerate(disks):
                answer = disk.run(read_10(lba, 1), data_in=512)
                assert (answer.status, answer.data) == (GOOD, pattern)
            assert control.run(ControlQueue.QUERY_TASK_SET) == ControlQueue.COMPLETE


def test_task_management_reaches_the_other_core(
    daemon: Daemon, scsi: tuple[ControlQueue, list[SplitRing]]
) -> None:
    """Steps: reset the disk while queues are on both cores, again and again, and while they move.

    Verify: each function is answered; one command, on whichever core, hears of each reset.
    """
    control, rings = scsi
    disks = [ScsiDisk(ring) for ring in rings[FIRST_REQUEST_QUEUE:]]
    for turn in range(40):
        assert control.run(ControlQueue.LOGICAL_UNIT_RESET) == ControlQueue.COMPLETE
        first, second = disks[turn % 2], disks[(turn + 1) % 2]
        assert first.ready().condition == (6, 0x29, 3)
        assert second.ready().status == GOOD
        assert control.run(ControlQueue.ABORT_TASK, tag=turn) == ControlQueue.COMPLETE
        queue, there = turn % len(rings), CORES[turn // 2 % 2]
        call(daemon, "vhost_controller_move_queue", ctrlr="scsi.0", queue=queue, lcore=there)


def test_commands_and_resets_at_once(
    daemon: Daemon, scsi: tuple[ControlQueue, list[SplitRing]]
) -> None:
    """Steps: a reset each time commands are under way on both cores. Verify: all are answered."""
    control, rings = scsi
    disks = [ScsiDisk(ring) for ring in rings[FIRST_REQUEST_QUEUE:]]
    for _ in range(200):
        for disk in disks:
            disk.submit(read_10(0, 64), data_in=64 * 512)
        assert control.run(ControlQueue.LOGICAL_UNIT_RESET) == ControlQueue.COMPLETE
        for disk in disks:
            # Before the function was answered, or after it by a command that came after it.
            answer = disk.finish()
            assert answer.response in (S_OK, S_RESET)
        until("nothing more is heard of it", lambda: disks[0].ready().status == GOOD)


def test_one_after_the_other_without_pause(
    daemon: Daemon, rings: list[SplitRing], ready: FrontEnd
) -> None:
    """Steps: ask for many moves at once, and stop the rings in the middle of them."""
    for turn in range(20):
        for index in range(QUEUES):
            there = CORES[(turn + index) % 2]
            call(daemon, "vhost_controller_move_queue", ctrlr="blk.0", queue=index, lcore=there)
    for index in range(QUEUES):
        assert ready.stop(index) == rings[index].avail_idx
    assert cores_of(daemon, "blk.0") == []
    ready.start(rings)
    for index, ring in enumerate(rings):
        assert Blk(ring, 512).read(index, 512) == bytes([index]) * 512


def test_refusals(daemon: Daemon, rings: list[SplitRing]) -> None:
    def refused(method: str, **params: object) -> str:
        with pytest.raises(Refused) as error:
            call(daemon, method, **params)
        return str(error.value)

    move, set_mask = "vhost_controller_move_queue", "vhost_controller_set_cpumask"
    nobody = "there is no controller named 'nobody'"
    assert refused(move, ctrlr="nobody", queue=0, lcore=CORES[0]) == nobody
    assert refused("vhost_controller_rebalance", ctrlr="nobody") == nobody
    assert refused(set_mask, ctrlr="nobody", cpumask="0x1") == nobody
    assert "does not run" in refused(move, ctrlr="blk.0", queue=QUEUES, lcore=CORES[0])
    assert "does not run" in refused(move, ctrlr="blk.0", queue=60000, lcore=CORES[0])
    assert "not in its Cpumask" in refused(move, ctrlr="blk.0", queue=0, lcore=1023)
    assert "not the numbers" in refused(move, ctrlr="blk.0", queue=-1, lcore=CORES[0])
    assert "not a core mask" in refused(set_mask, ctrlr="blk.0", cpumask="0x0")
    assert "not a subset" in refused(set_mask, ctrlr="blk.0", cpumask="[1023]")
    call(daemon, set_mask, ctrlr="blk.0", cpumask=f"[{CORES[0]}]")
    assert "not in its Cpumask" in refused(move, ctrlr="blk.0", queue=0, lcore=CORES[1])
    wait_for_cores(daemon, "blk.0", [CORES[0]] * QUEUES)


def test_with_vhostctl(daemon: Daemon, rings: list[SplitRing]) -> None:
    def vhostctl(*words: str) -> list[str]:
        client = binary().parent.parent / "vhostctl" / "vhostctl"
        argv = [str(client), "-s", str(daemon.socket("vhost-rpc.sock")), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    assert vhostctl("move-queue", "blk.0", "1", str(CORES[0])) == []
    wait_for_cores(daemon, "blk.0", [CORES[0], CORES[0], *CORES])
    header, *rows = (line.split() for line in vhostctl("stats", "blk.0"))
    assert header[:3] == ["CONTROLLER", "QUEUE", "CORE"]
    assert [row[2] for row in rows] == [str(n) for n in (CORES[0], CORES[0], *CORES)]
    assert vhostctl("set-cpumask", "blk.0", f"[{CORES[1]}]") == []
    wait_for_cores(daemon, "blk.0", [CORES[1]] * QUEUES)
    header, row = (line.split() for line in vhostctl("controllers", "blk.0"))
    assert dict(zip(header, row, strict=False))["CORES"] == str(CORES[1])
    assert vhostctl("set-cpumask", "blk.0") == []
    assert vhostctl("rebalance") == []
    wait_for_cores(daemon, "blk.0", [CORES[1], CORES[0]] * 2)


def test_a_log_without_complaints(shared_daemon: Daemon, tmp_path: Path) -> None:
    """After all of these: no queue had to go back, none was given up."""
    text = shared_daemon.log.read_text(errors="replace")
    assert "cannot run on core" not in text
    assert "is broken" not in text
