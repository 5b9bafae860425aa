# SPDX-License-Identifier: BSD-3-Clause
"""Carries out a comparison: builds, measures as the judge wishes, shows the verdict."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhostlab import results
from vhostlab.ab import builds, judging
from vhostlab.ab.builds import Build, Source
from vhostlab.ab.cells import select
from vhostlab.ab.frontend import Frontend, find_bench
from vhostlab.ab.guest import InGuest
from vhostlab.ab.judging import Answer
from vhostlab.ab.record import ARMS, Block, Orders, Record
from vhostlab.ab.request import Request
from vhostlab.ab.rig import Rig, Slots, Way, sequence
from vhostlab.ab.show import Show
from vhostlab.errors import HarnessError
from vhostlab.matrix import Cell
from vhostlab.paths import cache_dir
from vhostlab.scenario.stage import host_environment

#: A longer turn is worth less than one more; the shortest still holds thousands of requests.
SLOT_S = (0.05, 0.25)
GUEST_SLOT_S = 2.0
CANARY_S = (0.05, 0.2)
#: More turns are better than longer ones, down to this.
SHORT_SLOT_S = 0.15

#: Directories of disks; the rest of their name begins with the process that they belong to.
SCRATCH = "vl-ab-"

#: Of the budget, for blocks that do not count and for the judge.
RESERVE = 0.15
#: What may have to be confirmed: so many blocks (perf/gates.toml) of so many cells.
CONFIRM = (6, 2)

#: The last block may run over the budget by as much as this part of itself.
OVERRUN = 0.5


@dataclass(frozen=True)
class Setting:
    """Everything that a run needs and the next one needs as well."""

    request: Request
    way: Way
    accel: str
    arms: dict[str, Build]
    cells: tuple[Cell, ...]
    slots: Slots
    environment: dict[str, object]
    qualification: Path

    @property
    def replay(self) -> str:
        """Measures the very same programs again."""
        if self.request.aa:
            return self.request.command()
        words = dataclasses.replace(
            self.request,
            base="",
            head="",
            base_binary=self.arms["base"].program,
            head_binary=self.arms["head"].program,
            base_options=(),
            head_options=(),
        )
        return words.command()


def slots_for(way: Way, cells: int, blocks: int, seconds: float, turn_s: float = 0.0) -> Slots:
    """The most, and then the longest, turns with which all blocks fit into the time.

    ``turn_s``: how long a turn is to be, whether they fit or not.
    """
    if way.name == "guest":
        return Slots(turn_s or GUEST_SLOT_S, 1.0, 1)
    confirming = CONFIRM[0] * min(1.0, CONFIRM[1] / cells)
    room = seconds * (1 - RESERVE) / (blocks + confirming)

    def slots(cell_s: float, turns: int) -> Slots:
        return Slots(cell_s, min(CANARY_S[1], max(CANARY_S[0], cell_s / 2)), turns)

    least = turn_s or SHORT_SLOT_S
    turns = next((n for n in (8, 4) if way.seconds(cells, slots(least, n)) < room), 2)
    if turn_s:
        return slots(turn_s, turns)
    low, high = SLOT_S
    for _ in range(40):
        middle = (low + high) / 2
        fits = way.seconds(cells, slots(middle, turns)) < room
        low, high = (middle, high) if fits else (low, middle)
    return slots(round(low, 3), turns)


class Stop:
    """The first Ctrl-C ends the measuring, with the verdict so far; the second ends everything."""

    def __init__(self) -> None:
        self.asked = False
        self._task: asyncio.Task[Block] | None = None
        self._all = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        if self.asked and self._all is not None:
            self._all.cancel()
        self.asked = True
        if self._task is not None:
            self._task.cancel()

    async def block(self, task: asyncio.Task[Block]) -> Block | None:
        """The block; None when it was given up because somebody wants to stop."""
        self._task = task
        try:
            return await task
        except asyncio.CancelledError:
            if not self.asked:
                raise
            return None
        except HarnessError:
            # a Ctrl-C of the terminal reaches the load generator as well
            if not self.asked:
                raise
            return None
        finally:
            self._task = None


class Comparison:
    """One run of blocks."""

    def __init__(
        self, setting: Setting, rig: Rig, directory: Path, show: Show, stop: Stop, budget_s: float
    ) -> None:
        self._setting = setting
        self._rig = rig
        self._show = show
        self._stop = stop
        self._began = time.monotonic()
        self._budget_s = budget_s
        turns = setting.slots.turns
        orders = [sequence(first, turns) for first in "AB"]
        self._orders = Orders(random.Random(), orders)
        request = setting.request
        self.record = Record(
            directory=directory,
            kind="aa" if request.aa else "ab",
            path=setting.way.name,
            accel=setting.accel,
            base=setting.arms["base"],
            head=setting.arms["head"],
            cells=setting.cells,
            planned_blocks=request.planned,
            environment=setting.environment,
            design=dataclasses.asdict(setting.slots),
            command=request.command(),
            replay=setting.replay,
        )

    async def run(self) -> Answer:
        """Measure what the judge wishes until it wishes for nothing, or the time is up."""
        self.record.write()
        # about the first look; the judge says what is missing
        wanted = max(4, self._setting.request.planned * 3 // 8)
        phase, cells = "main", self._setting.cells
        while True:
            for _ in range(wanted):
                if not await self._block(phase, cells):
                    return await self._judge()
            answer = await self._judge()
            if answer.action == "stop":
                return answer
            if not self._setting.request.aa:
                self._show.line(f"after {len(self.record.blocks)} blocks: {answer.reason}")
            wanted = answer.blocks
            phase = "confirm" if answer.action == "confirm" else "main"
            cells = tuple(c for c in self._setting.cells if c.id in answer.cells)

    async def _block(self, phase: str, cells: Sequence[Cell]) -> bool:
        """Measure one; False when there will be no more."""
        expected = self._setting.way.seconds(len(cells), self._setting.slots)
        if self._stop.asked or self._left() < expected * OVERRUN:
            self.record.over = "interrupted" if self._stop.asked else "budget"
            self.record.write()
            return False
        number = len(self.record.blocks) + 1
        words = f"block {number} of {self._setting.request.planned}"
        if phase == "confirm":
            words = f"block {number}, to confirm"

        def tell(what: str) -> None:
            self._show.now(f"{words}: {what}", 1 - self._left() / self._budget_s, self._left())

        work = self._rig.block(phase, self._orders.next(), cells, tell)
        block = await self._stop.block(asyncio.ensure_future(work))
        if block is None:
            self.record.over = "interrupted"
            self.record.write()
            return False
        self.record.add(block)
        return True

    def _left(self) -> float:
        return self._budget_s - (time.monotonic() - self._began)

    async def _judge(self) -> Answer:
        self._show.now("judging", 1 - self._left() / self._budget_s, self._left())
        setting = self._setting
        # an A/A run is not judged by the record that it is to make
        known = Path("/nonexistent") if setting.request.aa else setting.qualification
        return await judging.judge(self.record.directory, known, setting.request.gates)


async def _sources(request: Request) -> dict[str, Source]:
    base = await builds.resolve(request.base, request.base_options, request.base_binary)
    if request.aa:
        return {"base": base, "head": base}
    head = await builds.resolve(request.head, request.head_options, request.head_binary)
    return {"base": base, "head": head}


async def _build(sources: dict[str, Source], directory: Path, show: Show) -> dict[str, Build]:
    arms = {}
    for arm in ARMS:
        source = sources[arm]
        show.now(f"building {arm}: {source.name}")
        began = time.monotonic()
        made = await builds.build(source, directory / "logs")
        arms[arm] = builds.place(made, directory / arm / "vhost")
        commit = f" {made.commit[:12]}" if made.commit else ""
        seconds = time.monotonic() - began
        show.line(f"{arm}  {source.name}{commit}, build id {made.build_id[:16]}, {seconds:.0f} s")
    return arms


async def prepare(request: Request, directory: Path, show: Show) -> Setting:
    """Everything that can fail before the first block."""
    cells, left_out = select(request.path, request.matrix, request.cells, request.short)
    if request.path == "frontend":
        find_bench()
    sources = await _sources(request)
    for label, why in left_out.items():
        show.line(f"left out: {label}: {why}")
    arms = await _build(sources, directory, show)
    way: Way = Frontend()
    accel = results.NO_GUEST
    environment: dict[str, object] = {}
    if request.path == "guest":
        show.now("building the guest's image")
        made = await InGuest.make()
        way, accel = made, made.accel
        environment["guest.image"] = f"{made.image.name}-{made.image.id}"
    environment = {"accel": accel, **environment, **host_environment()}
    kept = f"{results.fingerprint(environment)}-{request.path}.json"
    return Setting(
        request=request,
        way=way,
        accel=accel,
        arms=arms,
        cells=cells,
        slots=slots_for(
            way, len(cells), request.planned, request.budget_s / request.runs, request.turn_s
        ),
        environment=environment,
        qualification=cache_dir() / "ab" / "qualification" / kept,
    )


def sweep() -> None:
    """Remove the disks of runs that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        pid = path.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)


async def measure(setting: Setting, directories: Sequence[Path], show: Show) -> list[Answer]:
    """As many runs as there are directories."""
    answers: list[Answer] = []
    stop = Stop()
    began = time.monotonic()
    show.line(
        f"{len(setting.cells)} cells, up to {setting.request.planned} blocks, "
        f"{setting.slots.turns} turns of {setting.slots.cell_s:g} s for each arm and cell, "
        f"at most {setting.request.budget_s / 60:g} min"
    )
    show.now("waiting for processors that no other run has")
    sweep()
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as scratch:
        logs = directories[0].parent / "logs" if len(directories) > 1 else directories[0] / "logs"
        async with setting.way.open(
            setting.arms, setting.cells, setting.slots, Path(scratch), logs
        ) as rig:
            for number, directory in enumerate(directories):
                left = setting.request.budget_s - (time.monotonic() - began)
                share = left / (len(directories) - number)
                run = Comparison(setting, rig, directory, show, stop, share)
                answers.append(await run.run())
                if len(directories) > 1:
                    a = answers[-1]
                    show.line(f"run {number + 1}: {a.verdict}: {a.reason}")
                if stop.asked:
                    break
    return answers
