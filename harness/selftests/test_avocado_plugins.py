# SPDX-License-Identifier: BSD-3-Clause
"""The Avocado plugins: what they resolve, start, report and leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from avocado.core.nrunner.runnable import Runnable
from avocado.core.resolver import ReferenceResolutionResult
from vhostlab import cli, results
from vhostlab.results import Fragment, Plan, Status
from vhostlab.run import Request
from vhostlab.runner import RUN_DIR_VARIABLE
from vhostlab_avocado.events import RunEvents
from vhostlab_avocado.resolver import KIND, ScenarioResolver
from vhostlab_avocado.runner import outcome, stage_command


def resolve(reference: str) -> list[Runnable]:
    found = ScenarioResolver().resolve(reference)
    assert found.result is ReferenceResolutionResult.SUCCESS
    resolutions: list[Runnable] = found.resolutions
    return resolutions


def test_one_runnable_per_stage() -> None:
    found = resolve("scenario:boot+idle+kill@qemu-storage-daemon")
    assert [(r.kind, r.uri) for r in found] == [
        (KIND, "boot+idle@qemu-storage-daemon"),
        (KIND, "kill@qemu-storage-daemon"),
    ]
    assert found[0].kwargs["scenarios"] == "boot,idle"


def test_other_references_are_for_other_resolvers() -> None:
    found = ScenarioResolver().resolve("/bin/true")
    assert found.result is ReferenceResolutionResult.NOTFOUND


@pytest.mark.parametrize("reference", ["scenario:nope", "suite:nope", "scenario:boot@nope"])
def test_what_does_not_exist_is_said_to_whoever_asked(reference: str) -> None:
    found = ScenarioResolver().resolve(reference)
    assert found.result is ReferenceResolutionResult.CORRUPT
    assert "nope" in found.info


def test_the_stage_command_is_one_that_the_command_line_takes(tmp_path: Path) -> None:
    for runnable in resolve("suite:vmtest@vhostlab"):
        words = stage_command(runnable, tmp_path)
        assert words[:4] == [sys.executable, "-m", "vhostlab", "stage"]
        options = cli._parser().parse_args(words[3:])
        assert options.name == runnable.kwargs["stage"]
        assert options.scenario == runnable.kwargs["scenarios"].split(",")
        assert options.matrix.is_file()
        assert not options.brief
    quick = resolve("suite:quick@vhostlab")[0]
    assert cli._parser().parse_args(stage_command(quick, tmp_path)[3:]).brief


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([Status.PASS, Status.SKIP], "pass"),
        ([Status.SKIP, Status.SKIP], "skip"),
        ([Status.PASS, Status.FAIL], "fail"),
        ([Status.FAIL, Status.ERROR], "error"),
        ([Status.UNAVAILABLE], "error"),
    ],
)
def test_outcome_of_a_stage(tmp_path: Path, statuses: list[Status], expected: str) -> None:
    scenarios = tuple(
        results.ScenarioResult(
            name=f"s{n}",
            stage="st",
            status=status,
            seconds=1.0,
            replay="again",
            skip_reason="not here" if status is Status.SKIP else None,
            error="why\nmore" if status not in (Status.PASS, Status.SKIP) else None,
        )
        for n, status in enumerate(statuses)
    )
    results.write(Fragment("st", scenarios=scenarios), tmp_path / "stages" / "st.json")
    told = outcome(tmp_path, "st")
    assert told["result"] == expected
    if expected != "pass":
        assert "\n" not in told["fail_reason"]


def test_a_stage_without_fragment_is_an_error(tmp_path: Path) -> None:
    assert outcome(tmp_path, "st")["result"] == "error"


def job(logdir: Path, *runnables: Runnable) -> Any:
    return SimpleNamespace(logdir=str(logdir), test_suites=[SimpleNamespace(tests=runnables)])


@pytest.fixture
def no_run_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    # set first, so that what the plugin puts there is taken away again
    monkeypatch.setenv(RUN_DIR_VARIABLE, "x")
    monkeypatch.delenv(RUN_DIR_VARIABLE)


def test_a_job_by_hand_gets_a_place_a_plan_and_a_result(tmp_path: Path, no_run_dir: None) -> None:
    events = RunEvents()
    target = "qemu-storage-daemon"
    planned = job(
        tmp_path,
        *resolve(f"scenario:boot@{target}"),
        *resolve(f"scenario:kill@{target}"),
        *resolve(f"scenario:idle@{target}"),
    )
    events.pre_tests(planned)
    run_dir = tmp_path / "vhostlab"
    assert os.environ[RUN_DIR_VARIABLE] == str(run_dir)
    plan = results.read(Plan, run_dir / results.PLAN_FILE)
    assert [(s.name, s.scenarios) for s in plan.stages] == [
        ("standard", ("boot",)),
        ("kill", ("kill",)),
        ("standard-2", ("idle",)),
    ]
    stages = [r.kwargs["stage"] for r in planned.test_suites[0].tests]
    assert stages == ["standard", "kill", "standard-2"]
    assert plan.command == (
        f"vhostlab vmtest --target {target} --scenario boot --scenario kill --scenario idle"
    )
    events.post_tests(planned)
    done = results.read(results.Result, run_dir / results.RESULT_FILE)
    assert {s.status for s in done.scenarios} == {Status.ERROR}
    assert (run_dir / results.JUNIT_FILE).exists()
    assert (run_dir / results.REPORT_FILE).exists()


def test_jobs_of_others_are_left_alone(tmp_path: Path, no_run_dir: None) -> None:
    events = RunEvents()
    other = job(tmp_path, Runnable("exec-test", "/bin/true"))
    events.pre_tests(other)
    events.post_tests(other)
    assert list(tmp_path.iterdir()) == []


def test_two_targets_in_one_job_make_no_result(tmp_path: Path, no_run_dir: None) -> None:
    events = RunEvents()
    mixed = job(
        tmp_path, *resolve("scenario:boot@vhostlab"), *resolve("scenario:boot@qemu-storage-daemon")
    )
    events.pre_tests(mixed)
    events.post_tests(mixed)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_is_a_run_of_its_matrix(tmp_path: Path, no_run_dir: None) -> None:
    def one(stage: str, target: str, cells: str) -> Runnable:
        request = Request(target, "", ("perf",), "smoke", tuple(cells.split(",")))
        (planned,) = request.stages()
        told = request.told(replace(planned, name=stage))
        return Runnable(KIND, request.uri(planned), **told)

    events = RunEvents()
    recipe = job(tmp_path, one("perf", "vhostlab", "a,b"), one("perf-2", "qemu", "c"))
    events.pre_tests(recipe)
    plan = results.read(Plan, tmp_path / "vhostlab" / results.PLAN_FILE)
    assert [(s.name, s.target) for s in plan.stages] == [("perf", "vhostlab"), ("perf-2", "qemu")]
    assert plan.command == (
        "vhostlab run --target vhostlab --matrix smoke --cell a --cell b --cell c"
    )


def test_avocado_finds_the_plugins() -> None:
    argv = [sys.executable, "-W", "ignore", "-m", "avocado", "list"]
    done = subprocess.run([*argv, "suite:vmtest"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    kinds = {line[-1].split("@")[0]: line[0] for line in lines if "@" in line[-1]}
    assert set(kinds.values()) == {KIND}
    assert {"kill", "guide"} < set(kinds)
