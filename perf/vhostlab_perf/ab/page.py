# SPDX-License-Identifier: BSD-3-Clause
"""One page of a comparison: offline, no scripts, legible on a telephone and on paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vhostlab_perf.ab.blocks import Comparison
from vhostlab_perf.ab.judge import Canary, Entry, Judgement

VERDICTS = {
    "pass": "No regression",
    "fail": "Regression",
    "inconclusive": "Inconclusive",
    "environment": "The machine changed",
}

#: The class of the report's style sheet that colours a verdict.
COLOURS = {"pass": "pass", "fail": "fail"}

#: Of the forest plot, in its own units.
WIDTH, ROW = 400.0, 22.0
#: What is farther out than this many margins is drawn at the edge.
MARGINS = 4.0


@dataclass(frozen=True)
class Row:
    """A line of the forest plot. Places are those of the drawing; the centre is "no change"."""

    label: str
    metric: str
    text: str
    verdict: str
    qualified: bool
    y: float
    low: float
    high: float
    middle: float
    margin: float
    cut: bool


def _rows(entries: Sequence[Entry]) -> list[Row]:
    """All on one scale, on which worse is to the left whatever the metric."""
    widest = max((e.allowed for e in entries), default=0.02) * MARGINS

    def place(harm: float) -> float:
        return WIDTH / 2 * (1 - max(-1.0, min(1.0, harm / widest)))

    rows = []
    for number, e in enumerate(entries):
        sign = -1.0 if e.gate.direction == "higher" else 1.0
        ends = sorted((sign * e.interval.low, sign * e.interval.high))
        rows.append(
            Row(
                label=e.label,
                metric=e.metric,
                text=f"{math.exp(float(e.differences.mean())):.3f}",
                verdict=e.verdict,
                qualified=e.qualified,
                y=ROW * (number + 0.5),
                low=place(ends[1]),
                high=place(ends[0]),
                middle=place(sign * float(e.differences.mean())),
                margin=place(e.allowed),
                cut=max(map(abs, ends)) > widest,
            )
        )
    return rows


def _percent(value: float) -> str:
    return f"{value * 100:.1f}\N{NARROW NO-BREAK SPACE}%"


def _value(value: float) -> str:
    if value == 0:
        return "\N{EN DASH}"
    digits = 0 if value >= 1000 else 1
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _moments(entries: Sequence[Entry], canaries: Sequence[Canary]) -> Mapping[str, Any]:
    """The numbers above the table."""
    return {
        "able": sum(e.qualified for e in entries),
        "all": len(entries),
        "below": [e for e in entries if not e.qualified],
        "moved": [c for c in canaries if c.moved],
    }


def render(judgement: Judgement, comparison: Comparison, document: Mapping[str, Any]) -> str:
    """The page as one string."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vhostlab_perf"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": _percent, "value": _value}
    style, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    entries = sorted([*judgement.families, *judgement.cells], key=lambda e: e.allowed - e.worst)
    rows = _rows(entries)
    lines = {(e["id"], e["metric"]): e for e in [*document["families"], *document["cells"]]}
    return environment.get_template("ab.html.j2").render(
        d=document,
        style=Markup(style),
        title=VERDICTS[judgement.verdict],
        colour=COLOURS.get(judgement.verdict, "skip"),
        entries=[(e, lines[e.id, e.metric]) for e in entries],
        rows=rows,
        width=WIDTH,
        height=ROW * max(1, len(rows)),
        row=ROW,
        m=_moments(entries, judgement.canaries),
        blocks=comparison.blocks,
    )


def write(
    judgement: Judgement, comparison: Comparison, document: Mapping[str, Any], path: Path
) -> None:
    """Render and write the page."""
    text = render(judgement, comparison, document)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
