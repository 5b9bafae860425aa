# SPDX-License-Identifier: BSD-3-Clause
"""Whatever a result says, a page comes of it, and what the result says stays text."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from vhostlab_perf import export, pdf, reader, report
from vhostlab_perf.aggregate import aggregate

from .made import Outline, cell, metric, result

TEXT = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", "x" * 5000, "<b>", "\x00\x1b[31m", "\ud800", "=1", "a\u202eb", "\N{PILE OF POO}"]
    ),
)
NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([0, -1, 1e308, 1e-300, float("nan"), float("inf"), 10**400, True, None, "5"]),
)
NAMES = st.sampled_from(["iops", "latency_p50", "latency_p99", "latency_mean", "fairness_jain"])
SCALARS = st.one_of(TEXT, st.integers(), st.booleans(), st.floats())


@st.composite
def cells(draw: st.DrawFn) -> Any:
    made = cell(draw(st.integers(0, 3)), "blk", "null", 1)
    made["params"] = draw(
        st.dictionaries(
            st.one_of(TEXT, st.sampled_from(["depth", "vms", "path", "target"])),
            SCALARS,
            max_size=5,
        )
    )
    made["metrics"] = [
        {"name": draw(st.one_of(NAMES, TEXT)), "unit": draw(TEXT), "value": draw(NUMBERS)}
        for _ in range(draw(st.integers(0, 4)))
    ]
    made["steady"] = draw(st.sampled_from(["steady", "not steady", "unknown", "", None, 5]))
    made["series"] = draw(st.sampled_from(["", "absent", "../x", 5, None]))
    for key in draw(st.lists(st.sampled_from(sorted(made)), max_size=1)):
        del made[key]
    return draw(st.sampled_from([made, made, made, None, [], "x"]))


@st.composite
def results(draw: st.DrawFn) -> Any:
    raw = result(cells=draw(st.lists(cells(), max_size=4)))
    raw["timing"] = draw(st.sampled_from(["performance", "functional", "", None]))
    raw["environment"] = draw(
        st.dictionaries(TEXT, st.one_of(SCALARS, st.lists(SCALARS)), max_size=3)
    )
    raw["left_out"] = draw(st.sampled_from([None, [], [{}], [{"reason": "x"}], "x"]))
    raw["target"] = draw(st.sampled_from([raw["target"], "x", None, {}, []]))
    for key in draw(
        st.lists(st.sampled_from(sorted(set(raw) - {"run_id", "schema_version"})), max_size=2)
    ):
        raw[key] = draw(st.one_of(st.none(), TEXT, st.lists(TEXT, max_size=2)))
    return raw


@settings(
    max_examples=12,
    deadline=None,
    # pages take long to draw: a failure is reported as it was found
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(results(), min_size=1, max_size=2), st.sampled_from(report.EDITIONS))
def test_any_result_makes_a_page(raws: list[Any], edition: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        found = []
        for raw in raws:
            path = Path(directory) / "result.json"
            path.write_text(json.dumps(raw))
            found.append(reader.read(path))
    made = report.Report(edition, tuple(found), previous=aggregate(found))
    text = report.render(made)
    text.encode()
    outline = Outline(text)
    assert not outline.tags & {"script", "img", "iframe", "b"}
    assert len(outline.ids) == len(set(outline.ids))
    for body in report.outputs(made).values():
        body.encode()
    (_, document), *_ = report.outputs(made).items()
    assert json.loads(document)["format"] == export.FORMAT


def test_long_names_and_huge_values_make_a_pdf_too(tmp_path: Path) -> None:
    odd = cell(1, "x" * 5000, "<b>&amp;</b>", 1)
    odd["metrics"] = [
        metric("iops", "1/s", "higher", 1e300),
        metric("latency_p99", "ns", "lower", 0),
    ]
    (tmp_path / "result.json").write_text(json.dumps(result(cells=[odd])))
    made = report.Report("run", (reader.read(tmp_path),))
    assert pdf.make(made).startswith(b"%PDF")
    assert "1e+300" in report.render(made)
