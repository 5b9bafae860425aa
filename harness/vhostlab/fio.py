# SPDX-License-Identifier: BSD-3-Clause
"""Runs fio job files, inside a guest or here, and reads what fio says about them.

Concepts: a *job file* is a plain ``.fio`` file of ``fio-jobs/``; device and run time reach it as
``${DEVICE}`` and ``${RUNTIME}``. fio's own json+ output is kept as a file and parsed once, here,
into frozen dataclasses; nobody else reads fio's JSON.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vhostlab.errors import HarnessError
from vhostlab.process import Process, tail
from vhostlab.results import write_text

#: Where job files and results live inside a guest (the micro guest's root is memory).
GUEST_DIR = "/run/vhostlab"

#: What fio calls the three ways data can go.
DIRECTIONS = ("read", "write", "trim")

#: The first version whose json+ carries latency in nanoseconds together with its histogram bins.
OLDEST_FIO = (3, 0)

#: Everything but ``runtime`` that a job may take on top of its measured time: start of the process,
#: lay-out, and writing out the result, all of it slow under TCG.
FIO_START_STOP_S = 60.0


class FioError(HarnessError):
    """fio is missing, failed, or said something that is not a result."""


class Completion(Protocol):
    """What a finished guest command tells (satisfied by ``vhostlab.guest.Completed``)."""

    @property
    def rc(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


class Runner(Protocol):
    """The part of a guest that fio needs (satisfied by ``vhostlab.guest.Guest``)."""

    async def run(self, cmd: str, timeout_s: float = ..., check: bool = ...) -> Completion: ...
    async def read_file(self, path: str) -> bytes: ...
    async def write_file(self, path: str, data: bytes) -> None: ...


@dataclass(frozen=True)
class Version:
    """A fio version such as 3.33; suffixes of development builds are kept in ``text`` only."""

    text: str
    number: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``fio-3.33`` or ``fio-3.42-15-gabc``; raises FioError for anything else."""
        match = re.search(r"fio-(\d+)\.(\d+)", text)
        if match is None:
            raise FioError(f"not a fio version: {text.strip()[:80]!r}")
        return cls(text.strip(), (int(match[1]), int(match[2])))


@dataclass(frozen=True)
class Latency:
    """Completion latency of one direction. Times are nanoseconds."""

    samples: int
    mean_ns: float
    stddev_ns: float
    min_ns: int
    max_ns: int
    percentiles: Mapping[float, int]
    bins: Mapping[int, int]

    def percentile(self, which: float) -> int | None:
        """The value at ``which`` per cent, or None when fio was not asked for it."""
        return self.percentiles.get(which)


@dataclass(frozen=True)
class Direction:
    """What went one way (read, write or trim) in one job."""

    name: str
    ios: int
    bytes: int
    iops: float
    bytes_per_s: float
    runtime_ms: int
    short_ios: int
    dropped_ios: int
    latency: Latency


@dataclass(frozen=True)
class Job:
    """One job (or one reporting group) of a fio run."""

    name: str
    error: int
    directions: tuple[Direction, ...]

    def direction(self, name: str) -> Direction | None:
        """The named direction when the job did any I/O that way."""
        return next((d for d in self.directions if d.name == name), None)


@dataclass(frozen=True)
class Run:
    """One whole fio run, parsed."""

    version: Version
    jobs: tuple[Job, ...]

    def main_direction(self) -> Direction:
        """The direction with the most I/O: what a pure read or pure write job is about."""
        best = [d for job in self.jobs for d in job.directions]
        if not best:
            raise FioError("fio reports that no I/O was done at all")
        return max(best, key=lambda d: d.ios)


def _latency(raw: Mapping[str, Any]) -> Latency:
    return Latency(
        samples=int(raw["N"]),
        mean_ns=float(raw["mean"]),
        stddev_ns=float(raw["stddev"]),
        min_ns=int(raw["min"]),
        max_ns=int(raw["max"]),
        percentiles={float(k): int(v) for k, v in raw.get("percentile", {}).items()},
        bins={int(k): int(v) for k, v in raw.get("bins", {}).items()},
    )


def _direction(name: str, raw: Mapping[str, Any]) -> Direction:
    return Direction(
        name=name,
        ios=int(raw["total_ios"]),
        bytes=int(raw["io_bytes"]),
        iops=float(raw["iops"]),
        bytes_per_s=float(raw["bw_bytes"]),
        runtime_ms=int(raw["runtime"]),
        short_ios=int(raw["short_ios"]),
        dropped_ios=int(raw["drop_ios"]),
        latency=_latency(raw["clat_ns"]),
    )


def _job(raw: Mapping[str, Any]) -> Job:
    directions = [_direction(n, raw[n]) for n in DIRECTIONS if n in raw and raw[n]["total_ios"]]
    return Job(name=str(raw["jobname"]), error=int(raw["error"]), directions=tuple(directions))


def document(text: str) -> Any:
    """The JSON in fio's output. fio may print warnings before it even into its output file; they
    are passed over. Raises FioError when there is none."""
    start = text.find("{")
    if start < 0:
        raise FioError(f"fio wrote no JSON, but: {text.strip()[:200]!r}")
    try:
        return json.JSONDecoder().raw_decode(text[start:])[0]
    except json.JSONDecodeError as error:
        raise FioError(f"fio's JSON does not parse: {error}") from error


def parse(text: str) -> Run:
    """Read fio's ``--output-format=json+``.

    Raises FioError when there is no document, or one that lacks what every json+ result has.
    """
    raw = document(text)
    try:
        jobs = tuple(_job(job) for job in raw["jobs"])
        return Run(version=Version.parse(str(raw["fio version"])), jobs=jobs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__} {error}"
        raise FioError(f"fio's JSON is not a json+ result: {what}") from error


async def probe(guest: Runner) -> Version:
    """The guest's fio version; raises FioError when it has none or one that is too old."""
    done = await guest.run("fio --version", timeout_s=60.0, check=False)
    if done.rc != 0:
        said = (done.stderr or done.stdout).strip()[:200]
        raise FioError(f"the guest has no working fio: {said}")
    version = Version.parse(done.stdout)
    if version.number < OLDEST_FIO:
        raise FioError(f"the guest's {version.text} is too old, 3.0 or later is needed")
    return version


def command(job_path: str, output_path: str, device: str, runtime_s: int, *extra: str) -> str:
    """The shell command that runs a job file; what a replay line shows and what is really run."""
    argv = ["fio", "--output-format=json+", f"--output={output_path}", *extra, job_path]
    return f"DEVICE={shlex.quote(device)} RUNTIME={runtime_s} {shlex.join(argv)}"


def _job_text(job_file: Path) -> bytes:
    try:
        return job_file.read_bytes()
    except OSError as error:
        raise FioError(f"cannot read the job file {job_file}: {error.strerror}") from error


async def run(
    guest: Runner,
    job_file: Path,
    device: str,
    runtime_s: int,
    keep: Path,
    *extra: str,
    more_s: float = FIO_START_STOP_S,
) -> Run:
    """Run ``job_file`` against ``device`` inside the guest; json+ goes to ``keep`` on the host.
    ``extra`` are options of fio, ``more_s`` what it may take beyond its run time.

    Raises FioError when fio fails or any of its jobs reports an I/O or verify error; the output is
    kept in that case too.
    """
    body = _job_text(job_file)
    job_path = f"{GUEST_DIR}/{job_file.name}"
    output_path = f"{GUEST_DIR}/{keep.name}"
    await guest.run(f"mkdir -p {GUEST_DIR}", timeout_s=30.0, check=True)
    await guest.write_file(job_path, body)
    line = command(job_path, output_path, device, runtime_s, *extra)
    done = await guest.run(line, timeout_s=runtime_s + more_s, check=False)
    said = (done.stderr.strip() or done.stdout.strip())[:400]
    try:
        text = (await guest.read_file(output_path)).decode(errors="replace")
    except HarnessError as error:
        raise FioError(f"fio left no result (exit status {done.rc}): {said}") from error
    write_text(text, keep)
    return _judged(text, done.rc, device, said)


def _judged(text: str, rc: int, device: str, said: str) -> Run:
    """The run behind fio's output; raises FioError when fio or one of its jobs failed."""
    if rc != 0:
        said = said or text[: max(text.find("{"), 0)].strip()[:400]
        raise FioError(f"fio on {device} failed (exit status {rc}): {said}")
    result = parse(text)
    for job in result.jobs:
        if job.error:
            raise FioError(f"fio job {job.name} ended with error {job.error}: {said}")
    return result


async def run_here(
    program: str, job_path: Path, device: str, runtime_s: int, keep: Path, deadline_s: float
) -> Run:
    """Run a job file in this process's world; json+ goes to ``keep``, what fio says to a log.

    Raises FioError as ``run`` does, and when fio does not end within its deadline.
    """
    keep.parent.mkdir(parents=True, exist_ok=True)
    log = keep.with_suffix(".log")
    argv = [program, "--output-format=json+", f"--output={keep}", str(job_path)]
    environment = {"DEVICE": device, "RUNTIME": str(runtime_s)}
    async with Process(argv, log, cwd=keep.parent, env=environment) as process:
        try:
            rc = await process.wait(deadline_s)
        except TimeoutError:
            raise FioError(f"fio on {device} did not end within {deadline_s:g} s") from None
    return _judged(_written(keep, rc, log), rc, device, tail(log, 5).strip()[:400])


def _written(path: Path, rc: int, log: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        said = tail(log, 5).strip()[:400]
        raise FioError(f"fio left no result (exit status {rc}): {said}") from error
