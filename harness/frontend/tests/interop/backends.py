# SPDX-License-Identifier: BSD-3-Clause
"""The programs under test and the back-ends that they are tested against."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[4]
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 20.0
RUN_DEADLINE_S = 120.0
INTERVAL_S = 0.01

QSD = "qemu-storage-daemon"
OTHER_QSD = os.environ.get("QSD_BINARY")
"""One more to test against, of another version than the one that is installed."""
DISK_MB = 16


def program(name: str) -> Path:
    """$FRONTEND_BIN, else the build with sanitizers, else the release build."""
    places = [ROOT / f"build/{flavour}/harness/frontend" for flavour in ("asan", "release")]
    if named := os.environ.get("FRONTEND_BIN"):
        places = [Path(named)]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"{name} is not built (run ci/build.sh asan); looked in {places}")


def daemon() -> Path:
    """$VHOST_BINARY, else the daemon of the same build."""
    if named := os.environ.get("VHOST_BINARY"):
        return Path(named).absolute()
    return program("vhost-bench").parents[2] / "target/app/vhost/vhost"


def run(name: str, *args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs one of the programs; with `check`, its exit status must be 0."""
    argv = [str(program(name)), *map(str, args)]
    env = {**os.environ, "VHOST_BINARY": str(daemon())}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=RUN_DEADLINE_S, env=env)
    if check:
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def run_json(name: str, *args: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run(name, *args).stdout)
    return result


@dataclass(frozen=True)
class Disk:
    """What a back-end serves."""

    kind: str
    """malloc, aio or null"""
    device: str = "blk"
    queues: int = 4


class Backend:
    """A back-end with one disk, for the length of a `with` block; it must end with status 0."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.directory = directory
        self.disk = disk
        self.socket = directory / "sock"
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def argv(self) -> list[str]:
        raise NotImplementedError

    def image(self) -> Path:
        path = self.directory / "disk.raw"
        with path.open("wb") as file:
            file.truncate(DISK_MB << 20)
        return path

    def __enter__(self) -> Self:
        argv = self.argv()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + START_DEADLINE_S
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{argv} did not start:\n{self.log.read_text()}")
            time.sleep(INTERVAL_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            status = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = -9
        if kind is None:
            assert status == 0, f"exit status {status}:\n{self.log.read_text()}"


class Vhost(Backend):
    """Our daemon."""

    def _bdev(self) -> tuple[str, str]:
        match self.disk.kind:
            case "malloc":
                return f"[Malloc]\n  NumberOfLuns 1\n  LunSizeInMB {DISK_MB}\n", "Malloc0"
            case "aio":
                return f'[AIO]\n  AIO "{self.image()}" AIO0\n', "AIO0"
            case _:
                return f"[Null]\n  Dev Null0 {DISK_MB}\n", "Null0"

    def argv(self) -> list[str]:
        section, name = self._bdev()
        scsi = self.disk.device == "scsi"
        conf = self.directory / "conf"
        conf.write_text(
            f"[Rpc]\n  Enable No\n{section}"
            f"[{'VhostScsi' if scsi else 'VhostBlk'}0]\n  Name sock\n"
            f"  Dev {'0 ' if scsi else ''}{name}\n  Queues {self.disk.queues}\n"
        )
        return [str(daemon()), "-c", str(conf), "-S", str(self.directory)]


class StorageDaemon(Backend):
    """qemu-storage-daemon."""

    def __init__(self, directory: Path, disk: Disk, binary: str = QSD) -> None:
        super().__init__(directory, disk)
        self.binary = binary

    def argv(self) -> list[str]:
        if self.disk.kind == "null":
            node = f"null-co,node-name=disk,size={DISK_MB << 20}"
        else:
            node = f"file,node-name=disk,filename={self.image()},discard=unmap"
        return [
            self.binary,
            *("--object", "iothread,id=io"),
            *("--blockdev", node),
            "--export",
            "vhost-user-blk,id=export,node-name=disk,addr.type=unix,"
            f"addr.path={self.socket},writable=on,num-queues={self.disk.queues},iothread=io",
        ]
