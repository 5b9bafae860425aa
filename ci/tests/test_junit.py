# SPDX-License-Identifier: BSD-3-Clause
"""Reports are added up right, and neither an absent nor an empty one looks like success."""

from pathlib import Path

import junit
import pytest

MIXED = """<testsuites><testsuite name="a">
<testcase classname="ring" name="good"/>
<testcase classname="ring" name="bad"><failure message="no"/></testcase>
<testcase classname="ring" name="worse"><error message="no"/></testcase>
<testcase classname="vm" name="kvm"><skipped message="no /dev/kvm"/></testcase>
<testcase classname="vm" name="kvm2"><skipped>no /dev/kvm</skipped></testcase>
</testsuite></testsuites>"""


def test_each_outcome_is_counted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "mixed.xml"
    report.write_text(MIXED)
    assert junit.main([str(report)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "failed:  ring.bad",
        "failed:  ring.worse",
        "skipped: vm.kvm and 1 more: no /dev/kvm",
        "1 passed, 2 failed, 2 skipped",
    ]


def test_success_needs_a_passed_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, empty = tmp_path / "good.xml", tmp_path / "empty.xml"
    good.write_text('<testsuite><testcase name="x"/></testsuite>')
    empty.write_text("<testsuite/>")
    assert junit.main([str(empty)]) == 1
    assert junit.main([str(good), str(empty)]) == 0
    assert capsys.readouterr().out.splitlines() == ["0 passed, 0 failed", "1 passed, 0 failed"]


@pytest.mark.parametrize("text", [None, "", "<testsuite>"])
def test_an_unreadable_report_is_a_failure(tmp_path: Path, text: str | None) -> None:
    report = tmp_path / "report.xml"
    if text is not None:
        report.write_text(text)
    assert [case.outcome for case in junit.read(report)] == ["failed"]
