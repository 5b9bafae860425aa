# SPDX-License-Identifier: BSD-3-Clause
"""Which cores of this machine the target and the processors of guests run on.

Under KVM each has one to itself, leased so that no other run of the harness uses it: what they cost
one another would be measured instead. Emulated guests tell that things work; they share cores when
there are too few, and the result says so.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vhostlab.host.leases import Leases
from vhostlab.host.numa import shown, usable_cores
from vhostlab.matrix import Cell

Nodes = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Need:
    """How many cores a boot asks for. ``nodes``: virtual NUMA nodes of its guests."""

    target: int
    vms: int
    vcpus: int
    nodes: int = 1

    @classmethod
    def of(cls, cell: Cell) -> Need:
        """The same for all cells of a boot."""
        return cls(
            target=cell.number("target_cores"),
            vms=cell.number("vms"),
            vcpus=cell.number("vcpus"),
            nodes=2 if cell.text("numa") == "two" else 1,
        )

    @property
    def cores(self) -> int:
        """All of them."""
        return self.target + self.vms * self.vcpus


@dataclass(frozen=True)
class Placement:
    """Who runs where. ``guests``: for each guest the core of each vCPU; () when not pinned."""

    target: tuple[int, ...]
    guests: tuple[tuple[int, ...], ...]
    host_nodes: tuple[int, ...]
    """The node of this machine behind each virtual one; () when there is none for each."""
    words: str


def lacking(need: Need, cores: int, accel: str) -> str | None:
    """Why cells with this need cannot be measured on so many cores; None when they can."""
    if need.cores > cores and accel == "kvm":
        return (
            f"{need.target} cores for the target and {need.vms * need.vcpus} for the guests' "
            f"processors are more than the {cores} of this host"
        )
    return None


def divided(vcpus: int, nodes: int) -> list[range]:
    """Which vCPUs each virtual node has: equal parts, the first ones larger."""
    edges = [-(-vcpus * n // nodes) for n in range(nodes + 1)]
    return [range(edges[n], edges[n + 1]) for n in range(nodes)]


def requests(need: Need, nodes: Nodes) -> list[tuple[int, int]] | None:
    """How many cores to lease on which node of this machine: (node, count), for virtual nodes in
    turn, those of the target with the last. None: the machine cannot give them node by node."""
    if need.nodes == 1:
        fits = [node for node, cores in nodes.items() if len(cores) >= need.cores]
        return [(fits[0], need.cores)] if fits and len(nodes) > 1 else None
    counts = [need.vms * len(part) for part in divided(need.vcpus, need.nodes)]
    # the disks are plugged into the last node, so the target is near them
    counts[-1] += need.target
    chosen = [node for node, cores in nodes.items() if len(cores) >= max(counts)]
    if len(chosen) < need.nodes:
        return None
    return list(zip(chosen[: need.nodes], counts, strict=True))


@asynccontextmanager
async def placed(
    need: Need,
    waiting: Callable[[str], None],
    leases: Leases | None = None,
    nodes: Nodes | None = None,
) -> AsyncIterator[Placement]:
    """Cores for a boot, as long as the body runs. Too few: everything runs where it likes."""
    nodes = nodes or usable_cores()
    everywhere = sorted(core for cores in nodes.values() for core in cores)
    if need.cores > len(everywhere):
        words = f"not pinned: {need.cores} cores were needed, there are {len(everywhere)}"
        yield Placement(tuple(everywhere[: need.target]), (), (), words)
        return
    leases = leases or Leases()
    async with AsyncExitStack() as stack:
        asked = requests(need, nodes)
        given: list[tuple[int, ...]] = []
        # always in the order of the nodes: two runs that wait do not wait for each other
        for node, count in asked or [(-1, need.cores)]:
            among = nodes[node] if asked else None
            lease = leases.cores(count, among=among, waiting=waiting)
            given.append(await stack.enter_async_context(lease))
        yield _dealt(need, given, tuple(node for node, _ in asked or ()))


def _dealt(need: Need, given: list[tuple[int, ...]], nodes: tuple[int, ...]) -> Placement:
    """Hand out what was leased: the target takes the end of it."""
    target = given[-1][len(given[-1]) - need.target :]
    pools = [list(cores) for cores in given]
    pools[-1] = pools[-1][: len(pools[-1]) - need.target]
    guests = []
    for _ in range(need.vms):
        mine: list[int] = []
        for pool, part in zip(pools, divided(need.vcpus, len(pools)), strict=True):
            mine += [pool.pop(0) for _ in part]
        guests.append(tuple(mine))
    words = [f"target {shown(target)}"]
    words += [
        f"vCPUs{f' of guest {n}' if need.vms > 1 else ''} {','.join(map(str, cores))}"
        for n, cores in enumerate(guests, start=1)
    ]
    if nodes:
        words.append(f"NUMA node{'s' if len(nodes) > 1 else ''} {','.join(map(str, nodes))}")
    return Placement(target, tuple(guests), nodes if need.nodes > 1 else (), ", ".join(words))


def pin_process(pid: int, cores: tuple[int, ...], tasks: Path = Path("/proc")) -> None:
    """All threads that a process has now, and those that they will start, on these cores."""
    for task in (tasks / str(pid) / "task").iterdir():
        # a thread may end meanwhile
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


def pin_threads(threads: tuple[int, ...], cores: tuple[int, ...]) -> None:
    """One thread on each core."""
    for thread, core in zip(threads, cores, strict=True):
        os.sched_setaffinity(thread, {core})
