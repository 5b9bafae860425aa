# SPDX-License-Identifier: BSD-3-Clause
"""The step runner: a failure stops what needs it, nothing else, and is never lost in the sum."""

from pathlib import Path

import pytest
import steps

GOOD = '<testsuite><testcase name="a"/><testcase name="b"/></testsuite>'
BAD = '<testsuite><testcase name="c"><failure/></testcase></testsuite>'

MAKEFILE = f"""
good: ; @echo '{GOOD}' >good.xml
bad: ; @echo '{BAD}' >bad.xml; exit 1
quiet: ; @true
broken: ; @exit 3
dependent: ; @touch dependent-ran
"""


@pytest.fixture(autouse=True)
def in_a_project_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    monkeypatch.chdir(tmp_path)


def outcome(*wanted: tuple[str, str | None, str | None]) -> tuple[str, list[str]]:
    """Run steps given as (name, report, needs); return the summary and each result."""
    built = [steps.Step(name, (Path(r),) if r else (), needs) for name, r, needs in wanted]
    outcomes = steps.run_all(built)
    text = steps.summary(outcomes, steps.write_own_report(outcomes))
    return text, [o.result for o in outcomes]


def test_a_reported_failure_is_counted_once() -> None:
    text, results = outcome(("bad", "bad.xml", None), ("good", "good.xml", None))
    assert results == ["FAILED", "ok"]
    assert text.splitlines()[-1] == "2 passed, 1 failed"


def test_a_step_that_fails_before_it_reports() -> None:
    text, results = outcome(("broken", "broken.xml", None), ("dependent", None, "broken"))
    assert results == ["FAILED", "not run"]
    assert not Path("dependent-ran").exists()
    assert text.splitlines()[-2:] == [
        "not run, as what they need failed: dependent",
        "0 passed, 1 failed",
    ]
    assert "broken" in Path("build/reports/steps.xml").read_text()


def test_success_without_a_report_is_a_failure() -> None:
    _, results = outcome(("quiet", "quiet.xml", None))
    assert results == ["FAILED"]


def test_an_old_report_does_not_count() -> None:
    Path("broken.xml").write_text(GOOD)
    text, _ = outcome(("broken", "broken.xml", None))
    assert text.splitlines()[-1] == "0 passed, 1 failed"
