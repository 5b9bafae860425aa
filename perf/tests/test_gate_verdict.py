# SPDX-License-Identifier: BSD-3-Clause
"""The gate's judge: limits, verdicts, the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab_perf.gate import rules, tiers, verdict, work

RULES = Path(__file__).resolve().parents[1]
COUNTS = st.floats(min_value=1.0, max_value=1e6)
INSTRUCTIONS = rules.WorkMetric("instructions", "instructions", 0.5)
CALLS = rules.WorkMetric("calls", "calls sent", 0.001)


def limits() -> rules.WorkRules:
    return rules.read(RULES).work


def counts(scale: float = 1.0, **other: float) -> dict[str, float]:
    """Of a null disk, more or less."""
    usual = {
        "instructions": 300.0 * scale,
        "copy_instructions": 10.0,
        "branches": 60.0,
        "system_calls": 0.16,
        "kicks": 0.03125,
        "calls": 0.03125,
    }
    return usual | other


def summary(**changes: Any) -> dict[str, Any]:
    """As vhostlab coverage leaves it."""
    numbers = {
        "lines": {"covered": 950, "total": 1000, "percent": 95.0},
        "branches": {"covered": 800, "total": 1000, "percent": 80.0},
        "functions": {"covered": 99, "total": 100, "percent": 99.0},
    }
    parts = {"unit": {"passed": True, "seconds": 1.0, **numbers}}
    return {"schema_version": 1, "parts": parts, **numbers, "diff": None, **changes}


def ab(found: str, **cell: Any) -> dict[str, Any]:
    """As vhostlab ab leaves it, what the gate reads of it."""
    usual: dict[str, Any] = {"id": "abc", "params": {"device": "blk", "depth": 32, "path": "x"}}
    usual |= {"metric": "iops", "ratio": 0.99, "low": 0.95}
    usual |= {"high": 1.03, "blocks": 6, "mde": 0.06, "margin": 0.02, "verdict": found}
    return {"verdict": found, "cells": [usual | cell], "replay": "vhostlab ab A B"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What the gate leaves when all tiers ran and nothing has become worse."""
    revision = {"commit": "0123456789abcdef", "dirty": False, "build_id": "b", "version": "vhost 1"}
    facts = {
        "started": "2026-01-02T03:04:05Z",
        "seconds": 100.0,
        "command": "vhostlab gate main",
        "base": revision | {"name": "main", "subject": "what it was", "options": ""},
        "head": revision | {"name": "HEAD", "subject": "a <b>change</b>", "options": ""},
        "changed": {"files": 3, "of_the_daemon": 1},
        "machine": {"processor": "P", "processors": 2, "kernel": "6.1", "distribution": "Debian"},
        "parts": [
            {"name": n, "state": "ran", "reason": "", "seconds": 1.0, "replay": [f"replay {n}"]}
            for n in ("work", "ab", "coverage")
        ],
        "coverage_left_out": {"vm": "no time left for it (--budget)"},
    }
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    cases = {"null-blk": {"base": [counts(), counts()], "head": [counts()]}}
    (tmp_path / "work.json").write_text(json.dumps({"cases": cases}))
    for name, value in (("ab/ab", ab("pass")), ("coverage/summary", summary())):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(value))
    return tmp_path


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


# ---- work ----


@given(COUNTS, st.floats(min_value=0, max_value=0.0009), st.floats(min_value=0.02, max_value=3))
def test_growth_beyond_the_limit_fails(base: float, noise: float, growth: float) -> None:
    apart = [base, base * (1 + noise)]
    metric = rules.WorkMetric("m", "m", 0.0)
    assert work.judge("c", metric, apart, [base * (1 + growth)], limits()).verdict == "fail"


@given(COUNTS, st.floats(min_value=-0.5, max_value=0.0095))
def test_growth_within_the_limit_passes(base: float, growth: float) -> None:
    found = work.judge("c", INSTRUCTIONS, [base, base], [base * (1 + growth)], limits())
    assert found.verdict == "pass"


@given(COUNTS, st.floats(min_value=0.0, max_value=0.2), st.randoms())
def test_a_build_never_fails_against_itself(base: float, apart: float, random: Any) -> None:
    """Three counts out of one range: the third is no regression of the first two... by far."""
    three = [base, base * (1 + apart), base * (1 + apart * random.random())]
    found = work.judge("c", INSTRUCTIONS, three[:2], three[2:], limits())
    assert found.verdict != "fail"
    assert found.limit >= limits().floor


def test_counts_that_are_not_steady_are_no_pass() -> None:
    found = work.judge("c", INSTRUCTIONS, [300.0, 310.0], [303.0], limits())
    assert found.verdict == "inconclusive"


def test_a_wake_up_of_the_machine_is_no_regression() -> None:
    assert work.judge("c", CALLS, [0.03125] * 2, [0.0319], limits()).verdict == "pass"
    assert work.judge("c", CALLS, [0.03125] * 2, [0.0625], limits()).verdict == "fail"


# ---- tiers and the verdict ----


def test_all_is_well(directory: Path) -> None:
    found = verdict.judge(directory, RULES)
    assert found["verdict"] == "pass"
    page = (directory / verdict.PAGE).read_text()
    assert "a &lt;b&gt;change&lt;/b&gt;" in page
    assert "coverage by vm: no time left" in page
    assert "vhostlab ab A B" in page and "replay work" in page
    assert "http" not in page.replace("http-equiv", "")


def test_more_work_is_red_and_named(directory: Path) -> None:
    cases = {"null-blk": {"base": [counts(), counts()], "head": [counts(1.06)]}}
    change(directory / "work.json", cases=cases)
    found = verdict.judge(directory, RULES)
    assert found["verdict"] == "fail"
    assert found["tiers"][0]["findings"] == [
        "null-blk: instructions 300 → 318 per request, +6.0% (limit +1.0%)"
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("pass", "pass"),
        ("fail", "fail"),
        ("inconclusive", "inconclusive"),
        ("environment", "inconclusive"),
    ],
)
def test_the_comparison_decides(directory: Path, said: str, expected: str) -> None:
    (directory / "ab/ab.json").write_text(json.dumps(ab(said)))
    found = verdict.judge(directory, RULES)
    assert found["verdict"] == expected
    tier = found["tiers"][1]
    assert tier["rows"][0]["label"] == "blk qd32"
    if said == "fail":
        assert tier["findings"][0].startswith("blk qd32: iops ratio 0.990 [0.950, 1.030], 6 b")
    if said == "inconclusive":
        assert "minimal detectable effect up to 6.0%" in found["reason"]


def test_what_could_not_run_is_no_pass(directory: Path) -> None:
    parts = json.loads((directory / "facts.json").read_text())["parts"]
    parts[1] |= {"state": "could not run", "reason": "no fio"}
    change(directory / "facts.json", parts=parts)
    found = verdict.judge(directory, RULES)
    assert (found["verdict"], found["reason"]) == ("could not run", "timing in turns: no fio")


def test_nothing_to_judge_is_a_pass_with_its_reason(directory: Path) -> None:
    parts = json.loads((directory / "facts.json").read_text())["parts"]
    for part in parts:
        part |= {"state": "not needed", "reason": "the same daemon"}
    change(directory / "facts.json", parts=parts)
    assert verdict.judge(directory, RULES)["reason"] == "the same daemon"


# ---- coverage ----


def judged(tmp_path: Path, found: dict[str, Any], reached: rules.Reached | None) -> tiers.Tier:
    (tmp_path / "coverage").mkdir(exist_ok=True)
    (tmp_path / "coverage/summary.json").write_text(json.dumps(found))
    read = rules.read(RULES)
    return tiers.judge_coverage(tmp_path, rules.Rules(read.work, read.coverage, reached), {})


def test_changed_lines_that_did_not_run(tmp_path: Path) -> None:
    diff = {"base": "b", "lines": 20, "covered": 15, "missing": {"a.c": [3, 4, 5, 9]}}
    tier = judged(tmp_path, summary(diff=diff), None)
    assert tier.verdict == "fail"
    assert tier.findings == ["did not run: a.c: 3-5, 9"]
    diff |= {"covered": 16}
    assert judged(tmp_path, summary(diff=diff), None).verdict == "pass"
    few = {"base": "b", "lines": 4, "covered": 1, "missing": {"a.c": [3, 4, 5]}}
    assert judged(tmp_path, summary(diff=few), None).verdict == "pass"


def test_the_total_may_not_fall(tmp_path: Path) -> None:
    parts = frozenset({"unit"})
    assert judged(tmp_path, summary(), rules.Reached(parts, 95.2, 80.2)).verdict == "pass"
    assert judged(tmp_path, summary(), rules.Reached(parts, 95.4, 80.0)).verdict == "fail"
    assert judged(tmp_path, summary(), rules.Reached(parts, 95.0, 80.4)).verdict == "fail"
    other = judged(tmp_path, summary(), rules.Reached(parts | {"vm"}, 99.0, 99.0))
    assert other.verdict == "pass"
    assert other.not_judged == ["total coverage: without the part vm"]


def test_tests_that_failed_measure_nothing(tmp_path: Path) -> None:
    found = summary()
    found["parts"]["unit"]["passed"] = False
    assert judged(tmp_path, found, None).verdict == "inconclusive"


# ---- the command ----


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "vhostlab_perf", "gate", str(tmp_path), "--rules"]
    done = subprocess.run([*argv, str(RULES)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "facts.json" in done.stderr and len(done.stderr.splitlines()) == 1
    done = subprocess.run([*argv, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "gates.toml" in done.stderr and len(done.stderr.splitlines()) == 1
