#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the figures of docs/BENCHMARKING.md and says which bars are met (make bench-compare).

Every ratio comes from runs that alternate on this machine; no absolute number is judged. What other
programs used meanwhile stands beside each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
DISK_MB = 1024
DISKS = 4
DISK_OF_FOUR_MB = 16
DISTURBANCE_PERCENT = 30.0
"""What others may take of a processor."""
ATTEMPTS = 3
"""Groups that are made at most, as a multiple of those wanted."""
RESAMPLES = 2000
START_DEADLINE_S = 30.0
INTERVAL_S = 0.02
SPAWN_S = 0.5
"""Roughly, to start and end a target."""
NEEDED = ("fio", os.environ.get("QSD_BINARY", "qemu-storage-daemon"), "valgrind")


@dataclass(frozen=True)
class Set:
    """How the figures are made."""

    bench: Path
    daemon: Path
    client_cpu: int
    target_cpu: int
    file: Path
    groups: int
    block_s: float

    @property
    def few_groups(self) -> int:
        """Of runs that start a target each."""
        return max(2, self.groups // 4)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    low: float
    high: float
    bar: float
    at_least: bool
    unit: str = ""
    detail: str = ""
    others_percent: float | None = None
    """None: what others do has no part in it."""

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def disturbed(self) -> bool:
        return (self.others_percent or 0) > DISTURBANCE_PERCENT

    @property
    def verdict(self) -> str:
        return f"{'met' if self.met else 'NOT MET'}{'?' if self.disturbed else ''}"


@dataclass(frozen=True)
class Task:
    """A figure to be made."""

    name: str
    seconds: float
    """How long it takes on a quiet machine."""
    make: Callable[[str], Figure]


class CannotBe(Exception):
    """A figure could not be made; says why."""


def run(argv: list[str], **environment: str) -> str:
    """The standard output of a program that must succeed."""
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CannotBe(f"{Path(argv[0]).name}: {said[-1] if said else done.returncode}")
    return done.stdout


def bench(how: Set, *args: object) -> dict[str, Any]:
    """One run of vhost-bench, on its processors."""
    argv = [how.bench, "--cpu", how.client_cpu, "--target-cpu", how.target_cpu, "--json", "-"]
    text = run([str(arg) for arg in (*argv, *args)], VHOST_BINARY=str(how.daemon))
    result: dict[str, Any] = json.loads(text)
    return result


def compared(how: Set, name: str, bar: float, a: str, b: str, *args: object) -> Figure:
    """The ratio of the IOPS of two targets, by vhost-bench --compare."""
    report = bench(
        how,
        *("--compare", "--spawn", a, "--spawn", b, "--groups", how.groups),
        *("--block-seconds", how.block_s, *args),
    )
    ratio = report["ratio"]
    return Figure(
        name,
        ratio["median"],
        ratio["low"],
        ratio["high"],
        bar,
        at_least=True,
        detail=f"{report['a']['iops'] / 1e6:.3f} M against {report['b']['iops'] / 1e6:.3f} M",
        others_percent=report["others_percent"],
    )


# ---- ratios that are made of different programs ----


def busy_ticks(pid: int | None = None) -> int:
    """Of all processors together: user nice system idle iowait irq softirq steal."""
    if pid is None:
        fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4]
    rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(x) for x in rest[11:15])


def own_ticks() -> int:
    """Of this program and of the children that it has waited for."""
    used = os.times()
    seconds = used.user + used.system + used.children_user + used.children_system
    return round(seconds * os.sysconf("SC_CLK_TCK"))


@contextmanager
def watched(found: list[float]) -> Iterator[None]:
    """Appends what others used, in percent of a processor."""
    begin, busy = time.monotonic(), busy_ticks() - own_ticks()
    yield
    ticks = busy_ticks() - own_ticks() - busy
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    found.append(max(0.0, 100 * seconds / (time.monotonic() - begin)))


@dataclass(frozen=True)
class Group:
    """Of four runs, a b b a."""

    a: float
    b: float
    others_percent: float


def interval(ratios: list[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of their median."""
    choose = random.Random(1)
    medians = sorted(
        statistics.median(choose.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)
    )
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def millions(value: float) -> str:
    return f"{value / 1e6:.3f} M"


def alternating(
    name: str,
    bar: float,
    wanted: int,
    a: Callable[[], float],
    b: Callable[[], float],
    *,
    at_least: bool = True,
    shown: Callable[[float], str] = millions,
) -> Figure:
    """The median ratio of groups. A disturbed one is made again, as by vhost-bench --compare."""
    groups: list[Group] = []
    while len(groups) < wanted * ATTEMPTS:
        others: list[float] = []
        with watched(others):
            first, second, third, fourth = a(), b(), b(), a()
        groups.append(Group((first * fourth) ** 0.5, (second * third) ** 0.5, others[0]))
        if sum(group.others_percent <= DISTURBANCE_PERCENT for group in groups) == wanted:
            break
    groups = sorted(groups, key=lambda group: group.others_percent)[:wanted]
    ratios = [group.a / group.b for group in groups]
    medians = [statistics.median(g.a for g in groups), statistics.median(g.b for g in groups)]
    low, high = interval(ratios)
    return Figure(
        name,
        statistics.median(ratios),
        low,
        high,
        bar,
        at_least,
        detail=f"{shown(medians[0])} against {shown(medians[1])}",
        others_percent=groups[-1].others_percent,
    )


def ramdisk(how: Set, name: str) -> Figure:
    length = 4 * how.block_s
    run = ("--target-size", f"{DISK_MB}M", "--depth", 128, "--seconds", length)

    def disk() -> float:
        # Written first: pages that nobody wrote are all read from one page of zeroes.
        report = bench(how, "--spawn", "vhost-malloc", "--prefill", "--warmup", 0.2, *run)
        return float(report["result"]["iops"])

    def copies() -> float:
        return float(bench(how, "--calibrate", *run)["copies_per_second"])

    return alternating(name, 0.7, how.few_groups, disk, copies)


def fio(how: Set, pattern: str, depth: int) -> float:
    text = run(
        [
            *("fio", "--name=x", "--ioengine=libaio", "--direct=1", "--bs=4k", "--time_based"),
            *(f"--filename={how.file}", f"--rw={pattern}", f"--iodepth={depth}"),
            *(f"--runtime={4 * how.block_s}", f"--ramp_time={how.block_s}"),
            *(f"--cpus_allowed={how.target_cpu}", "--output-format=json"),
        ]
    )
    job = json.loads(text)["jobs"][0]
    return float(job["read" if pattern == "randread" else "write"]["iops"])


@cache
def read_once(file: Path) -> None:
    """Storage below us that keeps what was read lately has all of it then, for both sides."""
    jobs = ("--ioengine=libaio", "--direct=1", "--bs=1M", "--iodepth=8", "--rw=read")
    run(["fio", "--name=x", *jobs, f"--filename={file}", "--output-format=json"])


def aio(how: Set, pattern: str, depth: int, name: str) -> Figure:
    read_once(how.file)

    def ours() -> float:
        report = bench(
            how,
            *("--spawn", "vhost-aio", "--target-file", how.file, "--rw", pattern),
            *("--depth", depth, "--seconds", 4 * how.block_s, "--warmup", how.block_s),
        )
        return float(report["result"]["iops"])

    return alternating(name, 0.95, how.few_groups, ours, lambda: fio(how, pattern, depth))


# ---- single numbers ----


def instructions(how: Set, name: str) -> Figure:
    report = bench(how, "--instructions", "--spawn", "vhost-null")
    value = report["instructions_per_request"]
    return Figure(name, value, value, value, 300, False)


FOUR_DISKS = f"""\
[Rpc]
  Enable No
[Malloc]
  NumberOfLuns {DISKS}
  LunSizeInMB {DISK_OF_FOUR_MB}
[VhostBlk0]
  Name disk.0
  Dev Malloc0
[VhostBlk1]
  Name disk.1
  Dev Malloc1
[VhostScsi0]
  Name disk.2
  Dev 0 Malloc2
[VhostScsi1]
  Name disk.3
  Dev 0 Malloc3
"""


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@contextmanager
def served(how: Set, config: str, sockets: list[str]) -> Iterator[tuple[Path, int]]:
    """A daemon: the directory of its sockets and its process number."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "conf").write_text(config)
        argv = [str(how.daemon), "--no-huge", "-c", str(directory / "conf"), "-S", folder]
        argv += ["-m", f"[{how.target_cpu}]"]
        daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + START_DEADLINE_S
            while not all((directory / name).exists() for name in sockets):
                if daemon.poll() is not None or time.monotonic() > end:
                    raise CannotBe(f"the daemon with {len(sockets)} disks did not start")
                time.sleep(INTERVAL_S)
            yield directory, daemon.pid
        finally:
            daemon.terminate()
            daemon.wait()


def memory(how: Set, name: str) -> Figure:
    """Four disks that were written whole: what is resident beyond them."""
    names = [f"disk.{i}" for i in range(DISKS)]
    with served(how, FOUR_DISKS, names) as (directory, pid):
        for i, disk in enumerate(names):
            device = "scsi" if i >= 2 else "blk"
            bench(how, "--device", device, "--prefill", "--seconds", 0.2, directory / disk)
        rss = resident(pid) - DISKS * DISK_OF_FOUR_MB * MIB
    mib = rss / MIB
    return Figure(name, mib, mib, mib, 64, False, " MiB")


TWO_DISKS = """\
[Rpc]
  Enable No
[Malloc]
  NumberOfLuns 2
  LunSizeInMB 128
[VhostBlk0]
  Name quiet
  Dev Malloc0
[VhostBlk1]
  Name flood
  Dev Malloc1
  CoalescingDelayUs 2000
"""
"""The client of the flood shares a processor with the one that is measured: it is called rarely."""
FLOOD = ("--depth", 128, "--bs", "1M", "--completion", "event")


@contextmanager
def flooding(how: Set, socket: Path) -> Iterator[None]:
    """Another client keeps its disk busy; its own share of the processor is small."""
    argv = (how.bench, "--cpu", how.client_cpu, *FLOOD, "--seconds", 3600, socket)
    client = subprocess.Popen(
        ["nice", "-n", "10", *map(str, argv)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        if client.poll() is not None:
            raise CannotBe("the client of the flood has ended")
    finally:
        client.kill()
        client.wait()


def neighbour(how: Set, name: str) -> Figure:
    """The 99th percentile of a disk's latency while another one on its core is flooded, and not."""
    with served(how, TWO_DISKS, ["quiet", "flood"]) as (directory, _):
        for disk in ("quiet", "flood"):
            bench(how, "--prefill", "--seconds", 0.1, directory / disk)

        def p99() -> float:
            report = bench(
                how,
                *("--depth", 1, "--completion", "event"),
                *("--seconds", 4 * how.block_s, "--warmup", 0.3),
                directory / "quiet",
            )
            return float(report["result"]["latency_ns"]["percentiles"]["99"])

        def beside_a_flood() -> float:
            with flooding(how, directory / "flood"):
                return p99()

        return alternating(
            name,
            2.0,
            how.few_groups,
            beside_a_flood,
            p99,
            at_least=False,
            shown=lambda ns: f"{ns / 1e3:.1f} us",
        )


# ---- all of it ----


def tasks(how: Set) -> list[Task]:
    made: list[Task] = []
    block = how.block_s

    def against(name: str, bar: float, a: str, b: str, depth: int) -> None:
        def make(name: str) -> Figure:
            return compared(how, name, bar, a, b, "--depth", depth, "--batch", min(depth, 32))

        made.append(Task(name, how.groups * 4 * 1.2 * block + 2 * SPAWN_S, make))

    for depth, bar in ((128, 4.0), (32, 3.5)):
        name = f"null randread depth {depth} / qemu-storage-daemon"
        against(name, bar, "vhost-null", "qsd-null", depth)
    name = "null randread depth 1, both polling / qemu-storage-daemon"
    against(name, 8.0, "vhost-null,mode=poll", "qsd-null", 1)
    # Twice: writing the disk, warm-up and run; the ring and the copies.
    seconds = how.few_groups * 2 * ((0.8 + 4 * block + SPAWN_S) + (0.5 + 2.2 * 4 * block))
    made.append(Task("malloc randread depth 128 / copy loop", seconds, partial(ramdisk, how)))
    for pattern in ("randread", "randwrite"):
        for depth in (1, 32, 128):
            name = f"aio {pattern} depth {depth} / fio libaio"
            seconds = how.few_groups * 4 * (5 * block + SPAWN_S)
            made.append(Task(name, seconds, partial(aio, how, pattern, depth)))
    name = "instructions per null read, batches of 32"
    made.append(Task(name, 10 * SPAWN_S, partial(instructions, how)))
    for depth in (32, 128):
        name = f"null scsi / blk depth {depth}"
        against(name, 0.9, "vhost-null,device=scsi", "vhost-null", depth)
    name = "p99 at depth 1 beside a flood / alone"
    seconds = how.few_groups * 4 * (0.3 + 4 * block + SPAWN_S)
    made.append(Task(name, seconds, partial(neighbour, how)))
    name = "resident memory beyond four ramdisks"
    made.append(Task(name, 6 * SPAWN_S, partial(memory, how)))
    return made


HEADER = (
    f"{'figure':<58} {'value':>9}  {'95 % interval':<15} {'bar':<7} {'':<8} "
    f"{'others':>6}  medians (without a unit: IOPS)"
)


def line(figure: Figure) -> str:
    span = f"{figure.low:.3g} to {figure.high:.3g}" if figure.low != figure.high else ""
    bar = f"{'>=' if figure.at_least else '<='} {figure.bar:g}"
    others = "-" if figure.others_percent is None else f"{figure.others_percent:.0f} %"
    return (
        f"{figure.name:<58} {f'{figure.value:.3g}{figure.unit}':>9}  {span:<15} {bar:<7} "
        f"{figure.verdict:<8} {others:>6}  {figure.detail}"
    ).rstrip()


def minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def say(text: str) -> None:
    """Progress: not part of the table."""
    print(f"bench-compare: {text}", file=sys.stderr, flush=True)


def make_file(path: Path) -> None:
    """Random bytes, so that no layer below can take a short way."""
    if path.exists():
        return
    say(f"making {path}, {DISK_MB} MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        for _ in range(DISK_MB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def environment(how: Set) -> list[str]:
    """What the figures were made with."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((row.partition(":")[2].strip() for row in cpus if "model name" in row), "?")
    programs = [run([name, "--version"]).splitlines()[0] for name in NEEDED]
    return [
        f"{platform.system()} {platform.release()} {platform.machine()}, {model}",
        f"client on processor {how.client_cpu}, target on processor {how.target_cpu}, "
        f"{how.groups} groups of four blocks of {how.block_s:g} s",
        ", ".join([run([str(how.daemon), "--version"]).splitlines()[0], *programs]),
    ]


def make_all(wanted: list[Task]) -> tuple[list[Figure], list[str]]:
    """The figures, and what could not be made. Ctrl-C and SIGTERM end it early."""
    made: list[Figure] = []
    failed: list[str] = []
    total = sum(task.seconds for task in wanted)
    begin = time.monotonic()
    left = total
    say(
        f"{len(wanted)} figures, about {minutes(total)} minutes on a quiet machine, "
        f"up to {ATTEMPTS} times that where others disturb"
    )
    try:
        for i, task in enumerate(wanted):
            say(
                f"[{i + 1}/{len(wanted)}] {task.name}: about {minutes(task.seconds)}; "
                f"{minutes(time.monotonic() - begin)} gone, at least {minutes(left)} to go"
            )
            left -= task.seconds
            try:
                made.append(task.make(task.name))
            except CannotBe as error:
                failed.append(f"{task.name:<58} could not be made: {error}")
                say(str(error))
            else:
                say(f"    {made[-1].value:.3g}, {made[-1].verdict}")
    except KeyboardInterrupt:
        failed.append("interrupted: figures are missing")
    return made, failed


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    build = ROOT / "build/release"
    cpus = sorted(os.sched_getaffinity(0))
    parser.add_argument("--bench", type=Path, default=build / "harness/frontend/vhost-bench")
    parser.add_argument("--daemon", type=Path, default=build / "target/app/vhost/vhost")
    parser.add_argument("--client-cpu", type=int, default=cpus[0])
    parser.add_argument("--target-cpu", type=int, default=cpus[-1])
    parser.add_argument("--file", type=Path, default=ROOT / "build/bench-disk.raw")
    parser.add_argument("--groups", type=int, default=20, help="of four blocks (20)")
    parser.add_argument("--block-seconds", type=float, default=0.25)
    parser.add_argument("--only", default="", metavar="TEXT", help="figures whose name has it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar is not met")
    args = parser.parse_args(arguments)
    if args.client_cpu == args.target_cpu:
        parser.error("client and target need a processor each")
    for program in (*NEEDED, args.bench, args.daemon):
        if shutil.which(program) is None:
            parser.error(f"{program} is not there (make build)")
    return args


def main() -> int:
    args = parse()
    how = Set(
        args.bench,
        args.daemon,
        args.client_cpu,
        args.target_cpu,
        args.file,
        args.groups,
        args.block_seconds,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = [task for task in tasks(how) if args.only in task.name]
    about = environment(how)
    make_file(how.file)
    made, failed = make_all(wanted)
    print("\n".join([*about, "", HEADER, *map(line, made), *failed]))
    met = sum(figure.met for figure in made)
    print(f"{met} of {len(wanted)} bars are met")
    if any(figure.disturbed for figure in made):
        print(
            f"?: other programs, or the hypervisor, took more than {DISTURBANCE_PERCENT:.0f} % of "
            "a processor. Such a figure is of little worth: make it again on a quiet machine."
        )
    if args.json:
        entries = [{**asdict(figure), "met": figure.met} for figure in made]
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"environment": about, "figures": entries, "failed": failed}
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failed or (args.strict and met < len(made)) else 0


if __name__ == "__main__":
    sys.exit(main())
