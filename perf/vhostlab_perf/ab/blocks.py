# SPDX-License-Identifier: BSD-3-Clause
"""Reads blocks.json (docs/ab-blocks.schema.json) and says which blocks count."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab_perf import labels
from vhostlab_perf.ab.gates import Guards
from vhostlab_perf.reader import BadResult, Scalar

SCHEMA_VERSION = 1
ARMS = ("base", "head")

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Pair:
    """The figures of both arms."""

    base: Figures
    head: Figures

    @property
    def shared(self) -> tuple[str, ...]:
        """The metrics that both have."""
        return tuple(name for name in self.base if name in self.head)


@dataclass(frozen=True)
class Block:
    """One fresh pair of daemons, measured in turns."""

    number: int
    phase: str
    order: str
    cells: Mapping[str, Pair]
    canary: Pair
    guards: Figures
    reason: str = ""
    """Why it does not count; empty: it does."""

    @property
    def valid(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Cell:
    """What was measured."""

    id: str
    params: Mapping[str, Scalar]

    @property
    def family(self) -> str:
        """Cells that a change of code touches alike."""
        return f"{self.params.get('device', '?')} {self.params.get('ring', 'split')}"

    def label(self) -> str:
        return labels.label(self.params, ("path",))


@dataclass(frozen=True)
class Comparison:
    """All that was measured of two builds."""

    raw: Mapping[str, Any]
    cells: tuple[Cell, ...]
    blocks: tuple[Block, ...]
    planned: int
    over: str

    @property
    def functional(self) -> bool:
        return bool(self.raw["timing"] == "functional")

    def of(self, phase: str) -> tuple[Block, ...]:
        """The blocks of a phase that count."""
        return tuple(b for b in self.blocks if b.phase == phase and b.valid)


def _pair(raw: Mapping[str, Any]) -> Pair:
    return Pair(*({k: float(v) for k, v in raw[arm].items() if v > 0} for arm in ARMS))


def _block(raw: Mapping[str, Any]) -> Block:
    return Block(
        number=int(raw["number"]),
        phase=raw["phase"],
        order=raw["order"],
        cells={cell: _pair(pair) for cell, pair in raw["cells"].items()},
        canary=_pair(raw["canary"]),
        guards={k: float(v) for k, v in raw["guards"].items()},
    )


def _speed(block: Block) -> float:
    """The canary, whichever arm it sang for: greater is faster."""
    figures = [pair[name] for pair in (block.canary.base, block.canary.head) for name in pair]
    return statistics.geometric_mean(figures) if figures else 0.0


def judge_guards(blocks: Sequence[Block], limits: Guards) -> tuple[Block, ...]:
    """The same blocks, with the reasons why some do not count."""
    speeds = [s for s in map(_speed, blocks) if s > 0]
    clocks = [b.guards["mhz"] for b in blocks if b.guards.get("mhz", 0) > 0]
    speed = statistics.median(speeds) if speeds else 0.0
    clock = statistics.median(clocks) if clocks else 0.0

    def why(block: Block) -> str:
        guards = block.guards
        if (steal := guards.get("steal_percent", 0.0)) > limits.steal_percent:
            return f"the hypervisor took {steal:.0f} % of a processor"
        if (others := guards.get("others_cores", 0.0)) > limits.others_cores:
            return f"other programs kept {others:.2f} processors busy"
        if speed and (slower := 1 - _speed(block) / speed) > limits.canary_slower:
            return f"the canary of both arms was {slower:.0%} slower than in other blocks"
        if clock and (change := abs(guards.get("mhz", clock) / clock - 1)) > (
            limits.frequency_change
        ):
            return f"the clock differed by {change:.0%} from other blocks"
        return ""

    return tuple(
        Block(b.number, b.phase, b.order, b.cells, b.canary, b.guards, why(b)) for b in blocks
    )


def read(path: Path, limits: Guards) -> Comparison:
    """Raises BadResult with one line."""
    try:
        raw = json.loads(path.read_text())
    except OSError as error:
        raise BadResult(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadResult(f"{path} is not JSON: {error}") from error
    return parse(raw, limits, str(path))


def parse(raw: Any, limits: Guards, where: str = "blocks") -> Comparison:
    """What ``read`` does, of JSON that is read already."""
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise BadResult(f"{where} has schema_version {version!r}, this reads {SCHEMA_VERSION}")
    try:
        return Comparison(
            raw=raw,
            cells=tuple(Cell(c["id"], c["params"]) for c in raw["cells"]),
            blocks=judge_guards([_block(b) for b in raw["blocks"]], limits),
            planned=int(raw["planned_blocks"]),
            over=raw["over"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadResult(f"{where} holds no blocks: {type(error).__name__} {error}") from error
