# SPDX-License-Identifier: BSD-3-Clause
"""The report: complete, offline, safe with hostile text, and legible without any measurement."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from vhostlab_perf import charts, figures, reader, report
from vhostlab_perf.__main__ import main
from vhostlab_perf.aggregate import aggregate

from .made import Outline, cell, metric, result, scenario

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs" / "result.schema.json").read_text())


def page(tmp_path: Path, **changes: Any) -> str:
    raw = result(**changes)
    jsonschema.validate(raw, SCHEMA)
    source = tmp_path / "result.json"
    source.write_text(json.dumps(raw))
    assert main(["report", str(source)]) == 0
    return (tmp_path / "report.html").read_text()


def test_page_is_whole_offline_and_script_free(tmp_path: Path) -> None:
    text = page(tmp_path)
    outline = Outline(text)
    assert outline.outside == []
    assert not outline.tags & {"script", "img", "iframe", "object"}
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(outline.ids) == len(set(outline.ids))
    assert text.count("<svg xmlns") == 4


def test_page_says_what_the_result_says(tmp_path: Path) -> None:
    words = Outline(page(tmp_path)).text()
    for expected in (
        "Passed vmtest on vhostlab",
        "3 min 20 s",
        "1 pass 1 skip",
        "the target has no scsi",
        "functional",
        "blk null randread 4k qd32",
        "12\u202f346",
        "50.5",
        "4\u202f000",
        "1\u202f234\u202f567",
        "malformed",
        "0123456789ab",
        "vhostlab vmtest --target vhostlab --suite vmtest",
        "vhostlab vmtest --scenario perf --cell 0000000001",
        "qemu -append 'a b'",
    ):
        assert expected in words, expected


def test_failure_shows_check_error_and_replay(tmp_path: Path) -> None:
    words = Outline(page(tmp_path, status="fail", scenarios=[scenario("boot", "fail")])).text()
    assert "Failed vmtest" in words
    assert "size of boot: 64 MiB" in words
    assert "--scenario boot" in words
    words = Outline(page(tmp_path, status="error", scenarios=[scenario("boot", "error")])).text()
    assert "console tail" in words


def test_performance_timing_carries_no_warning(tmp_path: Path) -> None:
    words = Outline(
        page(tmp_path, timing="performance", environment={"accel": "kvm"}),
    ).text()
    assert "functional" not in words


def test_a_run_that_measured_nothing_still_makes_a_page(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"cells": [], "guests": [], "queue_counters": [], "environment": {}}
    text = page(tmp_path, status="error", scenarios=[scenario("boot", "error")], **bare)
    assert "<svg" not in text
    assert "Ended with errors" in Outline(text).text()


def test_what_a_guest_says_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</pre><script>alert(1)</script><img src=x onerror=y>"
    text = page(
        tmp_path,
        status="fail",
        target={"name": "vhostlab", "version": evil},
        environment={"accel": "tcg", "host.cpu": evil},
        scenarios=[
            scenario("boot", "error", error=evil, checks=[]),
            scenario("x", "pass", checks=[{"name": evil, "passed": True, "detail": evil}]),
        ],
        cells=[cell(1, evil, evil, 1)],
    )
    outline = Outline(text)
    assert not outline.tags & {"script", "img"}
    assert "alert(1)" in outline.text()


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (("frontend", "frontend"), ["blk null randread 4k qd1", "blk null randread 4k qd2"]),
        (
            ("frontend", "guest"),
            ["blk null randread 4k qd1 frontend", "blk null randread 4k qd2 guest"],
        ),
    ],
)
def test_a_way_that_all_cells_went_is_no_label(
    tmp_path: Path, paths: tuple[str, str], labels: list[str]
) -> None:
    cells = [cell(n, "blk", "null", n) for n in (1, 2)]
    for made, path in zip(cells, paths, strict=True):
        made["params"]["path"] = path
    read = reader.read(written(tmp_path, result(cells=cells)))
    assert [c.label() for c in aggregate([read])] == labels


def test_cells_with_other_axes_are_drawn_too(tmp_path: Path) -> None:
    made = []
    for n, packed in enumerate((True, False)):
        params = {"workload": "x", "packed": packed, "jobs": 4}
        metrics = [metric("iops", "1/s", "higher", 5.0 * (1 - n))]
        made.append(cell(n, "blk", "null", 1) | {"params": params, "metrics": metrics})
    cells = aggregate([reader.read(written(tmp_path, result(cells=made)))])
    assert [c.label() for c in cells] == ["x packed jobs=4", "x no packed jobs=4"]
    (figure,) = figures.iops(cells)
    for layout in charts.SCREEN:
        assert "no packed" in "".join(figure.chart.draw(layout, "x"))
    assert figures.percentiles(cells) == []


def test_charts_fit_their_pages_and_take_their_colours_from_the_page(tmp_path: Path) -> None:
    cells = aggregate([reader.read(written(tmp_path, result()))])
    drawings = figures.every(cells)
    assert len(drawings) == 2
    for figure in drawings:
        for layout, limit in ((charts.WIDE, 1216), (charts.NARROW, 368), (charts.PAPER, 680)):
            for svg in figure.chart.draw(layout, "x"):
                width = re.match(r'<svg [^>]*width="([\d.]+)"', svg)
                assert width is not None and float(width[1]) <= limit
                coloured = charts.coloured(svg)
                assert "var(--series-1)" in coloured and "#030301" not in coloured.lower()


def written(tmp_path: Path, raw: Any) -> Path:
    path = tmp_path / "input.json"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return path


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "schema_version None"),
        ({"schema_version": 2}, "schema_version 2, this reads 1"),
        ({"schema_version": 1}, "is not a result: KeyError"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, raw: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(written(tmp_path, raw))]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_missing_input_and_unwritable_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "absent.json")]) == 2
    assert "cannot read" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    source = written(tmp_path, result())
    assert main(["report", str(source), "-o", str(tmp_path / "file" / "x.html")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_perf_imports_nothing_of_the_harness() -> None:
    code = (
        "import sys, vhostlab_perf.__main__;"
        "print([m for m in sys.modules if m.split('.')[0] in ('vhostlab', 'avocado')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_number_shows_a_dash_for_what_was_not_measured(tmp_path: Path) -> None:
    lonely = cell(1, "blk", "null", 1)
    lonely["metrics"] = lonely["metrics"][:1]
    assert "\N{EN DASH}" in report.render(
        report.Report("run", (reader.read(written(tmp_path, result(cells=[lonely]))),))
    )
