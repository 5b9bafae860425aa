# SPDX-License-Identifier: BSD-3-Clause
"""vhost-hostile, the targets that it starts, and what it reports of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
BUILD = ROOT / "build"
DAEMON = "target/app/vhost/vhost"
PROGRAM = BUILD / "asan/harness/frontend/hostile/vhost-hostile"
DEADLINE_S = 600.0
IDS = tuple(f"T{number}" for number in range(1, 86))

# How long each race goes on.
RACE_MS = int(os.environ.get("RACE_MS", "1000"))

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:handle_segv=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}

CONFIG = """\
[Global]
  ReactorMask 0x1
[Malloc]
  NumberOfLuns 4
  LunSizeInMB 16
[Null]
  Dev Null4k 64 4096
[VhostScsi0]
  Name scsi
  Dev 0 Malloc2
[VhostBlk0]
  Name blk
  Dev Malloc0
[VhostBlk1]
  Name bystander
  Dev Malloc1
[VhostBlk2]
  Name readonly
  Dev Malloc3
  ReadOnly Yes
[VhostBlk3]
  Name blocks-4k
  Dev Null4k
"""

LINE = re.compile(r"(not )?ok \d+ - (\S+) (.*?)(?: # SKIP (.*))?$")


@dataclass(frozen=True)
class Line:
    """One line of the report, with the comments that follow it."""

    id: str
    name: str
    passed: bool
    skipped: str
    comments: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join([f"{self.id} {self.name}", *self.comments])


@dataclass(frozen=True)
class Report:
    """What one run said."""

    setup: str
    status: int
    lines: tuple[Line, ...]
    planned: int
    bailed_out: str
    log: Path

    def of(self, case: str) -> list[Line]:
        return [line for line in self.lines if line.id == case]

    @property
    def log_tail(self) -> str:
        """The last words of the target."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])


def parse(setup: str, status: int, text: str, log: Path) -> Report:
    lines: list[Line] = []
    planned = 0
    bailed_out = ""
    for line in text.splitlines():
        if match := LINE.match(line):
            failed, case, name, skipped = match.groups()
            lines.append(Line(case, name, not failed, skipped or "", ()))
        elif line.startswith("# ") and lines:
            last = lines.pop()
            comments = (*last.comments, line[2:])
            lines.append(Line(last.id, last.name, last.passed, last.skipped, comments))
        elif line.startswith("1.."):
            planned = int(line[3:])
        elif line.startswith("Bail out!"):
            bailed_out = line
    return Report(setup, status, tuple(lines), planned, bailed_out, log)


def program() -> Path:
    if not PROGRAM.is_file():
        raise FileNotFoundError(f"{PROGRAM} is not built: run ci/build.sh asan")
    return PROGRAM


def run(
    setup: str, directory: Path, socket: str, target: list[str], *options: str, limit_ms: int = 1000
) -> Report:
    """Runs the program with a target of its own, which has a controller for the bystander."""
    log = directory / f"{setup}.log"
    argv = [str(program()), str(directory / socket)]
    argv += ["--bystander", str(directory / "bystander"), "--limit-ms", str(limit_ms), *options]
    with log.open("wb") as stderr:
        done = subprocess.run(
            [*argv, "--", *target],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **SANITIZERS},
            timeout=DEADLINE_S,
            check=False,
        )
    return parse(setup, done.returncode, done.stdout, log)


def cases(*names: str) -> list[str]:
    return [word for name in names for word in ("--case", name)]


@dataclass(frozen=True)
class Setup:
    """Our daemon in one build, one of its controllers, and the cases that are meant for it."""

    name: str
    flavour: str
    socket: str
    options: tuple[str, ...]

    def run(self, directory: Path) -> Report:
        daemon = BUILD / self.flavour / DAEMON
        if not daemon.is_file():
            raise FileNotFoundError(f"{daemon} is not built: run ci/build.sh {self.flavour}")
        directory.mkdir(exist_ok=True)
        config = directory / "vhost.conf"
        config.write_text(CONFIG)
        target = [str(daemon), "-c", str(config), "-S", str(directory)]
        return run(self.name, directory, self.socket, target, "--strict", *self.options)


def qemu_storage_daemon(directory: Path) -> list[str] | None:
    """Its command line with the same two controllers, if it is installed."""
    found = shutil.which("qemu-storage-daemon")
    if found is None:
        return None
    argv = [found]
    for name in ("blk", "bystander"):
        image = directory / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(16 << 20)
        argv += ["--blockdev", f"driver=file,node-name={name},filename={image},discard=unmap"]
        address = f"addr.type=unix,addr.path={directory / name}"
        export = f"type=vhost-user-blk,id=x-{name},node-name={name},{address},writable=on"
        argv += ["--export", export]
    return argv
