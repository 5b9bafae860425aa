# SPDX-License-Identifier: BSD-3-Clause
"""A run's result for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vhostlab.matrix import Cell
from vhostlab.results import CellResult, Result, ScenarioResult, Status

COLOURS: Mapping[str, str] = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.ERROR: "bold red",
    Status.SKIP: "yellow",
    Status.UNAVAILABLE: "bold yellow",
}

#: Metric name, heading, size of the unit shown, digits after the dot.
_CELL_COLUMNS = (
    ("iops", "IOPS", 1.0, 0),
    ("bandwidth", "MB/s", 1e6, 1),
    ("latency_p50", "p50 µs", 1e3, 1),
    ("latency_p99", "p99 µs", 1e3, 1),
    ("latency_p99_9", "p99.9 µs", 1e3, 1),
)


def first_line(text: str | None) -> str:
    """A reason in one line."""
    return (text or "").strip().split("\n")[0]


def _note(scenario: ScenarioResult) -> str:
    if reason := scenario.error or scenario.skip_reason:
        return first_line(reason)
    return ", ".join(f"{m.name.replace('_', ' ')} {m.value:.2f} {m.unit}" for m in scenario.metrics)


def _scenarios(result: Result) -> Table:
    table = Table(title=f"{result.suite} on {result.target.name}", title_justify="left")
    table.add_column("scenario", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("checks", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for s in result.scenarios:
        held = sum(c.passed for c in s.checks)
        table.add_row(
            s.name,
            Text(s.status, style=COLOURS[s.status]),
            f"{s.seconds:.1f} s",
            f"{held}/{len(s.checks)}" if s.checks else "",
            Text(_note(s)),
        )
    return table


def _number(value: float, digits: int) -> str:
    """Digits behind the dot are for small numbers."""
    return f"{value:,.{digits if value < 1000 else 0}f}".replace(",", " ")


def _cell_row(cell: CellResult) -> list[str]:
    values = {m.name: m.value for m in cell.metrics}
    shown = []
    for name, _, unit, digits in _CELL_COLUMNS:
        value = values.get(name)
        shown.append("" if value is None else _number(value / unit, digits))
    return shown


def _cells(result: Result) -> Table:
    note = "functional timing: emulated guest" if result.timing == "functional" else result.timing
    table = Table(title=f"measurements ({note})", title_justify="left", box=box.SIMPLE)
    table.add_column("cell")  # the one that gives way on a narrow terminal: numbers are whole
    for _, heading, _, _ in _CELL_COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    one_path = len({cell.params.get("path") for cell in result.cells}) == 1
    for cell in result.cells:
        # not told where it is the same for all cells, as everywhere but in a ladder
        told = {k: v for k, v in cell.params.items() if k != "path" or not one_path}
        label = Cell(told).label()
        table.add_row(label, *_cell_row(cell))
    return table


def totals(result: Result) -> str:
    """The closing line."""
    counts = [
        (sum(s.status is Status.PASS for s in result.scenarios), "passed"),
        (sum(s.status in (Status.FAIL, Status.ERROR) for s in result.scenarios), "failed"),
        (sum(s.status is Status.SKIP for s in result.scenarios), "skipped"),
        (sum(s.status is Status.UNAVAILABLE for s in result.scenarios), "could not be run here"),
    ]
    return ", ".join(f"{n} {word}" for n, word in counts if n or word in ("passed", "failed"))


def show(result: Result, run_dir: Path, console: Console) -> None:
    """Print tables, failures with the command that repeats them, and where everything is."""
    console.print()
    console.print(_scenarios(result))
    if result.cells:
        console.print(_cells(result))
    for s in result.scenarios:
        if s.status in (Status.FAIL, Status.ERROR, Status.UNAVAILABLE):
            console.print(Text(f"\n{s.name}: {s.status}", style=COLOURS[s.status]))
            console.print(Text(s.error or ""))
            if s.status is not Status.UNAVAILABLE:
                console.print(Text(f"to repeat it: {s.replay}"))
    console.print()
    for s in result.scenarios:
        if s.status is Status.SKIP:
            console.print(Text(f"skipped: {s.name}: {first_line(s.skip_reason)}"))
    console.print(Text(f"results: {run_dir}"))
    report = run_dir / "report.html"
    if report.exists():
        console.print(Text(f"report:  {report}"))
    console.print(Text(f"{totals(result)} in {result.seconds:.0f} s"), highlight=False)
