# SPDX-License-Identifier: BSD-3-Clause
"""What exactly was measured: the program's bytes, and the revision of the tree it was built in.

A version such as 0.1.0 stands for a hundred builds. A history needs to tell them apart.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import TargetRecord
from vhostlab.target import Target

#: Digits of the program's hash.
DIGITS = 16

GIT_DEADLINE_S = 20.0


def program_hash(program: Path) -> str:
    """A short hash of a program; empty where it cannot be read."""
    try:
        with program.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    except OSError:
        return ""


def revision(directory: Path) -> str:
    """What git calls the state of a directory; empty where it knows nothing of it."""
    argv = [
        "git",
        "--no-optional-locks",
        "-C",
        str(directory),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=GIT_DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def record(target: type[Target], version: str) -> TargetRecord:
    """The target for a result. A program that is not of our tree has no revision."""
    try:
        program = Path(target.preflight()).resolve()
    except HarnessError:
        return TargetRecord(target.name, version)
    of_tree = program.is_relative_to(source_dir().resolve())
    return TargetRecord(
        target.name,
        version,
        program=program_hash(program),
        revision=revision(source_dir()) if of_tree else "",
    )
