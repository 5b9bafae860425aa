# SPDX-License-Identifier: BSD-3-Clause
"""Has runs taken into the results store.

The store belongs to the program that judges (``perf/``). It is run, never imported, and where the
store is reaches it through the environment: a URL may hold a password, and command lines can be
read by everybody.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir

#: Says which store: a URL or the path of a file. Where it is set, every run is imported.
VARIABLE = "VHOSTLAB_DB"

#: An import waits for other writers.
DEADLINE_S = 300.0


def default() -> str:
    """The store beside the results."""
    return str(source_dir() / "results" / "history.sqlite")


def call(words: Sequence[str], db: str = "") -> int:
    """Run ``db WORDS`` on this terminal; return its exit status."""
    where = db or os.environ.get(VARIABLE) or default()
    argv = [sys.executable, "-m", "vhostlab_perf", "db", *words]
    return subprocess.run(argv, env=os.environ | {VARIABLE: where}).returncode


def keep(run_dir: Path, console: Console, db: str = "") -> None:
    """Import a run that has ended, if --db or $VHOSTLAB_DB asks for it.

    A run that was resumed has been imported before, so it may take its own place.
    """
    where = db or os.environ.get(VARIABLE, "")
    if not where:
        return
    argv = [sys.executable, "-m", "vhostlab_perf", "db", "import", "--replace", str(run_dir)]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=os.environ | {VARIABLE: where},
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{run_dir} was not imported within {DEADLINE_S:g} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        reason = words[-1].removeprefix("vhostlab db: ") if words else "no reason given"
        raise HarnessError(
            f"the run was not imported: {reason}", f"then: vhostlab db import {run_dir}"
        )
    console.print(Text(f"store:   {done.stdout.strip()}"), soft_wrap=True)
