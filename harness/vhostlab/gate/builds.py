# SPDX-License-Identifier: BSD-3-Clause
"""Daemons of revisions, as users would build them. A build is kept, by what it was built from."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.gate import child
from vhostlab.gate.revisions import Revision, git
from vhostlab.process import find_program

DAEMON = "target/app/vhost/vhost"
#: The options of ci/build.sh release.
RELEASE = ("-Ddebug=true", "-Doptimization=3", "-Denv=dpdk")
_SOURCES = ("meson.build", "meson_options.txt", "target", "harness/frontend")


@dataclass(frozen=True)
class Built:
    """A daemon. ``build_id``: of its code and data, not of where and when it was built."""

    program: Path
    build_id: str
    version: str


#: Two trees of the same sources share what the compiler cache knows.
ENVIRONMENT = {"CCACHE_NOHASHDIR": "1"}


def run(argv: Sequence[str | Path], log: Path, cwd: Path) -> None:
    """A step of a build; the end of what it said is in the error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if child.run(argv, cwd=cwd, log=log, env=ENVIRONMENT).returncode != 0:
        words = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise HarnessError(f"the build failed: {words}", f"all of it is in {log}")


def key(root: Path, revision: Revision, options: Sequence[str]) -> str:
    """The same for the same sources and options."""
    parts = [git(root, "rev-parse", f"{revision.commit}:{path}") for path in _SOURCES]
    return hashlib.sha256("\n".join([*parts, *options]).encode()).hexdigest()[:16]


def build_id(program: Path) -> str:
    """A hash of what is loaded: no debug information, no linker's number of the file."""
    with tempfile.TemporaryDirectory(prefix="vhostlab-strip-") as directory:
        bare = Path(directory) / "vhost"
        subprocess.run(
            ["objcopy", "--strip-all", "--remove-section=.note.gnu.build-id", program, bare],
            check=True,
        )
        return hashlib.sha256(bare.read_bytes()).hexdigest()[:16]


def build(root: Path, store: Path, revision: Revision, options: Sequence[str]) -> Built:
    """Build the daemon of a revision, unless it lies in the store."""
    place = store / key(root, revision, options)
    program = place / DAEMON
    if not program.is_file():
        _make(root, place, revision, options)
    version = subprocess.run(
        [program, "--version"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    return Built(program, build_id(program), version)


def _make(root: Path, place: Path, revision: Revision, options: Sequence[str]) -> None:
    """Beside its place first: what is in the store is whole."""
    meson = find_program("meson", "run ci/setup.sh")
    ninja = find_program("ninja", "run ci/setup.sh")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=place.parent) as directory:
        made = Path(directory)
        tree, out, log = made / "source", made / "build", place.with_suffix(".log")
        log.unlink(missing_ok=True)
        tree.mkdir()
        archive = made / "source.tar"
        git(root, "archive", "--format=tar", f"--output={archive}", revision.commit)
        run(["tar", "-xf", archive, "-C", tree], log, root)
        run([meson, "setup", *RELEASE, *options, out, tree], log, tree)
        run([ninja, "-C", out, DAEMON], log, tree)
        kept = made / "kept"
        (kept / DAEMON).parent.mkdir(parents=True)
        shutil.copy2(out / DAEMON, kept / DAEMON)
        if not place.is_dir():
            kept.rename(place)
