# SPDX-License-Identifier: BSD-3-Clause
"""The programs of both arms: built from a revision, with the same compiler and flags, or given.

A revision is exported into a tree of its own in the cache and built there; only the daemon is, and
only it is kept. The tree lies where the next build of the same revision will lie, so that ccache
knows its objects again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images.elf import is_elf
from vhostlab.paths import cache_dir, source_dir
from vhostlab.process import Process, find_program, output_bytes, output_of, tail

WORKTREE = "worktree"

#: What ci/build.sh calls `release`: what users run.
RELEASE = ("-Ddebug=true", "-Doptimization=3", "-Denv=dpdk")
DAEMON = "target/app/vhost/vhost"

SETUP_DEADLINE_S = 120.0
BUILD_DEADLINE_S = 1200.0
GIT_DEADLINE_S = 60.0

#: Daemons that are kept; the least recently used ones go.
KEPT = 32

_PT_NOTE, _NT_GNU_BUILD_ID = 4, 3


@dataclass(frozen=True)
class Source:
    """What an arm is to be: a revision (or the worktree) with meson options, or a program."""

    revision: str = ""
    commit: str = ""
    options: tuple[str, ...] = ()
    program: Path | None = None

    @property
    def name(self) -> str:
        if self.program is not None:
            return str(self.program)
        return " ".join([self.revision, *self.options])


@dataclass(frozen=True)
class Build:
    """The program of an arm, and where it came from."""

    revision: str
    commit: str
    build_id: str
    options: tuple[str, ...]
    program: Path

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "options": list(self.options), "program": str(self.program)}


async def _git(*words: str) -> str:
    git = find_program("git", "install git, or give --base-binary and --head-binary")
    return (await output_of([git, "-C", str(source_dir()), *words], GIT_DEADLINE_S)).strip()


async def resolve(revision: str, options: Sequence[str], program: Path | None) -> Source:
    """Bad input is found here, before anything is built."""
    if program is not None:
        return _given(program)
    if revision == WORKTREE:
        return Source(WORKTREE, await _worktree_commit(), tuple(options))
    try:
        commit = await _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except Unavailable:
        raise
    except HarnessError:
        hint = f"give a git revision, `{WORKTREE}`, or --base-binary and --head-binary"
        raise HarnessError(f"'{revision}' is no revision of {source_dir()}", hint) from None
    return Source(revision, commit, tuple(options))


def _given(program: Path) -> Source:
    path = program.absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise HarnessError(f"{program} is no program", "give the path of a built daemon")
    return Source(str(program), program=path)


async def _worktree_commit() -> str:
    try:
        commit = await _git("rev-parse", "HEAD")
        return commit + ("-dirty" if await _git("status", "--porcelain") else "")
    except Unavailable:
        raise
    except HarnessError:
        return ""


def build_id(program: Path) -> str:
    """What the linker wrote into the program; a hash of it where there is no such note."""
    data = program.read_bytes()
    if is_elf(data):
        (table,) = struct.unpack_from("<Q", data, 0x20)
        size, count = struct.unpack_from("<HH", data, 0x36)
        for index in range(count):
            kind, _, offset, _, _, length = struct.unpack_from(
                "<IIQQQQ", data, table + index * size
            )
            if kind == _PT_NOTE and (found := _note(data[offset : offset + length])):
                return found
    return "sha256:" + hashlib.sha256(data).hexdigest()[:32]


def _note(notes: bytes) -> str:
    at = 0
    while at + 12 <= len(notes):
        name, length, kind = struct.unpack_from("<III", notes, at)
        begin = at + 12 + (name + 3) // 4 * 4
        if kind == _NT_GNU_BUILD_ID and notes[at + 12 : at + 12 + name] == b"GNU\0":
            return notes[begin : begin + length].hex()
        at = begin + (length + 3) // 4 * 4
    return ""


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


async def _run(argv: Sequence[str], log: Path, deadline_s: float, what: str) -> None:
    environment = {"CCACHE_NOHASHDIR": "1"}
    async with Process(argv, log, env=environment) as process:
        try:
            status = await process.wait(deadline_s)
        except TimeoutError:
            raise HarnessError(
                f"{what} did not end within {deadline_s:g} s", f"see {log}"
            ) from None
    if status != 0:
        words = tail(log, 3).strip().replace("\n", "; ")
        raise HarnessError(f"{what} failed: {words}", f"see {log}")


async def _export(source: Source, tree: Path) -> None:
    _empty(tree)
    if source.revision == WORKTREE:
        await asyncio.to_thread(_copy, await _tracked(), tree)
        return
    git = find_program("git", "install git")
    archive = tree / ".export.tar"
    words = ["archive", "--format=tar", "-o", str(archive), source.commit]
    await output_bytes([git, "-C", str(source_dir()), *words], GIT_DEADLINE_S)
    await output_bytes(["tar", "-xf", str(archive), "-C", str(tree)], GIT_DEADLINE_S)
    archive.unlink()


def _empty(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)


async def _tracked() -> list[str]:
    """What of the worktree belongs to the sources, new files too."""
    listing = await _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return [name for name in listing.split("\0") if name]


def _copy(names: Sequence[str], tree: Path) -> None:
    for name in names:
        source = source_dir() / name
        if source.is_file():
            to = tree / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to)


async def build(source: Source, logs: Path) -> Build:
    """The program of an arm, from the cache when it was built before."""
    if source.program is not None:
        path = source.program
        return Build(source.revision, "", build_id(path), (), path)
    fresh = source.revision == WORKTREE
    identity = "\n".join([source.commit, *RELEASE, *source.options])
    if fresh:
        identity = "\n".join([str(source_dir()), *RELEASE, *source.options])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    root = cache_dir() / "ab"
    kept = root / "programs" / key / "vhost"
    async with _locked(root / "locks" / key):
        if fresh or not kept.is_file():
            tree = root / "trees" / key
            try:
                await _export(source, tree)
                await _make(source, tree, logs)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree / "build-ab" / DAEMON, kept)
            finally:
                shutil.rmtree(tree, ignore_errors=True)
        os.utime(kept)
    _prune(root / "programs")
    return Build(source.revision, source.commit, build_id(kept), source.options, kept)


async def _make(source: Source, tree: Path, logs: Path) -> None:
    log = _log(logs, source)
    where = str(tree / "build-ab")
    meson = find_program("meson", "run ci/setup.sh, which installs what a build needs")
    ninja = find_program("ninja", "run ci/setup.sh, which installs what a build needs")
    what = f"the build of {source.name}"
    setup = [meson, "setup", where, str(tree), *RELEASE, *source.options]
    await _run(setup, log, SETUP_DEADLINE_S, what)
    await _run([ninja, "--quiet", "-C", where, DAEMON], log, BUILD_DEADLINE_S, what)


def _log(logs: Path, source: Source) -> Path:
    logs.mkdir(parents=True, exist_ok=True)
    made = len(list(logs.glob("build-*")))
    return logs / f"build-{source.commit[:12] or WORKTREE}-{made}.log"


def _prune(programs: Path) -> None:
    found = sorted(
        programs.iterdir(),
        key=lambda p: (p / "vhost").stat().st_mtime if (p / "vhost").exists() else 0.0,
    )
    for old in found[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def place(made: Build, to: Path) -> Build:
    """A copy of the program, so that both arms' paths have the same length: what a process gets
    from its command line shifts its stack, and with it a benchmark."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(made.program, to)
    return Build(made.revision, made.commit, made.build_id, made.options, to)
