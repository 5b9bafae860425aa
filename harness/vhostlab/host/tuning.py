# SPDX-License-Identifier: BSD-3-Clause
"""Settings of the host that make figures steadier: changed for a run, recorded, and undone.

Concepts: a *knob* is a file of /proc or /sys and the value that a measurement wants. What a run
changes is written to the *journal* before it is changed, and the journal goes when all is undone.
It belongs to a process: when that is gone, the next one that tunes, or ``vhostlab doctor
--undo-tuning``, undoes what is in it. A setting that somebody else has changed meanwhile stays.
"""

from __future__ import annotations

import fcntl
import fnmatch
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host.leases import start_time
from vhostlab.host.root import Root
from vhostlab.paths import runtime_dir

#: Waking up from a state of idleness that takes longer (in µs) shows in the latency of a disk.
DEEP_IDLE_US = 10

HUGEPAGES = "proc/sys/vm/nr_hugepages"


@dataclass(frozen=True)
class Knob:
    """Files, the value that they are to have, and how the change is called in a result."""

    name: str
    pattern: str
    value: str
    #: Whether a file of the pattern is one to be changed.
    applies: Callable[[Root, str], bool] = lambda root, path: True


def _has_performance(root: Root, path: str) -> bool:
    there = root.read(path.replace("scaling_governor", "scaling_available_governors"))
    return not there or "performance" in there.split()


def _is_deep(root: Root, path: str) -> bool:
    return (root.number(path.replace("disable", "latency")) or 0) > DEEP_IDLE_US


def _is_always(root: Root, path: str) -> bool:
    return root.chosen(path) == "always"


_CPU = "sys/devices/system/cpu"

KNOBS: tuple[Knob, ...] = (
    Knob("governor", f"{_CPU}/cpu*/cpufreq/scaling_governor", "performance", _has_performance),
    Knob("no_turbo", f"{_CPU}/intel_pstate/no_turbo", "1"),
    Knob("boost", f"{_CPU}/cpufreq/boost", "0"),
    Knob("deep_idle_off", f"{_CPU}/cpu*/cpuidle/state*/disable", "1", _is_deep),
    # khugepaged moves memory about while something is measured, unless only who asks gets it
    Knob("thp", "sys/kernel/mm/transparent_hugepage/enabled", "madvise", _is_always),
    Knob("ksm", "sys/kernel/mm/ksm/run", "0"),
    Knob("numa_balancing", "proc/sys/kernel/numa_balancing", "0"),
    Knob("nmi_watchdog", "proc/sys/kernel/nmi_watchdog", "0"),
    Knob("watchdog", "proc/sys/kernel/watchdog", "0"),
)


@dataclass(frozen=True)
class Change:
    """One setting, before and after. ``done``: the kernel has taken it."""

    name: str
    path: str
    before: str
    after: str
    done: bool = False


@dataclass(frozen=True)
class Journal:
    """What a process has changed, or was about to."""

    pid: int
    started: int
    boot: str
    changes: tuple[Change, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether who tuned is still there and will undo it."""
        return start_time(self.pid) == self.started

    def recorded(self) -> dict[str, str]:
        """The changes for the environment of a result, many files of one knob as one."""
        found: dict[str, set[str]] = {}
        for change in self.changes:
            found.setdefault(change.name, set()).add(f"{change.before} -> {change.after}")
        return {f"host.tuning.{name}": ", ".join(sorted(words)) for name, words in found.items()}


@dataclass(frozen=True)
class Undone:
    """What became of a journal: the settings that were put back, and those that were not."""

    restored: tuple[Change, ...] = ()
    left: tuple[str, ...] = ()


class Tuning:
    """``with Tuning() as tuning:`` the host is tuned inside, and as it was behind.

    ``hugepages``: at least so many huge pages of the default size.
    """

    def __init__(
        self, *, hugepages: int = 0, root: Root | None = None, journal: Path | None = None
    ) -> None:
        self._root = root or Root()
        self._path = journal or default_journal()
        self._hugepages = hugepages
        self._journal = Journal(os.getpid(), start_time(os.getpid()) or 0, _boot(self._root))
        self.refused: list[str] = []
        """What the kernel did not take, one line each."""
        self.behind = Undone()
        """What was undone first, because who had done it was gone."""
        self.undone = Undone()

    @property
    def changes(self) -> tuple[Change, ...]:
        """What has been changed."""
        return self._journal.changes

    def told(self) -> list[str]:
        """What a person is to know about the tuning that has been applied."""
        changed = {c.name for c in self.changes}
        lines = [f"a killed run's {c.name} undone first: {c.path}" for c in self.behind.restored]
        lines.append(f"this host is tuned: {', '.join(sorted(changed)) or 'nothing had to change'}")
        return [*lines, *(f"not tuned: {words}" for words in self.refused)]

    def __enter__(self) -> Self:
        self.apply()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def apply(self) -> None:
        """Change what has another value. Raises Unavailable when nothing of it can be changed."""
        with _locked(self._path):
            there = _read(self._path)
            if there is not None and there.alive:
                raise HarnessError(
                    f"process {there.pid} has tuned this host and will undo it",
                    "wait for its end, or run without --tune",
                )
            if there is not None:
                self.behind = _undo(there, self._root)
            self._keep()
            try:
                self._turn()
            except BaseException:
                self._undo()
                raise
            if self.refused and not self.changes:
                self._undo()
                raise Unavailable(f"this host cannot be tuned: {self.refused[0]}", "run as root")

    def undo(self) -> Undone:
        """Put everything back."""
        with _locked(self._path):
            self._undo()
        return self.undone

    def _turn(self) -> None:
        for knob in KNOBS:
            for path in self._root.names(knob.pattern):
                if knob.applies(self._root, path):
                    self._set(knob.name, path, knob.value)
        pages = self._root.number(HUGEPAGES)
        if pages is not None and pages < self._hugepages:
            self._set("hugepages", HUGEPAGES, str(self._hugepages))
            got = self._root.number(HUGEPAGES) or 0
            if got < self._hugepages:
                self.refused.append(f"{self._hugepages} huge pages are wanted, there are {got}")

    def _set(self, name: str, path: str, value: str) -> None:
        before = self._root.chosen(path)
        if before in ("", value):
            return
        change = Change(name, path, before, value)
        kept = self._journal.changes
        self._keep(*kept, change)
        try:
            self._root.write(path, value)
        except OSError as error:
            self.refused.append(f"{path}: {error.strerror}")
            self._keep(*kept)
            return
        self._keep(*kept, replace(change, after=self._root.chosen(path), done=True))

    def _keep(self, *changes: Change) -> None:
        self._journal = replace(self._journal, changes=changes)
        _write(self._journal, self._path)

    def _undo(self) -> None:
        self.undone = _undo(self._journal, self._root)
        self._path.unlink(missing_ok=True)


def default_journal() -> Path:
    """One for the machine: two runs must not tune it at once."""
    return runtime_dir() / "tuning.json"


def recorded(journal: Path | None = None) -> dict[str, str]:
    """How this host is tuned now, for the environment of a result."""
    there = _read(journal or default_journal())
    return there.recorded() if there is not None and there.alive else {}


def undo_left_behind(root: Root | None = None, journal: Path | None = None) -> Undone | None:
    """Undo what a killed process left; None when there is nothing of the kind.

    Raises HarnessError when the process is alive.
    """
    path = journal or default_journal()
    with _locked(path):
        there = _read(path)
        if there is None:
            return None
        if there.alive:
            raise HarnessError(
                f"process {there.pid} has tuned this host and is still running",
                "it will undo that at its end",
            )
        undone = _undo(there, root or Root())
        path.unlink()
        return undone


def left_behind(journal: Path | None = None) -> Journal | None:
    """The journal of a process that is gone."""
    there = _read(journal or default_journal())
    return None if there is None or there.alive else there


def _undo(journal: Journal, root: Root) -> Undone:
    """Put the settings of a journal back, the last one first."""
    restored, left = [], []
    if journal.boot != _boot(root):
        return Undone()  # the machine has been started anew: nothing of it is left
    for change in reversed(journal.changes):
        now = root.chosen(change.path)
        if now == change.before:
            continue
        if change.done and now != change.after:
            left.append(f"{change.path} is {now}, which is not of this run: left as it is")
            continue
        try:
            root.write(change.path, change.before)
            restored.append(change)
        except OSError as error:
            left.append(f"{change.path}: {error.strerror}; it was {change.before}")
    return Undone(tuple(restored), tuple(left))


def _boot(root: Root) -> str:
    return root.read("proc/sys/kernel/random/boot_id")


@contextmanager
def _locked(journal: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = journal.with_suffix(".lock")
    try:
        descriptor = os.open(lock, flags, 0o600)
    except OSError as error:
        raise HarnessError(f"cannot lock {lock}: {error.strerror}", "run as its owner") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(journal: Journal, path: Path) -> None:
    """On the disk before anything it speaks of is done."""
    fresh = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(fresh, flags, 0o644), "w") as file:
        json.dump(asdict(journal), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _read(path: Path) -> Journal | None:
    """The journal that is there. One of another user, or about other files, is none of ours.

    The directory can be written to by everybody, and root will write what the journal says.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor) as file:
        if os.fstat(descriptor).st_uid not in (0, os.geteuid()):
            return None
        try:
            return _decode(json.load(file))
        except (ValueError, TypeError, KeyError):
            return None


def _decode(raw: Any) -> Journal:
    changes = tuple(Change(**change) for change in raw.pop("changes"))
    patterns = [*(knob.pattern for knob in KNOBS), HUGEPAGES]
    for change in changes:
        if ".." in change.path or not any(fnmatch.fnmatch(change.path, p) for p in patterns):
            raise ValueError(f"{change.path} is no setting of ours")
    return Journal(changes=changes, **raw)
