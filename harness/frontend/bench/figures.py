#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the figures of docs/BENCHMARKING.md and says which bars are met.

Every ratio comes from runs that alternate on this machine; no absolute number is judged. What other
programs used meanwhile stands beside each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
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
START_DEADLINE_S = 30.0
INTERVAL_S = 0.02


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
    others_percent: float = 0.0

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def bench(how: Set, *args: object) -> dict[str, Any]:
    """One run of vhost-bench, on its processors."""
    argv = [how.bench, "--cpu", how.client_cpu, "--target-cpu", how.target_cpu, "--json", "-"]
    done = subprocess.run(
        [str(arg) for arg in (*argv, *args)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "VHOST_BINARY": str(how.daemon)},
    )
    result: dict[str, Any] = json.loads(done.stdout)
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


def alternating(
    name: str, bar: float, wanted: int, a: Callable[[], float], b: Callable[[], float]
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
    return Figure(
        name,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        bar,
        at_least=True,
        detail=f"{medians[0] / 1e6:.3f} M against {medians[1] / 1e6:.3f} M",
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

    return alternating(name, 0.7, max(2, how.groups // 4), disk, copies)


def fio(how: Set, pattern: str, depth: int) -> float:
    done = subprocess.run(
        [
            *("fio", "--name=x", "--ioengine=libaio", "--direct=1", "--bs=4k", "--time_based"),
            *(f"--filename={how.file}", f"--rw={pattern}", f"--iodepth={depth}"),
            *(f"--runtime={4 * how.block_s}", f"--ramp_time={how.block_s}"),
            *(f"--cpus_allowed={how.target_cpu}", "--output-format=json"),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    job = json.loads(done.stdout)["jobs"][0]
    return float(job["read" if pattern == "randread" else "write"]["iops"])


def aio(how: Set, pattern: str, depth: int, name: str) -> Figure:
    def ours() -> float:
        report = bench(
            how,
            *("--spawn", "vhost-aio", "--target-file", how.file, "--rw", pattern),
            *("--depth", depth, "--seconds", 4 * how.block_s, "--warmup", how.block_s),
        )
        return float(report["result"]["iops"])

    return alternating(name, 0.95, max(2, how.groups // 4), ours, lambda: fio(how, pattern, depth))


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


def memory(how: Set, name: str) -> Figure:
    """Four disks that were written whole: what is resident beyond them."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "conf").write_text(FOUR_DISKS)
        sockets = [directory / f"disk.{i}" for i in range(DISKS)]
        argv = [str(how.daemon), "--no-huge", "-c", str(directory / "conf"), "-S", folder]
        daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + START_DEADLINE_S
            while not all(socket.exists() for socket in sockets):
                if daemon.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the daemon with four disks did not start")
                time.sleep(INTERVAL_S)
            for i, socket in enumerate(sockets):
                device = "scsi" if i >= 2 else "blk"
                bench(how, "--device", device, "--prefill", "--seconds", 0.2, socket)
            rss = resident(daemon.pid) - DISKS * DISK_OF_FOUR_MB * MIB
        finally:
            daemon.terminate()
            daemon.wait()
    mib = rss / MIB
    return Figure(name, mib, mib, mib, 64, False, " MiB")


# ---- all of it ----


def figures(how: Set) -> dict[str, Callable[[str], Figure]]:
    """Name -> how to make it."""
    made: dict[str, Callable[[str], Figure]] = {}

    def against(name: str, bar: float, a: str, b: str, depth: int) -> None:
        made[name] = lambda name: compared(how, name, bar, a, b, "--depth", depth)

    for depth, bar in ((128, 4.0), (32, 3.5)):
        name = f"null randread depth {depth} / qemu-storage-daemon"
        against(name, bar, "vhost-null", "qsd-null", depth)
    name = "null randread depth 1, both polling / qemu-storage-daemon"
    against(name, 8.0, "vhost-null,mode=poll", "qsd-null", 1)
    made["malloc randread depth 128 / copy loop"] = partial(ramdisk, how)
    for pattern in ("randread", "randwrite"):
        for depth in (1, 32, 128):
            name = f"aio {pattern} depth {depth} / fio libaio"
            made[name] = partial(aio, how, pattern, depth)
    made["instructions per null read, batches of 32"] = partial(instructions, how)
    for depth in (32, 128):
        name = f"null scsi / blk depth {depth}"
        against(name, 0.9, "vhost-null,device=scsi", "vhost-null", depth)
    made["resident memory beyond four ramdisks"] = partial(memory, how)
    return made


def line(figure: Figure) -> str:
    span = f"({figure.low:.3g} to {figure.high:.3g})" if figure.low != figure.high else ""
    bar = f"{'>=' if figure.at_least else '<='} {figure.bar:g}"
    return (
        f"{figure.name:<58} {figure.value:>7.3g}{figure.unit:<4} {span:<18} {bar:<8} "
        f"{'met' if figure.met else 'NOT MET':<8} {figure.detail}"
        f"{f', others {figure.others_percent:.0f} %' if figure.others_percent >= 1 else ''}"
    )


def make_file(path: Path) -> None:
    """Random bytes, so that no layer below can take a short way."""
    if path.exists():
        return
    with path.open("wb") as file:
        for _ in range(DISK_MB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    build = ROOT / "build/release"
    parser.add_argument("--bench", type=Path, default=build / "harness/frontend/vhost-bench")
    parser.add_argument("--daemon", type=Path, default=build / "target/app/vhost/vhost")
    parser.add_argument("--client-cpu", type=int, default=0)
    parser.add_argument("--target-cpu", type=int, default=1)
    parser.add_argument("--file", type=Path, default=ROOT / "build/bench-disk.raw")
    parser.add_argument("--groups", type=int, default=20, help="of four blocks (20)")
    parser.add_argument("--block-seconds", type=float, default=0.25)
    parser.add_argument("--only", default="", metavar="TEXT", help="figures whose name has it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar is not met")
    args = parser.parse_args()
    how = Set(
        args.bench,
        args.daemon,
        args.client_cpu,
        args.target_cpu,
        args.file,
        args.groups,
        args.block_seconds,
    )
    make_file(how.file)
    made = []
    for name, make in figures(how).items():
        if args.only in name:
            made.append(make(name))
            print(line(made[-1]), flush=True)
    met = sum(figure.met for figure in made)
    print(f"{met} of {len(made)} bars are met")
    if args.json:
        entries = [{**asdict(figure), "met": figure.met} for figure in made]
        args.json.write_text(json.dumps(entries, indent=1) + "\n")
    return 1 if args.strict and met < len(made) else 0


if __name__ == "__main__":
    sys.exit(main())
