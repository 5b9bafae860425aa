# SPDX-License-Identifier: BSD-3-Clause
"""Makes the report: one page that needs no network, no scripts and no second file."""

from __future__ import annotations

import shlex
from pathlib import Path

import jinja2
from markupsafe import Markup

from vhostlab_perf import charts
from vhostlab_perf.reader import Result

#: Columns of the cell table: metric name, heading, size of the unit shown, digits after the dot.
CELL_COLUMNS = (
    ("iops", "IOPS", 1.0, 0),
    ("bandwidth", "MB/s", 1e6, 1),
    ("latency_mean", "mean \N{MICRO SIGN}s", 1e3, 1),
    ("latency_p50", "p50 \N{MICRO SIGN}s", 1e3, 1),
    ("latency_p99", "p99 \N{MICRO SIGN}s", 1e3, 1),
    ("latency_p99_9", "p99.9 \N{MICRO SIGN}s", 1e3, 1),
    ("target_cpu_per_io", "CPU \N{MICRO SIGN}s/IO", 1e3, 2),
    ("others_cpu", "others\N{RIGHT SINGLE QUOTATION MARK} cores", 1.0, 2),
)

VERDICTS = {
    "pass": "Passed",
    "fail": "Failed",
    "error": "Ended with errors",
    "unavailable": "Could not be run",
}


def _number(value: float | None, digits: int = 0) -> str:
    """Digits grouped by thin spaces; a dash for what was not measured."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "\N{EN DASH}" if value is None or value == "" else str(value)


def _heading(name: str) -> str:
    return name.replace("_", " ").replace(".", " ")


def render(result: Result) -> str:
    """The page as one string."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vhostlab_perf"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": _number,
        "duration": _duration,
        "plain": _plain,
        "heading": _heading,
        "command": shlex.join,
    }
    style, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    figures = {"iops": charts.iops(result.cells), "latency": charts.latency(result.cells)}
    counters = list(dict.fromkeys(name for q in result.queues for name in q.counters))
    return environment.get_template("report.html.j2").render(
        r=result,
        style=Markup(style),
        verdict=VERDICTS.get(result.status, result.status),
        columns=[c for c in CELL_COLUMNS if any(c[0] in cell.metrics for cell in result.cells)],
        counters=counters,
        figures={
            name: (Markup(f.wide), Markup(f.narrow), f.legend)
            for name, f in figures.items()
            if f is not None
        },
    )


def write(result: Result, path: Path) -> None:
    """Render and write the page."""
    page = render(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
