# SPDX-License-Identifier: BSD-3-Clause
"""fio with the engine ``vhost_user``: job files against a target's socket, with no guest.

Concepts: a job file of ``fio-jobs/`` names a block device of a guest. :func:`job_text` makes the
same job out of it for a socket; nothing but the engine and what it drives differs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhostlab.errors import Unavailable
from vhostlab.fio import FioError
from vhostlab.paths import source_dir
from vhostlab.target import Controller

#: Options of a job that say what it is run on.
_PLACE = frozenset({"filename", "ioengine"})


def find_engine() -> Path:
    """The engine, built; $VHOSTLAB_FIO_ENGINE names another build of it."""
    if own := os.environ.get("VHOSTLAB_FIO_ENGINE"):
        path = Path(own).absolute()
    else:
        path = source_dir() / "build/release/harness/frontend/fio/vhost_user.so"
    if not path.is_file():
        raise Unavailable(f"the fio engine is not built: {path} is missing", "run `make`")
    return path


@dataclass(frozen=True)
class Place:
    """A disk as the engine reaches it."""

    socket: Path
    device: str
    lun: int = 0

    @classmethod
    def of(cls, controller: Controller, disk: str, socket: Path) -> Place:
        """The disk of that name behind a controller."""
        names = [d.name for d in controller.disks]
        lun = names.index(disk) if controller.device == "scsi" else 0
        return cls(socket, controller.device, lun)


def other_cores() -> str:
    """The cores for fio where there are two or more: not the first, on which a target runs."""
    cores = sorted(os.sched_getaffinity(0))
    return ",".join(str(core) for core in cores[1:])


def job_text(
    text: str,
    engine: Path,
    place: Place,
    *,
    poll: bool = False,
    ring: str = "split",
    more: Sequence[str] = (),
) -> str:
    """The job file ``text`` for a socket. Its jobs are threads, which share the connection.

    ``more``: other options of the engine or of fio, for all jobs.
    """
    options = [
        f"ioengine=external:{engine}",
        f"socket={place.socket}",
        f"device={place.device}",
        "thread=1",
    ]
    options += [f"lun={place.lun}"] if place.device == "scsi" else []
    options += ["poll=1"] if poll else []
    options += [f"ring={ring}"] if ring != "split" else []
    options += more
    return _with(text, options, _PLACE)


def file_job_text(text: str, path: Path) -> str:
    """The same job for a file of this host: bare fio, kept off the first core all the same."""
    return _with(text, [f"filename={path}"], frozenset({"filename"}))


def _with(text: str, options: list[str], replaced: frozenset[str]) -> str:
    """The job with other options in its [global] section."""
    cores = other_cores()
    options = [*options, *([f"cpus_allowed={cores}"] if cores else [])]
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in replaced]
    at = next((n for n, line in enumerate(kept) if line.strip() == "[global]"), None)
    if at is None:
        return "\n".join(["[global]", *options, *kept]) + "\n"
    return "\n".join([*kept[: at + 1], *options, *kept[at + 1 :]]) + "\n"


def write_job(
    job_file: Path,
    to: Path,
    engine: Path,
    place: Place,
    *,
    poll: bool = False,
    ring: str = "split",
    more: Sequence[str] = (),
) -> None:
    """Make the job file ``to`` out of one of fio-jobs."""
    try:
        text = job_file.read_text()
    except OSError as error:
        raise FioError(f"cannot read the job file {job_file}: {error.strerror}") from error
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(job_text(text, engine, place, poll=poll, ring=ring, more=more))
