# SPDX-License-Identifier: BSD-3-Clause
"""One thing that was looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """What is to be thought of it."""

    OK = "ok"
    #: Works, or would, and yet: slower, or figures that cannot be trusted.
    WARNING = "warning"
    MISSING = "missing"


class Area(enum.StrEnum):
    """What suffers where it is not as it should be."""

    FUNCTION = "function"
    TARGET = "target"
    NUMBERS = "numbers"


@dataclass(frozen=True)
class Finding:
    """``meaning``: what it is, what follows. ``remedy``: a command; words where there is none."""

    area: Area
    name: str
    state: State
    meaning: str
    remedy: str = ""
