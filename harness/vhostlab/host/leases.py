# SPDX-License-Identifier: BSD-3-Clause
"""Leases on what two runs on one machine must not share: cores and huge pages.

Concepts: the *ledger* is one file in the run-time directory, changed only under its lock. An entry
belongs to a process (its id and its start time, so that a reused id is not mistaken for it); the
entries of processes that are gone count for nothing, so a killed run leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vhostlab.errors import Unavailable
from vhostlab.host.facts import hugepage_pools
from vhostlab.paths import runtime_dir
from vhostlab.wait import until

HUGEPAGE_HINT = (
    "reserve some (as root: echo N > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages) "
    "or run without huge pages"
)


@dataclass(frozen=True)
class Lease:
    """What one holder has."""

    number: int
    pid: int
    started: int
    cores: tuple[int, ...] = ()
    hugepages: int = 0
    page_kib: int = 0


class Leases:
    """Takes and gives back. The total is what this machine has, or what the tests say."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        cores: tuple[int, ...] | None = None,
        free_pages: Callable[[int], int] | None = None,
    ) -> None:
        self._ledger = (directory or runtime_dir()) / "leases.json"
        self._cores = cores if cores is not None else tuple(sorted(os.sched_getaffinity(0)))
        self._free_pages = free_pages or _free_pages

    @asynccontextmanager
    async def cores(self, count: int, deadline_s: float = 600.0) -> AsyncIterator[tuple[int, ...]]:
        """``count`` cores that nobody else has; waits for others to give theirs back."""
        if count > len(self._cores):
            raise Unavailable(
                f"{count} cores are needed, this machine has {len(self._cores)}",
                "ask for fewer cores",
            )

        async def take() -> Lease | None:
            with self._open() as leases:
                taken = {core for lease in leases for core in lease.cores}
                free = [core for core in self._cores if core not in taken]
                if len(free) < count:
                    return None
                return _add(leases, cores=tuple(free[:count]))

        lease = await until(f"lease on {count} cores", deadline_s, take)
        try:
            yield lease.cores
        finally:
            self._give_back(lease)

    @asynccontextmanager
    async def hugepages(
        self, count: int, page_kib: int = 2048, deadline_s: float = 600.0
    ) -> AsyncIterator[int]:
        """``count`` huge pages that nobody else was promised; waits while others hold them.

        Pages that a holder uses already are free no more and are then counted twice, so a lease
        is taken before the memory and the count is on the safe side.
        """

        async def take() -> Lease | None:
            with self._open() as leases:
                promised = sum(e.hugepages for e in leases if e.page_kib == page_kib)
                free = self._free_pages(page_kib)
                if free - promised >= count:
                    return _add(leases, hugepages=count, page_kib=page_kib)
                if promised == 0:
                    raise Unavailable(
                        f"{count} huge pages of {page_kib} KiB are needed, {free} are free",
                        HUGEPAGE_HINT,
                    )
                return None

        lease = await until(f"lease on {count} huge pages", deadline_s, take)
        try:
            yield count
        finally:
            self._give_back(lease)

    def held(self) -> tuple[Lease, ...]:
        """All leases of living processes."""
        with self._open() as leases:
            return tuple(leases)

    def _give_back(self, lease: Lease) -> None:
        with self._open() as leases:
            leases[:] = [entry for entry in leases if entry.number != lease.number]

    @contextmanager
    def _open(self) -> Iterator[list[Lease]]:
        """The living entries, under the lock; what the caller leaves in the list is written."""
        with os.fdopen(self._descriptor(), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = _parse(file.read())
            leases = [lease for lease in before if start_time(lease.pid) == lease.started]
            yield leases
            if leases != before:
                file.seek(0)
                file.truncate()
                file.write(json.dumps([asdict(lease) for lease in leases]))

    def _descriptor(self) -> int:
        """The ledger, opened; made for everybody when there is none.

        O_CREAT only when it must be: in a sticky directory the kernel refuses it for files of
        others (fs.protected_regular), even to root.
        """
        while True:
            with suppress(FileNotFoundError):
                return os.open(self._ledger, os.O_RDWR | os.O_CLOEXEC)
            with suppress(FileExistsError):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(self._ledger, flags, 0o666)
                os.fchmod(descriptor, 0o666)
                return descriptor


def _add(
    leases: list[Lease], cores: tuple[int, ...] = (), hugepages: int = 0, page_kib: int = 0
) -> Lease:
    pid = os.getpid()
    number = 1 + max((lease.number for lease in leases), default=0)
    lease = Lease(number, pid, start_time(pid) or 0, cores, hugepages, page_kib)
    leases.append(lease)
    return lease


def _parse(text: str) -> list[Lease]:
    """The entries of the ledger; one that a crash left half-written counts as empty."""
    try:
        entries = json.loads(text or "[]")
        return [Lease(**{**entry, "cores": tuple(entry["cores"])}) for entry in entries]
    except (ValueError, TypeError, KeyError):
        return []


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot; None: there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _free_pages(page_kib: int) -> int:
    return next((pool.free for pool in hugepage_pools() if pool.size_kib == page_kib), 0)
