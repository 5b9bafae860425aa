# SPDX-License-Identifier: BSD-3-Clause
"""One cell: fio in one guest, or in several at the same time, and what it cost the target."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from vhostlab import fio, steady
from vhostlab.agent import AgentError
from vhostlab.errors import HarnessError
from vhostlab.guest import Guest
from vhostlab.guestdisk import GuestDisk
from vhostlab.host.load import OthersMeter
from vhostlab.matrix import Cell, Matrix
from vhostlab.measure import series
from vhostlab.measure.metrics import metrics, of_guests, together
from vhostlab.paths import source_dir
from vhostlab.process import Process
from vhostlab.results import Better, CellResult, Metric, now, replay_cell, write_text
from vhostlab.target import Target

#: The share of the time that several guests must run at once. Emulated ones are at the mercy of
#: what else the machine does.
TOGETHER_MIN = {"performance": 0.9, "functional": 0.5}

CPU_SAMPLE_S = 0.1

#: A guest is asked for its time until the answer comes as soon as this.
CLOCK_GOOD_S = 0.02
CLOCK_TRIES = 5

#: fio waits in it until the harness lets all guests go at once. What fio does before (it starts,
#: opens, lays out) takes a different time in each.
_BARRIER = f"""touch {fio.GUEST_DIR}/ready
until [ -e {fio.GUEST_DIR}/go ]; do sleep 0.02; done
"""
_BARRIER_PATH = f"{fio.GUEST_DIR}/barrier"


@dataclass(frozen=True)
class Place:
    """What the cells of a guest are measured with, and where what comes out goes."""

    matrix: Matrix
    #: How a person asks for the matrix.
    matrix_name: str
    target: Target
    run_dir: Path
    stage: str
    #: Of the numbers: performance or functional.
    timing: str
    placement: str = ""


class Apart(HarnessError):
    """Guests that were to run at the same time did not."""


@dataclass
class CpuMeter:
    """How much CPU the target had used when."""

    target: Target
    samples: list[tuple[float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Take a sample."""
        self.samples.append((time(), self.target.cpu_seconds()))

    def until(self, when: float) -> float:
        """Seconds of CPU at a point in time, between two samples in proportion."""
        before = self.samples[0]
        for sample in self.samples:
            if sample[0] >= when:
                if sample[0] == before[0]:
                    return sample[1]
                share = (when - before[0]) / (sample[0] - before[0])
                return before[1] + share * (sample[1] - before[1])
            before = sample
        return before[1]

    def total(self) -> float:
        """All that was seen."""
        return self.samples[-1][1] - self.samples[0][1]

    def used(self, began: float, ended: float) -> float:
        """Seconds of CPU in between. A time that is partly outside of what was sampled, as the
        guest's clock is not known to the moment, is moved inside."""
        first, last = self.samples[0][0], self.samples[-1][0]
        move = max(0.0, first - began) - max(0.0, ended - last)
        return self.until(ended + move) - self.until(began + move)


@asynccontextmanager
async def watched(target: Target) -> AsyncIterator[CpuMeter]:
    """Samples, as long as the body runs."""
    meter = CpuMeter(target)

    async def watch() -> None:
        while True:
            meter.look()
            await asyncio.sleep(CPU_SAMPLE_S)

    task = asyncio.create_task(watch())
    try:
        yield meter
        meter.look()
    finally:
        task.cancel()


def job_file(cell: Cell) -> Path:
    """Of fio-jobs."""
    return source_dir() / "fio-jobs" / f"{cell.job}.fio"


async def measure(
    place: Place, cell: Cell, disks: Sequence[GuestDisk], guests: Sequence[Process]
) -> CellResult:
    """Measure a cell on a disk in each of the guests, which are these processes. Raises FioError,
    or Apart."""
    started = now()
    clocks = [await _clock(disk.guest) for disk in disks]
    others, used = OthersMeter(), sum(guest.cpu_seconds() for guest in guests)
    async with watched(place.target) as meter:
        runs = await _together(place, cell, disks)
    used = sum(guest.cpu_seconds() for guest in guests) - used
    # a target that is inside of the guests has been counted with them
    used += 0.0 if place.target.inside else meter.total()
    load = round(others.cores(used), 3)
    ways = [_way(run) for run in runs]
    logs = [await _series(disk.guest, cell) for disk in disks]
    parts = [
        part.moved(-clock) for part, clock in zip(logs, clocks, strict=True) if part is not None
    ]
    whole = together(ways)
    if whole.short_ios or whole.dropped_ios:
        raise fio.FioError(f"{whole.short_ios} short and {whole.dropped_ios} dropped I/Os")
    shared = _shared(place, parts, ways) if len(disks) > 1 else []
    return CellResult(
        id=cell.id,
        stage=place.stage,
        params=cell.params,
        metrics=(
            *metrics(whole, _cpu(meter, parts, whole)),
            *of_guests(ways),
            *shared,
            Metric("others_cpu", "cores", Better.NEITHER, load),
        ),
        fio_file=f"fio/{cell.id}.json",
        replay=replay_cell(cell.id, place.target.name, place.matrix_name),
        started=started,
        steady=steady.verdict(series.total(parts)),
        series=series.keep(place.run_dir, cell.id, parts),
        placement=place.placement,
    )


def _way(run: fio.Run) -> fio.Direction:
    """All that a guest did; a job that reads and writes is about both."""
    found = [direction for job in run.jobs for direction in job.directions]
    if not found:
        raise fio.FioError("fio reports that no I/O was done at all")
    return together(found)


def _cpu(meter: CpuMeter, parts: Sequence[series.Series], whole: fio.Direction) -> float:
    """What the measured I/Os cost the target: its CPU in the seconds of the series, which are
    those after the ramp, in proportion. Without a series, all of it."""
    if not parts:
        return meter.total()
    began, ended = max(p.began for p in parts), min(p.ended for p in parts)
    ios = whole.iops * (ended - began)
    return meter.used(began, ended) * whole.ios / ios if ios > 0 else 0.0


def _shared(
    place: Place, parts: Sequence[series.Series], ways: Sequence[fio.Direction]
) -> list[Metric]:
    """The share of the time in which all guests ran; raises Apart when it is too small."""
    if len(parts) < len(ways):
        raise Apart("a guest was too short to see whether all ran at the same time")
    spans = [
        (part.began, part.began + way.runtime_ms / 1000)
        for part, way in zip(parts, ways, strict=True)
    ]
    share = series.together(spans)
    if share < TOGETHER_MIN[place.timing]:
        raise Apart(f"the guests ran at the same time for {share:.0%} of it only")
    return [Metric("vms_together", "", Better.HIGHER, round(share, 3))]


async def _together(place: Place, cell: Cell, disks: Sequence[GuestDisk]) -> list[fio.Run]:
    """fio in all guests; what they wrote becomes one file."""
    folder = place.run_dir / "fio"
    if len(disks) == 1:
        return [await _fio(place, cell, disks[0], folder / f"{cell.id}.json")]
    keeps = [folder / f"{cell.id}.vm{n}.json" for n in range(1, len(disks) + 1)]
    for disk in disks:
        await disk.guest.run(
            f"mkdir -p {fio.GUEST_DIR} && cd {fio.GUEST_DIR} && rm -f ready go", timeout_s=30.0
        )
        await disk.guest.write_file(_BARRIER_PATH, _BARRIER)
    barrier = f"--exec_prerun=sh {_BARRIER_PATH}"
    try:
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(_fio(place, cell, disk, keep, barrier))
                for disk, keep in zip(disks, keeps, strict=True)
            ]
            # a fio that fails before ends the group, and with it this wait
            await asyncio.gather(*(_ready(disk.guest) for disk in disks))
            await asyncio.gather(*(d.guest.run(f"touch {fio.GUEST_DIR}/go") for d in disks))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    _join(keeps, folder / f"{cell.id}.json")
    return [task.result() for task in running]


async def _ready(guest: Guest) -> None:
    await guest.run(
        f"until [ -e {fio.GUEST_DIR}/ready ]; do sleep 0.05; done", timeout_s=fio.FIO_START_STOP_S
    )


async def _fio(place: Place, cell: Cell, disk: GuestDisk, keep: Path, *extra: str) -> fio.Run:
    matrix = place.matrix
    log = f"--write_iops_log={fio.GUEST_DIR}/{cell.id}"
    return await fio.run(
        disk.guest,
        job_file(cell),
        disk.node,
        matrix.runtime_s,
        keep,
        *matrix.fio_options(cell),
        *series.OPTIONS,
        log,
        *extra,
        more_s=fio.FIO_START_STOP_S + matrix.ramp_s,
    )


def _join(parts: Sequence[Path], to: Path) -> None:
    """One json+ of all guests: their jobs, with the guest in the name."""
    documents = [fio.document(part.read_text()) for part in parts]
    for number, document in enumerate(documents, start=1):
        for job in document["jobs"]:
            job["jobname"] = f"vm{number}: {job['jobname']}"
    whole = documents[0] | {"jobs": [job for d in documents for job in d["jobs"]]}
    write_text(json.dumps(whole, indent=1) + "\n", to)
    for part in parts:
        part.unlink()


async def _series(guest: Guest, cell: Cell) -> series.Series | None:
    """Fetch the logs of the jobs, and remove them: the guest's files are in its memory."""
    name = shlex.quote(cell.id)
    mark = "---"
    done = await guest.run(
        f"cd {fio.GUEST_DIR} && for f in {name}_iops.*.log; do "
        f'[ -e "$f" ] && cat "$f" && echo {mark} && rm "$f"; done',
        check=False,
    )
    return series.parse(done.stdout.split(f"{mark}\n")[:-1])


async def _clock(guest: Guest) -> float:
    """By how many seconds the guest's clock is before that of this machine; the answer that came
    soonest tells it best."""
    found: list[tuple[float, float]] = []
    for _ in range(CLOCK_TRIES):
        before = time()
        with suppress(AgentError):
            now = int(await guest.agent.execute("guest-get-time")) / 1e9
            took = time() - before
            found.append((took, now - before - took / 2))
            if took < CLOCK_GOOD_S:
                break
    return min(found, default=(0.0, 0.0))[1]
