# SPDX-License-Identifier: BSD-3-Clause
"""T0: work per request, which depends on the build alone and not on how busy the machine is.

The counting is that of harness/frontend/bench/instructions.py. Both daemons are driven by the same
load generator, that of this tree. The base is counted twice: how far the two counts are apart is
how far two counts can be apart by chance.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.gate import child
from vhostlab.gate.builds import Built
from vhostlab.gate.steps import Steps
from vhostlab.process import find_program

SCRIPT = "harness/frontend/bench/instructions.py"
BENCH = "build/release/harness/frontend/vhost-bench"
COUNT_S = 9.0
"""One count on a usual machine."""
DEADLINE_S = 600.0
ARMS = ("base", "base again", "head")


def cases(root: Path) -> list[str]:
    """The names of all cases."""
    done = subprocess.run(
        [sys.executable, root / SCRIPT, "--list"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.split()


def check(root: Path) -> None:
    """Raises Unavailable when something is missing here."""
    find_program("valgrind", "run ci/setup.sh")
    if not (root / BENCH).is_file():
        raise Unavailable(f"the load generator is not built: {BENCH} is missing", "run `make`")


def plan(steps: Steps, names: Sequence[str]) -> None:
    for name in names:
        for arm in ARMS:
            steps.plan(_title(name, arm), COUNT_S)


def measure(
    root: Path, base: Built, head: Built, names: Sequence[str], steps: Steps
) -> dict[str, Any]:
    """Counts of each case: twice of the base, once of the head."""
    counted: dict[str, Any] = {}
    for name in names:
        counts: dict[str, list[dict[str, float]]] = {"base": [], "head": []}
        for arm in ARMS:
            with steps.step(_title(name, arm)):
                built = head if arm == "head" else base
                counts[arm.split()[0]].append(_count(root, name, built.program))
        counted[name] = counts
    return counted


def _title(name: str, arm: str) -> str:
    return f"work per request: {name}, {arm}"


def replay(name: str, program: Path) -> list[str]:
    """The command that counts one case of a daemon."""
    return ["python3", SCRIPT, "--work", "--only", name, "--program", str(program)]


def _count(root: Path, name: str, program: Path) -> dict[str, float]:
    argv = [sys.executable, *replay(name, program)[1:]]
    try:
        done = child.run(argv, cwd=root, timeout_s=DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{name} was not counted within {DEADLINE_S:g} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise HarnessError(
            f"{name} of {program} was not counted: {said[0] if said else 'no reason given'}",
            f"to repeat it: {shlex.join(replay(name, program))}",
        )
    counts: dict[str, float] = json.loads(done.stdout)
    return counts
