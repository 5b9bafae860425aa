# SPDX-License-Identifier: BSD-3-Clause
"""Results: plan and fragments become a result that its schema accepts, and nothing is lost."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from vhostlab import results
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import Status

SCHEMA = json.loads((source_dir() / "docs" / "result.schema.json").read_text())


def scenario(name: str, status: Status = Status.PASS, **changes: Any) -> results.ScenarioResult:
    failed = status in (Status.FAIL, Status.ERROR, Status.UNAVAILABLE)
    base = results.ScenarioResult(
        name=name,
        stage="standard",
        status=status,
        seconds=1.5,
        replay=results.replay_scenario(name, "vhostlab"),
        skip_reason="no scsi here" if status is Status.SKIP else None,
        error="it broke\nsecond line" if failed else None,
        checks=(results.Check("size", not failed, "64 MiB"),),
        metrics=(results.Metric("cpu", "%", results.Better.LOWER, 0.5),),
    )
    return dataclasses.replace(base, **changes)


def plan(*names: str) -> results.Plan:
    return results.Plan(
        run_id="20260102T030405Z-vhostlab",
        started="2026-01-02T03:04:05Z",
        suite="quick",
        command="vhostlab vmtest --suite quick",
        target="vhostlab",
        stages=(results.PlannedStage("standard", names),),
    )


def fragment(*scenarios: results.ScenarioResult) -> results.Fragment:
    metric = results.Metric("iops", "1/s", results.Better.HIGHER, 1000.0)
    cell = results.CellResult(
        "0123456789", "standard", {"device": "blk", "depth": 1}, (metric,), "fio/a.json", "replay"
    )
    return results.Fragment(
        stage="standard",
        target=results.TargetRecord("vhostlab", "0.1"),
        environment={"accel": "tcg", "host.cpus": 2, "host.flags": ["a"]},
        scenarios=scenarios,
        cells=(cell,),
        guests=(results.GuestRecord("standard", ("qemu", "-m", "512"), 6.5, "6.1"),),
        queue_counters=(results.QueueCounters("standard", "vhost.0", 0, {"kicks": 3}),),
        logs=("logs/standard/console.log",),
    )


def test_one_target_keeps_what_identifies_it() -> None:
    ours = results.TargetRecord("vhostlab", "0.1", program="abc", revision="v0.1-3-gabc")
    one = dataclasses.replace(fragment(scenario("a")), target=ours)
    stages = (results.PlannedStage("standard", ("a",)), results.PlannedStage("other", ("b",)))
    two = dataclasses.replace(plan("a"), stages=stages)
    again = dataclasses.replace(one, stage="other")
    assert results.merge(two, {"standard": one, "other": again}, 1.0).target == ours
    qemu = dataclasses.replace(again, target=results.TargetRecord("qemu", "7.2", program="def"))
    merged = results.merge(two, {"standard": one, "other": qemu}, 1.0).target
    assert merged == results.TargetRecord(
        "vhostlab+qemu", "0.1+7.2", program="abc+def", revision="v0.1-3-gabc"
    )


def store(run: Path, plan_: results.Plan, *fragments: results.Fragment) -> None:
    results.write(plan_, run / results.PLAN_FILE)
    for f in fragments:
        results.write(f, run / "stages" / f"{f.stage}.json")


def test_finished_run_satisfies_the_schema_and_reads_back(tmp_path: Path) -> None:
    each = [scenario(s.value, s) for s in Status]
    store(tmp_path, plan(*[s.value for s in Status], "lost"), fragment(*each))
    done = results.finish(tmp_path, 12.3456)
    raw = json.loads((tmp_path / results.RESULT_FILE).read_text())
    jsonschema.validate(raw, SCHEMA)
    assert results.read(results.Result, tmp_path / results.RESULT_FILE) == done
    assert done.timing == "functional"
    assert done.status is Status.FAIL
    lost = done.scenarios[-1]
    assert (lost.name, lost.status) == ("lost", Status.ERROR)
    assert lost.error is not None and "standard" in lost.error


def test_a_stage_without_a_fragment_loses_all_its_scenarios(tmp_path: Path) -> None:
    store(tmp_path, plan("boot", "integrity"))
    done = results.finish(tmp_path, 1.0)
    assert [s.status for s in done.scenarios] == [Status.ERROR, Status.ERROR]
    assert done.target.version == "unknown"
    jsonschema.validate(json.loads((tmp_path / results.RESULT_FILE).read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("statuses", "verdict", "code"),
    [
        ([Status.PASS], Status.PASS, 0),
        ([Status.PASS, Status.SKIP], Status.PASS, 0),
        ([Status.SKIP], Status.UNAVAILABLE, 2),
        ([], Status.UNAVAILABLE, 2),
        ([Status.PASS, Status.UNAVAILABLE], Status.UNAVAILABLE, 2),
        ([Status.UNAVAILABLE, Status.ERROR], Status.ERROR, 1),
        ([Status.PASS, Status.ERROR, Status.FAIL], Status.FAIL, 1),
    ],
)
def test_verdict_is_the_worst_and_nothing_run_is_not_a_pass(
    statuses: list[Status], verdict: Status, code: int
) -> None:
    assert results.overall([scenario("x", s) for s in statuses]) is verdict
    assert results.exit_code(verdict) == code


def change(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    node: Any = raw
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 2),
        ("started", "yesterday"),
        ("status", "skip"),
        ("extra", 1),
        ("scenarios", []),
        ("scenarios/0/error", "but it passed"),
        ("scenarios/0/checks/0/detail", None),
        ("cells/0/id", "XYZ"),
        ("cells/0/metrics", []),
        ("cells/0/metrics/0/direction", "up"),
        ("cells/0/fio_file", "/etc/passwd"),
        ("guests/0/argv", []),
        ("queue_counters/0/counters/kicks", 1.5),
        ("environment/accel", "hvf"),
        ("environment/nested", {"a": 1}),
    ],
)
def test_schema_refuses(tmp_path: Path, path: str, value: Any) -> None:
    store(tmp_path, plan("boot"), fragment(scenario("boot")))
    results.finish(tmp_path, 1.0)
    raw = json.loads((tmp_path / results.RESULT_FILE).read_text())
    jsonschema.validate(raw, SCHEMA)
    change(raw, path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, SCHEMA)


def test_junit_counts_and_survives_console_garbage(tmp_path: Path) -> None:
    bad = scenario("bad", Status.FAIL, error="panic \x1b[31m\x00<&>\x07")
    store(tmp_path, plan("good", "bad"), fragment(scenario("good"), bad))
    results.finish(tmp_path, 3.0)
    suite = ElementTree.parse(tmp_path / results.JUNIT_FILE).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    failure = suite.find("testcase[@name='bad']/failure")
    assert failure is not None and "<&>" in (failure.text or "")
    assert suite.find("testcase[@name='good']/properties/property") is not None


def test_run_directories_never_collide_and_latest_follows(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = results.new_run_directory(tmp_path / "r", "vhostlab", when)
    second = results.new_run_directory(tmp_path / "r", "vhostlab", when)
    assert first.name == "20260102T030405Z-vhostlab"
    assert second != first
    assert (tmp_path / "r" / "latest").resolve() == second


def test_unwritable_results_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot make a result directory"):
        results.new_run_directory(tmp_path / "file", "vhostlab")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a Plan"),
        ("[]", "is not a Plan"),
        ('{"run_id": 1}', "is not a Plan"),
        ('{"surprise": 1}', "unknown key surprise"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(HarnessError, match="cannot read"):
        results.read(results.Plan, path)
    path.write_text(text)
    with pytest.raises(HarnessError, match=message):
        results.read(results.Plan, path)


def test_fingerprint_tells_environments_apart() -> None:
    one = {"accel": "tcg", "host.cpus": 2}
    assert results.fingerprint(one) == results.fingerprint(dict(reversed(one.items())))
    assert results.fingerprint(one) != results.fingerprint(one | {"host.cpus": 4})
    assert results.fingerprint(one) == results.fingerprint(one | {"host.hugepages_2048kib": 4})
