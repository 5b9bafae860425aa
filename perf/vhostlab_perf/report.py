# SPDX-License-Identifier: BSD-3-Clause
"""Makes a report: one page that needs no network, no scripts and no second file, or a PDF.

There are three editions. *run*: one run, everything that it found out. *release*: the runs of a
release's matrix as one set of figures, with the way they were made. *comparison*: several targets
or ways to a disk beside one another.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vhostlab_perf import charts, compare, export, figures, surroundings
from vhostlab_perf.aggregate import NOT_STEADY, Estimate, Measured, Ratio, aggregate
from vhostlab_perf.charts import Key
from vhostlab_perf.figures import DASH, Figure, number
from vhostlab_perf.labels import label
from vhostlab_perf.reader import LeftOut, Result

EDITIONS = ("run", "release", "comparison")

VERDICTS = {
    "pass": "Passed",
    "fail": "Failed",
    "error": "Ended with errors",
    "unavailable": "Could not be run",
}
#: How much of a processor others may use before a figure is one of a disturbed machine.
QUIET = 0.3

#: The verdict on several runs is that of the worst one.
_WORST = ("fail", "error", "unavailable", "pass")


@dataclass(frozen=True)
class Report:
    """What a report is made of. ``problems``: inputs that could not be read at all."""

    edition: str
    results: tuple[Result, ...]
    title: str = ""
    previous: tuple[Measured, ...] = ()
    revisions: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    home: str = ""
    """Where a page of a site finds its index."""

    @property
    def status(self) -> str:
        seen = {r.status for r in self.results}
        return next((s for s in _WORST if s in seen), "error")

    @property
    def heading(self) -> str:
        """The title, or what the runs say of themselves."""
        if self.title:
            return self.title
        targets = ", ".join(dict.fromkeys(r.target for r in self.results))
        suites = ", ".join(dict.fromkeys(r.suite for r in self.results))
        said = {"release": "Release report: ", "comparison": "Comparison: "}
        return f"{said.get(self.edition, '')}{suites} on {targets}"

    def cells(self) -> tuple[Measured, ...]:
        return aggregate(self.results)

    def left_out(self) -> tuple[LeftOut, ...]:
        """What no run measured, though it was asked for."""
        measured = {c.id for c in self.cells()}
        found = {x.id: x for r in self.results for x in r.left_out if x.id not in measured}
        return tuple(found.values())


def choose(results: Sequence[Result]) -> str:
    """The edition that suits the inputs when nobody asks for one."""
    if len(results) <= 1:
        return "run"
    ways = {
        (c.params.get("target") or r.target, c.params.get("path")) for r in results for c in r.cells
    }
    return "comparison" if len(ways) > 1 else "release"


@dataclass(frozen=True)
class Drawn:
    """A figure whose chart is drawn; each part in each layout that the page needs."""

    figure: Figure
    parts: tuple[tuple[tuple[str, Markup], ...], ...]
    legend: tuple[Key, ...]


def palette(style: str) -> dict[str, str]:
    """The colours of the light page, which paper has too."""
    root = re.search(r":root\s*{(.*?)}", style, re.DOTALL)
    return dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})", root[1] if root else ""))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _heading(name: str) -> str:
    return name.replace("_", " ").replace(".", " ")


def _when(started: str) -> str:
    return started.replace("T", " ").replace("Z", " UTC")


def _ratio(found: Ratio | None) -> str:
    if found is None:
        return DASH
    if not found.confidence:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _confidence(found: Ratio | Estimate | None) -> str:
    return f"{found.confidence:.1%}" if found and found.confidence else DASH


def _params(params: Mapping[str, Any]) -> str:
    return label(params) or DASH


def templates() -> jinja2.Environment:
    """The templates, with everything escaped that is not said to be markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vhostlab_perf"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "duration": _duration,
        "plain": surroundings.plain,
        "heading": _heading,
        "command": shlex.join,
        "when": _when,
        "ratio": _ratio,
        "confidence": _confidence,
        "params": _params,
        "sparkline": charts.sparkline,
    }
    return environment


def source(environment: jinja2.Environment, name: str) -> str:
    """A template's own text, for what is put into a page as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def drawn(found: Figure, colours: Mapping[str, str] | None) -> Drawn:
    """Draw for screens; for paper, whose ``colours`` are given, in the one width that it has."""
    layouts = (charts.PAPER,) if colours else charts.SCREEN
    made = []
    for layout in layouts:
        try:
            parts = found.chart.draw(layout, found.key)
        except ValueError:
            # numbers that no axis can show; the table has them
            return Drawn(found, (), ())
        made.append([(layout.name, Markup(charts.coloured(p, colours))) for p in parts])
    legend = tuple(
        Key(k.label, charts.coloured(k.colour, colours), k.dashes) for k in found.chart.legend
    )
    return Drawn(found, tuple(zip(*made, strict=True)), legend)


def render(report: Report, paper: bool = False) -> str:
    """The page as one string."""
    environment = templates()
    style = source(environment, "report.css")
    light = palette(style)
    colours = light if paper else None
    cells = report.cells()
    measured = [c for c in cells if not c.functional]
    emulated = [c for c in cells if c.functional]
    ladders = compare.ladders(cells)
    layered = report.edition != "release"
    queues = [q for r in report.results for q in r.queues] if report.edition == "run" else []
    return environment.get_template("report.html.j2").render(
        report=report,
        style=Markup(style + (source(environment, "paper.css") if paper else "")),
        paper=paper,
        ink=light["--ink"] if paper else "var(--ink)",
        verdict=VERDICTS.get(report.status, report.status),
        groups=[g for g in (measured, emulated) if g],
        cells=cells,
        emulated=len(emulated),
        columns=[c for c in figures.COLUMNS if any(c.metric in x.metrics for x in cells)],
        figures=[drawn(f, colours) for f in figures.every(cells)],
        ladders=ladders if layered else (),
        ladder_figures=[drawn(f, colours) for f in figures.ladder(ladders)] if layered else (),
        since=compare.since(cells, report.previous) if report.previous else None,
        left_out=report.left_out(),
        not_steady=[c for c in cells if c.verdict() == NOT_STEADY],
        disturbed=sum((c.value("others_cpu") or 0.0) > QUIET for c in cells),
        quiet=QUIET,
        with_series=[c for c in cells if c.series],
        surroundings=surroundings.compare(report.results),
        queues=queues,
        counters=list(dict.fromkeys(name for q in queues for name in q.counters)),
        compared=compare.COMPARED,
        counted=figures.counted,
        commands=figures.commands,
        IOPS=figures.IOPS,
        MEAN=figures.MEAN,
        P99=figures.P99,
        CPU=figures.CPU,
    )


def outputs(report: Report) -> dict[str, str]:
    """The figures as JSON and as CSV, by the end of the file's name."""
    cells = report.cells()
    return {
        ".json": export.to_json(
            report.edition, report.heading, report.results, cells, report.left_out()
        ),
        ".csv": export.to_csv(cells),
    }


def write(path: Path, body: str | bytes) -> None:
    """A reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(body.encode() if isinstance(body, str) else body)
    partial.replace(path)
