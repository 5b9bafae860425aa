# SPDX-License-Identifier: BSD-3-Clause
"""Blocks with no guest: vhost-bench on the sockets of two daemons.

Both daemons of a block run side by side. The one whose turn it is not is stopped (SIGSTOP), so that
it cannot take the other's processor whatever it does when idle; it has no connection then. Within a
block the arms take short turns at each cell, so that a change of the machine touches both alike.
Rates are the mean of the middle half of an arm's turns, percentiles those of all its turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vhostlab.ab.builds import Build
from vhostlab.ab.meters import Counter, Guard, cpu_ns
from vhostlab.ab.record import ARMS, Block, Figures
from vhostlab.ab.rig import LETTERS, Slots, Tell, Way, controller_name, controllers, midmean
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host.leases import Leases
from vhostlab.matrix import Cell
from vhostlab.paths import source_dir
from vhostlab.process import output_bytes
from vhostlab.target import Controller
from vhostlab.target.vhostlab import VhostlabTarget

#: Beyond its measured time, what a run of vhost-bench may take on a machine that is busy.
PATIENCE_S = 30.0
#: What starting vhost-bench and connecting costs, about; and starting and ending two daemons.
RUN_OVERHEAD_S = 0.06
BLOCK_OVERHEAD_S = 1.2
PERCENTILES = (50, 99)
CANARY_MIB = 64
CANARY_TURNS = 2
#: On a machine that is very busy a turn may pass without a request; then it is taken again.
TRIES = 5

#: Least and greatest value, in nanoseconds: how many.
Bins = dict[tuple[int, int], int]


def find_bench() -> Path:
    """The load generator, built; $VHOSTLAB_BENCH_PROGRAM names another build of it."""
    if own := os.environ.get("VHOSTLAB_BENCH_PROGRAM"):
        path = Path(own).absolute()
    else:
        path = source_dir() / "build/release/harness/frontend/vhost-bench"
    if not os.access(path, os.X_OK) or not path.is_file():
        raise Unavailable(f"vhost-bench is not built: {path} is missing", "run `make`")
    return path


@dataclass
class Sum:
    """Several turns of one arm, as one."""

    iops: list[float] = field(default_factory=list)
    cpu_ns: list[float] = field(default_factory=list)
    instructions: list[float] = field(default_factory=list)
    bins: Bins = field(default_factory=dict)

    def add(self, result: dict[str, Any], used_ns: int, instructions: int) -> None:
        """Take in what vhost-bench said, and what the daemon used meanwhile."""
        requests = int(result["requests"])
        self.iops.append(requests * 1e9 / int(result["ns"]))
        self.cpu_ns.append(used_ns / requests)
        self.instructions += [instructions / requests] if instructions else []
        for low, high, number in result["latency_ns"]["bins"]:
            self.bins[low, high] = self.bins.get((low, high), 0) + number

    def figures(self) -> Figures:
        """The metrics of the arm in this block."""
        found = {"iops": midmean(self.iops)}
        found |= {f"latency_p{p}": percentile(self.bins, p) for p in PERCENTILES}
        found["target_cpu_per_io"] = midmean(self.cpu_ns)
        if self.instructions:
            found["target_instructions_per_io"] = midmean(self.instructions)
        return found


def percentile(bins: Bins, which: float) -> float:
    """Of a merged histogram: the value that ``which`` per cent do not exceed. The samples of a bin
    lie evenly in it; a change that is smaller than a bin shows too."""
    aim = sum(bins.values()) * which / 100
    seen = 0
    for (low, high), number in sorted(bins.items()):
        if seen + number >= aim:
            return low + (high + 1 - low) * (aim - seen) / number
        seen += number
    raise HarnessError("a histogram without a sample has no percentile")


@dataclass(frozen=True)
class Cores:
    """Where things run; the same where there is one processor only."""

    target: int
    client: int


class FrontendRig:
    """Measures blocks; each has daemons of its own."""

    def __init__(
        self,
        arms: dict[str, Build],
        cells: Sequence[Cell],
        slots: Slots,
        cores: Cores,
        scratch: Path,
        logs: Path,
    ) -> None:
        self._arms = arms
        self._slots = slots
        self._cores = cores
        self._bench = str(find_bench())
        self._scratch = scratch
        self._logs = logs
        self._controllers = controllers(cells, scratch)
        self._random = random.Random()
        self._number = 0

    async def block(self, phase: str, order: str, cells: Sequence[Cell], tell: Tell) -> Block:
        """See Rig."""
        self._number += 1
        needed = {controller_name(cell) for cell in cells}
        wanted = [c for c in self._controllers if c.name in needed]
        modes = {str(cell.params.get("polling", "")) for cell in cells}
        found: dict[str, dict[str, Figures]] = {}
        canary: dict[str, Figures] = {}
        guard = Guard()
        used = 0.0
        for mode in sorted(modes):
            mine = [c for c in cells if str(c.params.get("polling", "")) == mode]
            self._random.shuffle(mine)
            async with self._daemons(order, wanted, mode) as daemons:
                await self._prefill(daemons, wanted)
                if not canary:
                    tell("canary")
                    canary = await self._canary(order)
                for cell in mine:
                    tell(cell.label())
                    found[cell.id] = await self._cell(cell, order, daemons)
                used += sum(d.cpu_seconds() for d in daemons.values())
        return Block(phase, order, found, canary, guard.figures(used))

    @asynccontextmanager
    async def _daemons(
        self, order: str, wanted: Sequence[Controller], mode: str
    ) -> AsyncIterator[dict[str, VhostlabTarget]]:
        """Both arms' daemons, started in the order of the block, and stopped in their tracks."""
        made: dict[str, VhostlabTarget] = {}
        async with AsyncExitStack() as stack:
            try:
                for arm in dict.fromkeys(LETTERS[letter] for letter in order):
                    workdir = self._scratch / f"block-{self._number}-{arm}"
                    target = VhostlabTarget(workdir, program=self._arms[arm].program)
                    target.reactor_mask = hex(1 << self._cores.target)
                    target.mode = mode
                    await stack.enter_async_context(target)
                    made[arm] = target
                    await target.start(wanted)
                    target.process.signal(signal.SIGSTOP)
                yield {arm: made[arm] for arm in ARMS}
            except HarnessError as error:
                tails = [f"{arm}: {t.log_tail(5)}" for arm, t in made.items() if t.log_tail(1)]
                hint = "; ".join([error.hint, *tails]) if error.hint else "; ".join(tails)
                raise HarnessError(error.message, hint) from error
            finally:
                _continue(made.values())

    async def _bench_json(self, *words: str) -> dict[str, Any]:
        seconds = self._slots.cell_s + self._slots.canary_s + PATIENCE_S
        text = await output_bytes([self._bench, *words, "--json", "-"], seconds)
        document = json.loads(text)
        assert isinstance(document, dict)
        return document

    async def _prefill(
        self, daemons: dict[str, VhostlabTarget], wanted: Sequence[Controller]
    ) -> None:
        """Pages that nobody has written are all one page of zeroes, and read much faster."""
        for target in daemons.values():
            for controller in wanted:
                if controller.disks[0].kind != "malloc":
                    continue
                target.process.signal(signal.SIGCONT)
                words = ("--prefill", "--seconds", "0.01", "--warmup", "0", "--depth", "4")
                device = ("--device", controller.device)
                await self._bench_json(*words, *device, str(target.endpoints[controller.name]))
                target.process.signal(signal.SIGSTOP)

    async def _canary(self, order: str) -> dict[str, Figures]:
        """What no build can change: vhost-bench against a device that costs nothing, on the
        client's processor, and copies of memory on the target's."""
        sums: dict[str, list[Figures]] = {arm: [] for arm in ARMS}
        words = (
            *("--calibrate", "--seconds", f"{self._slots.canary_s:.3f}", "--warmup", "0"),
            *("--target-size", f"{CANARY_MIB}M"),
            *("--cpu", str(self._cores.client), "--target-cpu", str(self._cores.target)),
        )
        for letter in order[: 2 * CANARY_TURNS]:
            said = await self._bench_json(*words)
            figures = {"loop": said["ring_per_second"], "copy": said["copies_per_second"]}
            sums[LETTERS[letter]].append(figures)
        return {
            arm: {name: midmean([f[name] for f in turns]) for name in ("loop", "copy")}
            for arm, turns in sums.items()
        }

    async def _cell(
        self, cell: Cell, order: str, daemons: dict[str, VhostlabTarget]
    ) -> dict[str, Figures]:
        sums = {arm: Sum() for arm in ARMS}
        p = cell.params
        words = (
            *("--rw", str(p["pattern"]), "--bs", str(p["bs"]), "--depth", str(p["depth"])),
            *("--device", str(p["device"]), "--ring", str(p.get("ring", "split"))),
            *("--seconds", f"{self._slots.cell_s:.3f}", "--warmup", "0"),
            *("--cpu", str(self._cores.client)),
        )
        for letter in order:
            arm = LETTERS[letter]
            socket = str(daemons[arm].endpoints[controller_name(cell)])
            for _ in range(TRIES):
                said, used, counted = await self._turn(arm, daemons[arm], (*words, socket))
                if said["errors"]:
                    raise HarnessError(f"{cell.label()} on {arm}: requests failed")
                if said["requests"]:
                    break
            else:
                raise HarnessError(f"{cell.label()} on {arm}: no request in {TRIES} turns")
            sums[arm].add(said, used, counted)
        return {arm: total.figures() for arm, total in sums.items()}

    async def _turn(
        self, arm: str, target: VhostlabTarget, words: Sequence[str]
    ) -> tuple[dict[str, Any], int, int]:
        """What vhost-bench says, and the nanoseconds and instructions that the daemon used."""
        target.process.signal(signal.SIGCONT)
        counter = Counter(target.pid)
        before, counted = cpu_ns(target.pid), counter.read()
        try:
            said = await self._bench_json(*words)
            return said["result"], cpu_ns(target.pid) - before, counter.read() - counted
        except HarnessError as error:
            if not target.process.alive:
                raise target.process.died(f"the daemon of {arm}") from error
            raise
        finally:
            counter.close()
            target.process.signal(signal.SIGSTOP)


def _continue(targets: Iterable[VhostlabTarget]) -> None:
    """Whoever is stopped cannot end."""
    for target in targets:
        try:
            target.process.signal(signal.SIGCONT)
        except HarnessError:
            continue  # it was never started


class Frontend(Way):
    """No guest."""

    name = "frontend"

    def seconds(self, cells: int, slots: Slots) -> float:
        """See Way."""
        canary = 2 * CANARY_TURNS * (2 * slots.canary_s + RUN_OVERHEAD_S)
        turns = 2 * slots.turns * cells * (slots.cell_s + RUN_OVERHEAD_S)
        return BLOCK_OVERHEAD_S + canary + turns

    @asynccontextmanager
    async def open(
        self, arms: dict[str, Build], cells: Sequence[Cell], slots: Slots, scratch: Path, logs: Path
    ) -> AsyncIterator[FrontendRig]:
        """See Way. Two processors that no other run uses, as far as there are two."""
        count = min(2, len(os.sched_getaffinity(0)))
        async with Leases().cores(count) as cores:
            await asyncio.sleep(0)
            yield FrontendRig(arms, cells, slots, Cores(cores[0], cores[-1]), scratch, logs)
