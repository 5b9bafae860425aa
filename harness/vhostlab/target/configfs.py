# SPDX-License-Identifier: BSD-3-Clause
"""Directories in configfs that are gone again when their maker is, however that ends.

Concepts: the *journal* of a maker is a file in which every step stands before it is done. Undoing
goes through it backwards. That is done by the maker when all is well; by its *guard*, a process
that waits for the maker's end, when it was killed; and by the next maker, when the guard was
killed, too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vhostlab.host.leases import start_time

#: How long the guard tries; QEMU, which uses what is to be removed, ends with the maker.
GUARD_DEADLINE_S = 60.0
GUARD_INTERVAL_S = 0.1

Kind = Literal["dir", "shared", "link", "nexus"]


class Tree:
    """Files of configfs. What a directory holds besides is the kernel's affair."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def mkdir(self, path: str) -> None:
        (self.root / path).mkdir()

    def rmdir(self, path: str) -> None:
        (self.root / path).rmdir()

    def write(self, path: str, text: str) -> None:
        """One write, as the kernel takes it."""
        descriptor = os.open(self.root / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def link(self, path: str, to: str) -> None:
        (self.root / path).symlink_to(self.root / to)

    def unlink(self, path: str) -> None:
        (self.root / path).unlink()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)


@dataclass(frozen=True)
class Step:
    """Something that was made, or is about to be. ``shared``: others may have come to use it."""

    kind: Kind
    path: str


class Journal:
    """The steps of one maker, on disk."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def of_this_process(cls, directory: Path, name: str) -> Journal:
        """Its name says whose it is."""
        pid = os.getpid()
        return cls(directory / f"configfs-{pid}-{start_time(pid)}-{name}.journal")

    def note(self, kind: Kind, path: str) -> None:
        """To be called before the step."""
        with self.file.open("a") as file:
            file.write(json.dumps([kind, path]) + "\n")

    def steps(self) -> list[Step]:
        """All of them; a line that a kill cut short was not followed by its step."""
        found: list[Step] = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.file.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    found.append(Step(*json.loads(line)))
        return found

    def undo(self, tree: Tree) -> list[str]:
        """Remove all that is there, last things first; what could not be removed yet."""
        left = [s.path for s in reversed(self.steps()) if not _undone(s, tree)]
        if not left:
            self.file.unlink(missing_ok=True)
        return left


def _undone(step: Step, tree: Tree) -> bool:
    if not tree.exists(step.path):
        return True
    try:
        match step.kind:
            case "link":
                tree.unlink(step.path)
            case "nexus":
                tree.write(step.path, "NULL")
            case "dir" | "shared":
                tree.rmdir(step.path)
    except OSError as error:
        if step.kind == "nexus":
            # there is none (any more); one that is in use keeps its directory, too
            return True
        in_use = error.errno in (errno.EBUSY, errno.ENOTEMPTY)
        return error.errno == errno.ENOENT or (step.kind == "shared" and in_use)
    return True


def left_behind(directory: Path) -> list[Journal]:
    """The journals of makers that are no more."""
    found = []
    for file in sorted(directory.glob("configfs-*.journal")):
        words = file.name.split("-")
        with contextlib.suppress(ValueError, IndexError):
            if start_time(int(words[1])) != int(words[2]):
                found.append(Journal(file))
    return found


class Guard:
    """A process that undoes a journal when this one has ended. It is in a session of its own."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._child = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        """Let it try by itself from now on."""
        assert self._child.stdin is not None
        self._child.stdin.close()

    def dismiss(self) -> None:
        """To be called when there is nothing left to undo: it looks, and ends."""
        self.release()
        self._child.wait()


def guard_command(root: Path, journal: Journal) -> list[str]:
    """The program of a guard."""
    return [sys.executable, "-m", __name__, str(root), str(journal.file)]


def guard(arguments: Sequence[str], kind: type[Tree] = Tree) -> int:
    """What a guard does: wait for the end of its standard input, then undo."""
    root, file = arguments
    sys.stdin.buffer.read()
    journal, tree = Journal(Path(file)), kind(Path(root))
    deadline = time.monotonic() + GUARD_DEADLINE_S
    while journal.undo(tree):
        if time.monotonic() > deadline:
            return 1
        time.sleep(GUARD_INTERVAL_S)
    return 0


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
