# SPDX-License-Identifier: BSD-3-Clause
"""What several runs make together: their numbers, and no more certainty than there is."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
import statistics
from pathlib import Path

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from vhostlab_perf import compare, export, figures, reader, report, series
from vhostlab_perf.__main__ import main
from vhostlab_perf.aggregate import Estimate, aggregate, curves, interval, ratio

from .made import Outline, cell, metric, result, run

POSITIVE = st.floats(1e-3, 1e9)


@given(st.lists(POSITIVE, min_size=2, max_size=40))
def test_an_interval_is_as_sure_as_the_binomial_distribution_says(values: list[float]) -> None:
    low, high, confidence = interval(values)
    ordered = sorted(values)
    assert low <= statistics.median(values) <= high
    if len(set(values)) == len(values):
        outside = ordered.index(low)
        assert ordered.index(high) == len(values) - 1 - outside
        # the median of a distribution lies outside when too few values are on one side of it
        expected = 1 - 2 * scipy.stats.binom.cdf(outside, len(values), 0.5)
        assert confidence == pytest.approx(float(expected))
    assert confidence >= 0.95 or (low, high) == (ordered[0], ordered[-1])


def test_intervals_hold_the_median_as_often_as_they_say() -> None:
    noise = random.Random(1)
    for n in (3, 5, 9):
        drawn = [[noise.lognormvariate(0, 0.5) for _ in range(n)] for _ in range(2000)]
        found = [interval(values) for values in drawn]
        hit = sum(low <= 1 <= high for low, high, _ in found) / len(found)
        assert hit == pytest.approx(found[0][2], abs=0.025)


def test_intervals_of_ratios_hold_the_ratio_as_often_as_they_say() -> None:
    noise = random.Random(2)
    for n in (3, 5, 8):
        hits, confidence = 0, 0.0
        for _ in range(1000):
            a = Estimate.of([noise.lognormvariate(0.1, 0.3) for _ in range(n)])
            b = Estimate.of([noise.lognormvariate(0, 0.3) for _ in range(n)])
            found = ratio(a, b)
            assert found is not None
            hits += found.low <= math.exp(0.1) <= found.high
            confidence = found.confidence
        assert hits / 1000 == pytest.approx(confidence, abs=0.025)


@given(st.lists(POSITIVE, min_size=4, max_size=9), st.lists(POSITIVE, min_size=4, max_size=9))
def test_a_ratio_leaves_out_one_exactly_when_mann_whitney_does(
    over: list[float], under: list[float]
) -> None:
    found = ratio(Estimate.of(over), Estimate.of(under))
    assert found is not None
    if len({*over, *under}) < len(over) + len(under):
        return  # scipy has no exact test with ties
    p = scipy.stats.mannwhitneyu(over, under, method="exact").pvalue
    outside = not found.low <= 1 <= found.high
    assert outside == (float(p) <= 1 - found.confidence + 1e-12)


def test_one_run_has_no_interval_and_many_runs_have_one_at_once() -> None:
    assert interval([3.0]) == (3.0, 3.0, 0.0)
    many = Estimate.of([1 + n / 100 for n in range(100)])
    found = ratio(many, many)
    assert found is not None and found.low < 1 < found.high and found.confidence == 0.95


def written(directory: Path, **changes: object) -> reader.Result:
    directory.mkdir(exist_ok=True)
    (directory / "result.json").write_text(json.dumps(result(**changes)))
    return reader.read(directory)


def test_emulated_and_measured_cells_never_meet(tmp_path: Path) -> None:
    same = [cell(1, "blk", "null", 1), cell(2, "blk", "null", 32)]
    slow = written(tmp_path / "a", cells=same, run_id="slow")
    fast = written(tmp_path / "b", cells=same, run_id="fast", timing="performance")
    cells = aggregate([slow, fast])
    assert [(len(c.runs), c.timing) for c in cells] == [
        *[(1, "functional")] * 2,
        *[(1, "performance")] * 2,
    ]
    found = figures.every(cells)
    assert [f.functional for f in found] == sorted(f.functional for f in found)
    assert all(("functional" in f.title) == f.functional for f in found)
    # the 2 cells of its own timing, and of no other
    assert {len(f.table.rows) for f in found} == {2}
    assert len(curves(cells, "depth", None)) == 2
    assert compare.since(cells, aggregate([slow])).changes == ()
    assert compare.ladders(aggregate([slow, written(tmp_path / "c", cells=same)])) == ()


def test_a_curve_joins_cells_that_differ_in_its_axis_only(tmp_path: Path) -> None:
    made = [cell(n, "blk", b, d) for n, (b, d) in enumerate([("null", 1), ("null", 8), ("aio", 8)])]
    made[0]["params"]["ring"] = "packed"
    cells = aggregate([written(tmp_path / "a", cells=made)])
    assert curves(cells, "depth", None) == ()
    del made[0]["params"]["ring"]
    (curve,) = curves(aggregate([written(tmp_path / "b", cells=made)]), "depth", None)
    assert [x for x, _ in curve.cells] == [1.0, 8.0]


def test_every_axis_has_its_chart(tmp_path: Path) -> None:
    cells = aggregate([reader.read(run(tmp_path / "a", 1))])
    assert [f.key for f in figures.every(cells)] == [
        *("iops", "iops-depth", "iops-target-cores", "iops-vms"),
        *("latency", "load", "cpu", "fairness"),
    ]


def test_a_release_says_what_its_runs_say(tmp_path: Path) -> None:
    runs = [run(tmp_path / f"r{n}", n) for n in range(1, 6)]
    before = [run(tmp_path / f"p{n}", n + 4) for n in range(1, 5)]
    page = tmp_path / "release.html"
    command = ["report", *map(str, runs), "-o", str(page), "--json", "--csv", "--edition=release"]
    command += [f"--previous={p}" for p in before]
    assert main([*command, "--revision=1.0: the first", "--title=Release 1"]) == 0
    words = Outline(page.read_text()).text()
    for expected in ("Release 1", "1.0: the first", "Test set-up", "n = 5", "93.8%", "one NUMA"):
        assert expected in words, expected
    document = json.loads(page.with_suffix(".json").read_text())
    rows = list(csv.DictReader(io.StringIO(page.with_suffix(".csv").read_text())))
    raw = [json.loads((r / "result.json").read_text()) for r in runs]
    for number, shown in enumerate(document["cells"]):
        values = {
            m["name"]: [r["cells"][number]["metrics"][n]["value"] for r in raw]
            for n, m in enumerate(raw[0]["cells"][number]["metrics"])
        }
        assert {n: m["values"] for n, m in shown["metrics"].items()} == values
        in_csv = {r["metric"]: float(r["median"]) for r in rows if r["cell"] == shown["id"]}
        assert in_csv == {n: statistics.median(v) for n, v in values.items()}
        assert figures.IOPS.show(statistics.median(values["iops"])) in words
        assert figures.IOPS.show(min(values["iops"])) in words
    # the JSON of a report can stand for the runs behind it
    assert export.from_json(page.with_suffix(".json"))[0].metrics["iops"].n == 5
    again = ["report", *map(str, runs), "-o", str(tmp_path / "x.html")]
    assert main([*again, f"--previous={page.with_suffix('.json')}"]) == 0
    assert "no difference seen" in (tmp_path / "x.html").read_text()


def test_a_change_is_called_by_its_direction() -> None:
    better = ratio(Estimate.of([11, 12, 13, 14]), Estimate.of([1, 2, 3, 4]))
    few = ratio(Estimate.of([11, 12]), Estimate.of([1, 2]))
    assert better is not None and few is not None
    assert compare.verdict(better, "higher") == compare.BETTER
    assert compare.verdict(better, "lower") == compare.WORSE
    assert compare.verdict(few, "higher") == compare.UNSURE


def test_a_ladder_begins_with_the_bare_file_and_has_one_kind_of_disk(tmp_path: Path) -> None:
    found = [
        reader.read(run(tmp_path / f"{t}-{p}-{n}", n, t, p))
        for n in range(1, 4)
        for t, p in (("vhostlab", "guest"), ("qemu-storage-daemon", "guest"), ("none", "file"))
    ]
    assert report.choose(found) == "comparison"
    ladders = compare.ladders(aggregate(found))
    by_title = {x.title: x for x in ladders}
    ladder = by_title["randread 4k qd8 on aio blk"]
    assert [r.name for r in ladder.rungs] == ["file", "guest vhostlab", "guest qemu-storage-daemon"]
    bare, ours, other = (statistics.median(r.cell.metrics["iops"].values) for r in ladder.rungs)
    assert ladder.rungs[0].ratio is None and bare > ours > other
    assert ladder.rungs[2].ratio is not None
    assert ladder.rungs[2].ratio.value == pytest.approx(other / bare, rel=0.1)
    # nobody ran the bare file with two cores of the target, but the ladder is of the same work
    assert len(by_title["randread 4k qd32 on aio blk target_cores=2"].rungs) == 3
    text = report.render(report.Report("comparison", tuple(found)))
    assert "Layer by layer" in Outline(text).text()


def test_commands_that_differ_in_cells_are_one() -> None:
    assert figures.commands(["v bench --cell a", "v bench --cell b", "v run 'x y'"]) == (
        "v bench --cell a --cell b",
        "v run 'x y'",
    )
    assert figures.commands(["unbalanced '"]) == ("'unbalanced '\"'\"''",)


def test_series_are_read_from_below_the_run_only(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "outside.csv").write_text("second,iops\n0,5\n")
    (tmp_path / "run" / "a.csv").write_text("second,iops,iops_vm1\n0,5,2\n1,7,3\n")
    (tmp_path / "run" / "b.log").write_text("1000, 5, 0, 4096\n1000, 3, 1, 4096\n2000, 6, 0, 4096")
    (tmp_path / "run" / "c.csv").write_text("second,iops\n" + "0,1\n" * 1000)
    assert series.read(tmp_path / "run", "a.csv") == (5.0, 7.0)
    assert series.read(tmp_path / "run", "b.log") == (8.0, 6.0)
    assert len(series.read(tmp_path / "run", "c.csv")) <= series.MOST_POINTS
    for bad in ("../outside.csv", str(tmp_path / "outside.csv"), "absent", "."):
        assert series.read(tmp_path / "run", bad) == ()


def test_a_run_that_was_killed_makes_a_page_of_what_there_is(tmp_path: Path) -> None:
    plan = {
        "run_id": "killed",
        "started": "2026-01-02T03:04:05Z",
        "suite": "vmtest",
        "command": "vhostlab vmtest",
        "target": "vhostlab",
        "stages": [{"name": "a", "scenarios": ["boot"]}, {"name": "b", "scenarios": ["blk"]}],
        "left_out": [{"id": "00aa00aa00", "params": {"vms": 9}, "reason": "too little memory"}],
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "stages").mkdir()
    stage = {k: result()[k] for k in ("environment", "scenarios", "cells", "target")}
    (tmp_path / "stages" / "a.json").write_text(json.dumps(stage))
    assert main(["report", str(tmp_path)]) == 0
    words = Outline((tmp_path / "report.html").read_text()).text()
    for expected in (
        "Ended with errors",
        "the run left no result.json",
        "the run ended before this scenario did",
        "too little memory",
        "blk null randread 4k qd32",
    ):
        assert expected in words, expected


def test_unreadable_parts_are_named_and_the_rest_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, worse = cell(1, "blk", "null", 1), cell(2, "scsi", "null", 1), {"id": "x"}
    bad["metrics"][0]["value"] = float("nan")
    raw = result(cells=[good, bad, worse], scenarios=5)
    (tmp_path / "result.json").write_text(json.dumps(raw))
    assert main(["report", str(tmp_path), str(tmp_path / "absent"), "-o", str(tmp_path / "p")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    words = Outline((tmp_path / "p").read_text()).text()
    for expected in (
        "iops: nan is not finite",
        "cells[2]: KeyError",
        "scenarios is not a list",
        "cannot read",
        "12\u202f347",
    ):
        assert expected in words, expected


def test_a_spreadsheet_carries_nothing_out(tmp_path: Path) -> None:
    evil = cell(1, "=cmd()", "@x", 1) | {"metrics": [metric("+m", "-u", "lower", 1.0)]}
    text = export.to_csv(aggregate([written(tmp_path / "a", cells=[evil])]))
    assert not re.search(r"(^|,)[=+@-][a-z]", text, re.MULTILINE)
