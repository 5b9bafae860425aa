# SPDX-License-Identifier: BSD-3-Clause
"""The figures of a report as JSON and CSV; the JSON can be read again as a previous release."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vhostlab_perf.aggregate import Estimate, Measured
from vhostlab_perf.reader import BadResult, LeftOut, Result, clean, number, word

FORMAT, FORMAT_VERSION = "vhostlab-report", 1

_COLUMNS = ("target", "cell", "timing", "steady")
_VALUES = ("metric", "unit", "direction", "n", "median", "low", "high", "confidence")


def _estimate(e: Estimate) -> dict[str, Any]:
    return {
        "unit": e.unit,
        "direction": e.direction,
        "n": e.n,
        "median": e.median,
        "low": e.low if e.n > 1 else None,
        "high": e.high if e.n > 1 else None,
        "confidence": e.confidence if e.n > 1 else None,
        "values": list(e.values),
    }


def to_json(
    edition: str,
    title: str,
    results: Sequence[Result],
    cells: Sequence[Measured],
    left_out: Sequence[LeftOut],
) -> str:
    """Everything that the report shows as a number."""
    runs = ("run_id", "started", "suite", "status", "target", "target_version", "fingerprint")
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "edition": edition,
        "title": title,
        "runs": [
            {
                **{k: getattr(r, k) for k in (*runs, "timing", "command")},
                "environment": r.environment,
                "problems": list(r.problems),
            }
            for r in results
        ],
        "cells": [
            {
                "id": c.id,
                "target": c.target,
                "timing": c.timing,
                "params": c.params,
                "steady": c.verdict(),
                "runs": list(c.runs),
                "replay": c.replay,
                "metrics": {name: _estimate(e) for name, e in c.metrics.items()},
            }
            for c in cells
        ],
        "left_out": [{"id": x.id, "params": x.params, "reason": x.reason} for x in left_out],
    }
    return json.dumps(document, indent=1, allow_nan=False, default=str) + "\n"


def _safe(value: object) -> object:
    """Spreadsheets carry out what begins with one of these; an apostrophe makes it text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def to_csv(cells: Sequence[Measured]) -> str:
    """A line for each metric of each cell; parameters have columns of their own."""
    params = list(dict.fromkeys(k for c in cells for k in c.params))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [*_COLUMNS, *(f"param.{k}" for k in params), *_VALUES]
    writer.writerow([_safe(h) for h in heads])
    for c in cells:
        own = [c.target, c.id, c.timing, c.verdict(), *(c.params.get(k, "") for k in params)]
        for name, e in c.metrics.items():
            spread = (e.low, e.high, e.confidence) if e.n > 1 else ("", "", "")
            row = [*own, name, e.unit, e.direction, e.n, repr(e.median), *spread]
            writer.writerow([_safe(v) for v in row])
    return out.getvalue()


def is_report(path: Path) -> bool:
    """Whether a file is what ``to_json`` made."""
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(raw, Mapping) and raw.get("format") == FORMAT


def from_json(path: Path) -> tuple[Measured, ...]:
    """The cells of an earlier report; raises BadResult."""
    try:
        raw = clean(json.loads(path.read_text()))
        if raw["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {raw['format_version']!r}, this reads 1")
        return tuple(_measured(c) for c in raw["cells"])
    except OSError as error:
        raise BadResult(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadResult(f"{path} is not a report's JSON: {error}") from error


def _measured(raw: Mapping[str, Any]) -> Measured:
    metrics = {
        word(name): Estimate.of(
            [number(v) for v in m["values"]], word(m["unit"]), word(m["direction"])
        )
        for name, m in raw["metrics"].items()
        if m["values"]
    }
    return Measured(
        id=word(raw["id"]),
        target=word(raw["target"]),
        timing=word(raw["timing"]),
        params=raw["params"],
        metrics=metrics,
        runs=tuple(word(r) for r in raw["runs"]),
        steady=(word(raw["steady"]),),
        series=(),
        replay=word(raw["replay"]),
    )
