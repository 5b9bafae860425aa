# SPDX-License-Identifier: BSD-3-Clause
"""Two revisions of the source tree, and what differs between them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vhostlab.errors import HarnessError, Unavailable

#: What the daemon is built from. Tests and fuzz targets lie in `target` too.
_DAEMON = ("target/lib", "target/app", "target/include", "target/meson.build")
_BUILD = ("meson.build", "meson_options.txt")


class NoRevision(HarnessError):
    """A revision that is not in this repository."""

    exit_status = 2


def git(root: Path, *words: str) -> str:
    """What git says; it must succeed."""
    try:
        done = subprocess.run(
            ["git", "-c", "core.quotepath=off", *words], cwd=root, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise Unavailable("git was not found", "run ci/setup.sh") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise HarnessError(f"git {words[0]} failed: {said[-1] if said else 'it gave no reason'}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Revision:
    """A commit. ``dirty``: it was made of files that are not committed (git stash create)."""

    name: str
    commit: str
    subject: str
    dirty: bool = False

    def record(self) -> dict[str, object]:
        return {
            "name": self.name,
            "commit": self.commit,
            "subject": self.subject,
            "dirty": self.dirty,
        }


def resolve(root: Path, name: str) -> Revision:
    """The commit of that name."""
    try:
        commit = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except HarnessError:
        shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
        raise NoRevision(
            f"there is no revision {name} here",
            "the clone is shallow: git fetch --unshallow" if shallow else "see git log",
        ) from None
    return Revision(name, commit, git(root, "log", "-1", "--format=%s", commit))


def here(root: Path) -> Revision:
    """HEAD with all changes of files that git knows, as a commit of no branch."""
    head = resolve(root, "HEAD")
    made = git(root, "stash", "create")
    return Revision("HEAD and uncommitted changes", made, head.subject, True) if made else head


def start(root: Path, base: Revision, head: Revision) -> Revision:
    """Where head left base, which may have gone on since: what came there is no change of head's.
    Two revisions one of which is the other's past are compared as they are."""
    try:
        left = git(root, "merge-base", base.commit, head.commit)
    except HarnessError:
        return base  # they have nothing in common
    if left in (base.commit, head.commit):
        return base
    subject = git(root, "log", "-1", "--format=%s", left)
    return Revision(f"where {head.name} left {base.name}", left, subject)


def changed(root: Path, base: Revision, head: Revision) -> list[str]:
    """Paths that differ."""
    names = git(root, "diff", "--name-only", "--no-renames", base.commit, head.commit)
    return names.splitlines()


def is_daemon(path: str) -> bool:
    """Can a change of this file change the daemon?"""
    if path in _BUILD:
        return True
    if not path.startswith(tuple(f"{top}/" if "." not in top else top for top in _DAEMON)):
        return False
    name = PurePosixPath(path).name
    return not name.endswith("_test.c") and not path.endswith((".md", ".conf.in"))


def is_counted(path: str) -> bool:
    """Can a change of this file change which lines of the target the tests run?"""
    return path.startswith(("target/", "harness/frontend/", "meson"))
