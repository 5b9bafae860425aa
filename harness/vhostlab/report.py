# SPDX-License-Identifier: BSD-3-Clause
"""Has reports made.

The program that judges and draws (``perf/``) reads result.json and is not part of this package; it
is run, never imported.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.results import PARTIAL, REPORT_FILE, RESULT_FILE

#: Charts take most of it: there are more of them the more cells there are.
DEADLINE_S = 600.0


def program(*arguments: str) -> int:
    """Run a command of the program in the foreground; its exit status is that of ours."""
    return subprocess.run([sys.executable, "-m", "vhostlab_perf", *arguments]).returncode


def make(run_dir: Path) -> Path:
    """Make report.html beside result.json."""
    page = run_dir / REPORT_FILE
    partial = page.with_name(page.name + PARTIAL)
    argv = [sys.executable, "-m", "vhostlab_perf", "report", str(run_dir / RESULT_FILE)]
    try:
        done = subprocess.run(
            [*argv, "-o", str(partial)], capture_output=True, text=True, timeout=DEADLINE_S
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(f"the report was not made within {DEADLINE_S:g} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        raise HarnessError(f"the report was not made: {words[-1] if words else 'no reason given'}")
    partial.replace(page)
    return page
