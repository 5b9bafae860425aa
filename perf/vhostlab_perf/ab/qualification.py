# SPDX-License-Identifier: BSD-3-Clause
"""What a runner can tell apart, learnt from comparing a program with itself.

Concepts: the *qualification* of a runner, for one design (lengths, number of blocks, path), holds
the spread of the differences of each cell and metric over all A/A blocks, and how often an A/A run
raised a false alarm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vhostlab_perf.ab.blocks import Comparison
from vhostlab_perf.ab.gates import Gates
from vhostlab_perf.reader import BadResult
from vhostlab_perf.stats import paired, power

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Qualification:
    """The record of a runner; an empty one knows nothing."""

    runs: int = 0
    false_alarms: int = 0
    design: Mapping[str, Any] = field(default_factory=dict)
    spread: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Cell or family, metric: the standard deviation of the differences between blocks."""

    def fits(self, design: Mapping[str, Any]) -> bool:
        """Whether its cells were measured about as long as those of ``design``: what was measured
        for a shorter time spread more, and would disqualify what is fine."""
        return _measured_s(self.design) >= LEAST_SHARE * _measured_s(design)

    def sd(self, entry: str, metric: str) -> float | None:
        """Of a cell that was not qualified: the worst of those that were."""
        own = self.spread.get(entry, {}).get(metric)
        if own is not None:
            return own
        known = [s[metric] for s in self.spread.values() if metric in s]
        return max(known) if known else None


NONE = Qualification()

#: Of the time that an arm is measured at a cell in a block.
LEAST_SHARE = 0.5


def _measured_s(design: Mapping[str, Any]) -> float:
    return float(design.get("cell_s", 0.0)) * float(design.get("turns", 1))


def read(path: Path | None) -> Qualification:
    """A file that is not there qualifies for nothing."""
    if path is None or not path.exists():
        return NONE
    try:
        raw = json.loads(path.read_text())
        if raw["schema_version"] != SCHEMA_VERSION:
            raise BadResult(f"{path} is of another version; make it anew: vhostlab ab --aa")
        return Qualification(raw["runs"], raw["false_alarms"], raw["design"], raw["spread"])
    except OSError as error:
        raise BadResult(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadResult(f"{path} is no qualification: {type(error).__name__} {error}") from error


def differences(comparison: Comparison) -> dict[str, dict[str, list[float]]]:
    """Cell and family, metric: log(head / base) of each block that counts."""
    found: dict[str, dict[str, list[float]]] = {}
    for block in comparison.of("main"):
        families: dict[tuple[str, str], list[float]] = {}
        for cell in comparison.cells:
            pair = block.cells.get(cell.id)
            for metric in pair.shared if pair else ():
                assert pair is not None
                d = float(paired.log_ratios(pair.base[metric], pair.head[metric]))
                found.setdefault(cell.id, {}).setdefault(metric, []).append(d)
                families.setdefault((cell.family, metric), []).append(d)
        for (family, metric), values in families.items():
            mean = sum(values) / len(values)
            found.setdefault(family, {}).setdefault(metric, []).append(mean)
    return found


def learn(runs: Sequence[Comparison], verdicts: Sequence[str]) -> Qualification:
    """From A/A runs and what the judge said of each. All differences are around 0, by design."""
    squares: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for entry, metrics in differences(run).items():
            for metric, values in metrics.items():
                squares.setdefault(entry, {}).setdefault(metric, []).extend(v * v for v in values)
    spread = {
        entry: {metric: math.sqrt(float(np.mean(v))) for metric, v in metrics.items()}
        for entry, metrics in squares.items()
    }
    design = dict(runs[0].raw["design"]) | {"blocks": runs[0].planned} if runs else {}
    return Qualification(len(runs), sum(v == "fail" for v in verdicts), design, spread)


def document(found: Qualification, gates: Gates, blocks: int) -> dict[str, Any]:
    """The file, with what it means for ``blocks`` blocks."""
    mdes = {
        entry: {
            metric: round(power.mde(sd, blocks, gates.alpha, gates.power), 5)
            for metric, sd in metrics.items()
        }
        for entry, metrics in found.spread.items()
    }
    qualified = {
        metric: all(m[metric] <= gate.margin for m in mdes.values() if metric in m)
        for metric, gate in gates.metrics.items()
        if any(metric in m for m in mdes.values())
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": found.runs,
        "false_alarms": found.false_alarms,
        "design": dict(found.design),
        "spread": {k: {m: round(v, 6) for m, v in s.items()} for k, s in found.spread.items()},
        "blocks": blocks,
        "mde": mdes,
        "qualified": qualified,
    }
