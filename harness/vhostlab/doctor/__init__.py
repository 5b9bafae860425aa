# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab doctor``: what this host lacks, for guests to run and for figures to be honest.

Concepts: a *finding* is one thing that was looked at: its state, what that means, and the remedy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from vhostlab.doctor import function, numbers
from vhostlab.doctor.finding import Area, Finding, State
from vhostlab.host import tuning
from vhostlab.host.root import Root

#: How long the load of others is watched.
LOAD_S = 1.0

TITLES = {
    Area.FUNCTION: "for guests to run",
    Area.TARGET: "targets that can be measured",
    Area.NUMBERS: "for honest figures",
}

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.MISSING: "bold red"}


def look() -> list[Finding]:
    """Everything, on this host. Boots a guest if it is not known whether KVM works."""
    root = Root()
    before, began = numbers.Times.of(root), time.monotonic()
    time.sleep(LOAD_S)  # the load of others is a matter of time
    after, seconds = numbers.Times.of(root), time.monotonic() - began
    found = [*function.look(root), *function.targets()]
    found += [check(root) for check in numbers.CHECKS]
    found += numbers.load(before, after, seconds, os.sysconf("SC_CLK_TCK"))
    if (left := tuning.left_behind()) is not None:
        found.append(
            Finding(
                Area.NUMBERS,
                "tuning",
                State.WARNING,
                f"process {left.pid} has tuned this host and was killed",
                "vhostlab doctor --undo-tuning",
            )
        )
    return found


def exit_status(found: Sequence[Finding]) -> int:
    """0 when guests can be run here on some target, 2 when not."""
    lacking = any(f.state is State.MISSING for f in found if f.area is Area.FUNCTION)
    target = any(f.state is State.OK for f in found if f.area is Area.TARGET)
    return 0 if target and not lacking else 2


def show(found: Sequence[Finding], console: Console) -> None:
    """For people: one line each, the remedy below."""
    for area, title in TITLES.items():
        console.print(Text(title, style="bold"))
        for finding in (f for f in found if f.area is area):
            mark = Text(f"  {finding.state:<8}", style=_STYLES[finding.state])
            mark.append(f" {finding.name}: {finding.meaning}", style="none")
            console.print(mark, soft_wrap=True)
            if finding.state is not State.OK and finding.remedy:
                console.print(Text(f"           -> {finding.remedy}"), soft_wrap=True)


def undo_tuning(console: Console) -> int:
    """Put back what a killed run has changed of this host."""
    undone = tuning.undo_left_behind()
    if undone is None:
        console.print("nothing to undo: no killed run has left this host tuned")
        return 0
    for change in undone.restored:
        console.print(Text(f"/{change.path}: {change.before} again"), soft_wrap=True)
    for words in undone.left:
        console.print(Text(f"not undone: {words}"), soft_wrap=True)
    if not undone.restored and not undone.left:
        console.print("nothing to undo: all is as it was")
    return 0


__all__ = ["Area", "Finding", "State", "exit_status", "look", "show", "undo_tuning"]
