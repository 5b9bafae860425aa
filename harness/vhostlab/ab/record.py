# SPDX-License-Identifier: BSD-3-Clause
"""blocks.json: what was measured so far, whole at any moment."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vhostlab import results
from vhostlab.ab.builds import Build
from vhostlab.matrix import Cell

BLOCKS_FILE = "blocks.json"
ARMS = ("base", "head")

Figures = dict[str, float]


@dataclass(frozen=True)
class Block:
    """One block, measured."""

    phase: str
    order: str
    cells: Mapping[str, Mapping[str, Figures]]
    canary: Mapping[str, Figures]
    guards: Mapping[str, float]


class Orders:
    """The order of the arms in each block: random, and balanced over every two blocks."""

    def __init__(self, random_source: random.Random, orders: Sequence[str]) -> None:
        self._random = random_source
        self._orders = tuple(orders)  # each other's mirror
        self._left: list[str] = []

    def next(self) -> str:
        if not self._left:
            self._left = list(self._orders)
            self._random.shuffle(self._left)
        return self._left.pop()


@dataclass
class Record:
    """Collects blocks, and writes the file after each."""

    directory: Path
    kind: str
    path: str
    accel: str
    base: Build
    head: Build
    cells: Sequence[Cell]
    planned_blocks: int
    environment: Mapping[str, Any]
    design: Mapping[str, Any]
    command: str
    replay: str
    blocks: list[Block] = field(default_factory=list)
    over: str = ""
    _began: float = field(default_factory=time.monotonic)
    _started: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @property
    def file(self) -> Path:
        return self.directory / BLOCKS_FILE

    def add(self, block: Block) -> None:
        self.blocks.append(block)
        self.write()

    def write(self) -> None:
        """Replace the file in one step."""
        document = {
            "schema_version": 1,
            "kind": self.kind,
            "started": self._started,
            "seconds": round(time.monotonic() - self._began, 1),
            "path": self.path,
            "timing": results.timing_of(self.accel),
            "base": self.base.document(),
            "head": self.head.document(),
            "cells": [{"id": c.id, "params": dict(c.params)} for c in self.cells],
            "planned_blocks": self.planned_blocks,
            "over": self.over,
            "blocks": [
                {
                    "number": number,
                    "phase": b.phase,
                    "order": b.order,
                    "cells": b.cells,
                    "canary": b.canary,
                    "guards": b.guards,
                }
                for number, b in enumerate(self.blocks, 1)
            ],
            "environment": dict(self.environment),
            "fingerprint": results.fingerprint(self.environment),
            "design": dict(self.design),
            "command": self.command,
            "replay": self.replay,
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(self.file)
