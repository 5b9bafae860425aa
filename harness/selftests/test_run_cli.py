# SPDX-License-Identifier: BSD-3-Clause
"""The command line, what it asks the runner for, and how progress and results are shown."""

from __future__ import annotations

import errno
import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from vhostlab import bench, cli, matrixrun, results, summary, vmtest
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import Status
from vhostlab.run import Request, parse_reference
from vhostlab.runner import RUNNER_LOG, command
from vhostlab.scenario.progress import Follower, Progress

names = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=8)


@given(names, st.lists(names, min_size=1, max_size=3), names, st.lists(names, max_size=2))
def test_a_request_survives_the_way_to_the_runner(
    target: str, scenarios: list[str], matrix: str, cells: list[str]
) -> None:
    for request in (
        Request(target, "", tuple(scenarios), matrix, tuple(cells)),
        Request(target, "quick", (), matrix, tuple(cells)),
    ):
        assert parse_reference(request.reference(), request.environment()) == request


@settings(deadline=None)  # the parser takes its time on a busy machine
@given(names, st.lists(names, min_size=1, max_size=3, unique=True), st.lists(names, max_size=2))
def test_the_command_of_a_request_asks_for_the_same(
    target: str, scenarios: list[str], cells: list[str]
) -> None:
    words = shlex.split(Request(target, "", tuple(scenarios), "smoke", tuple(cells)).command())
    options = cli._parser().parse_args(words[1:])
    assert (options.target, options.scenario, options.cell) == (target, scenarios, cells)
    assert options.matrix == "smoke"


@pytest.mark.parametrize(
    "text", ["harness/selftests/test_fio.py", "scenario", "scenarios:boot", "/bin/true", ""]
)
def test_other_references_are_left_alone(text: str) -> None:
    assert parse_reference(text, {}) is None


def test_references_by_hand_take_the_defaults() -> None:
    request = parse_reference("scenario:boot+perf", {})
    assert request == Request("vhostlab", "", ("boot", "perf"))
    request.validate()
    assert request.matrix_file().stem == "smoke"
    quick = parse_reference("suite:quick@qemu-storage-daemon", {})
    assert quick is not None
    assert quick.matrix_file().stem == "quick"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--target nope", "no target is called 'nope'"),
        ("--scenario boot --scenario nope", "no scenario is called 'nope'"),
        ("--suite nope", "no suite is called 'nope'"),
        ("--suite quick --scenario boot", "exclude each other"),
        ("--matrix nope", "no matrix is called 'nope'; there is nightly, quick, release, smoke"),
        ("--matrix /nope/x.toml", "cannot read the matrix /nope/x.toml"),
        ("--cell abc", "matrix smoke has no cell abc"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["vmtest", "--results", str(tmp_path / "r"), *words.split()]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("vhostlab: ") and message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not (tmp_path / "r").exists()


def test_a_daemon_that_is_not_built_is_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VHOSTLAB_TARGET_PROGRAM", str(tmp_path / "absent"))
    assert cli.main(["vmtest", "--results", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "not built" in said and "make" in said
    assert not (tmp_path / "r").exists()


def test_no_console_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["console", str(tmp_path / "none")]) == 1
    assert "no console at" in capsys.readouterr().err


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["vmtest", "--list"]) == 0
    said = capsys.readouterr().out
    for word in ("quick", "vmtest", "boot", "integrity", "smoke", "14 cells", "vhostlab"):
        assert word in said


@pytest.mark.parametrize("command", ["run", "bench", "vmtest"])
def test_a_matrix_file_is_recorded_by_a_path_that_holds_everywhere(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look(request: Any, *_: object) -> NoReturn:
        asked.append(request.command())
        raise HarnessError("seen")

    (tmp_path / "m.toml").write_bytes((source_dir() / "fio-jobs/matrix/quick.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    for module in (matrixrun, bench, vmtest):
        monkeypatch.setattr(module, "run", look)
    assert cli.main([command, "--matrix", "m.toml"]) == 1
    assert f"--matrix {tmp_path / 'm.toml'}" in asked[0]


def test_follower_sees_whole_lines_once(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    assert list(follower.news()) == []
    Progress(tmp_path).emit("ended", scenario="a")
    with (tmp_path / results.PROGRESS_FILE).open("a") as file:
        file.write('{"event": "half"')
    assert [e["event"] for e in follower.news()] == ["ended"]
    with (tmp_path / results.PROGRESS_FILE).open("a") as file:
        file.write("}\n")
    assert [e["event"] for e in follower.news()] == ["half"]
    assert list(follower.news()) == []


def test_progress_lines() -> None:
    out = io.StringIO()
    with vmtest.Narrator(Console(file=out, width=100)) as narrator:
        narrator.tell({"event": "booted", "stage": "standard", "seconds": 6.5, "kernel": "6.1"})
        narrator.tell({"event": "started", "scenario": "boot", "summary": "looks at disks"})
        narrator.tell({"event": "cell", "scenario": "perf", "cell": "x", "label": "blk null"})
        end = {"event": "ended", "scenario": "boot", "seconds": 2.0, "checks": 31, "reason": ""}
        narrator.tell({"event": "left out", "cell": "x", "label": "scsi null", "reason": "no scsi"})
        narrator.tell({**end, "status": "pass"})
        narrator.tell({**end, "status": "fail", "reason": "size: got 1, expected 2"})
        narrator.tell({"event": "something new"})
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["6.5", "s", "guest", "of", "standard", "is", "up,", "Linux", "6.1"],
        ["left", "out:", "scsi", "null:", "no", "scsi"],
        ["pass", "2.0", "s", "boot:", "31", "checks"],
        ["fail", "2.0", "s", "boot:", "size:", "got", "1,", "expected", "2"],
    ]


def scenario(name: str, status: Status, reason: str | None = None) -> results.ScenarioResult:
    return results.ScenarioResult(
        name=name,
        stage="standard",
        status=status,
        seconds=1.0,
        replay=f"vhostlab vmtest --scenario {name}",
        skip_reason=reason if status is Status.SKIP else None,
        error=reason if status is not Status.SKIP else None,
        checks=(results.Check("c", status is Status.PASS, ""),),
    )


def finished(tmp_path: Path, *scenarios: results.ScenarioResult) -> results.Result:
    plan = results.Plan(
        run_id="r",
        started="2026-01-02T03:04:05Z",
        suite="quick",
        command="vhostlab vmtest",
        target="vhostlab",
        stages=(results.PlannedStage("standard", tuple(s.name for s in scenarios)),),
    )
    results.write(plan, tmp_path / results.PLAN_FILE)
    metrics = (results.Metric("iops", "1/s", results.Better.HIGHER, 12345.0),)
    params: dict[str, str | int | bool] = {
        "device": "blk",
        "bdev": "null",
        "pattern": "read",
        "bs": "4k",
        "depth": 1,
    }
    cell = results.CellResult("0123456789", "standard", params, metrics, "fio/x.json", "again")
    fragment = results.Fragment("standard", scenarios=scenarios, cells=(cell,))
    results.write(fragment, tmp_path / "stages" / "standard.json")
    return results.finish(tmp_path, 61.0)


def test_summary_tells_paths_where_there_are_several(tmp_path: Path) -> None:
    metric = results.Metric("iops", "1/s", results.Better.HIGHER, 1000.0)

    def shown(*paths: str) -> str:
        cells = tuple(
            results.CellResult("0" * 10, "s", {"depth": 1, "path": p}, (metric,), "f", "replay")
            for p in paths
        )
        plan = results.Plan("r", "t", "ladder", "c", "qemu", (results.PlannedStage("s", ()),))
        made = results.merge(plan, {"s": results.Fragment("s", cells=cells)}, 1.0)
        out = io.StringIO()
        summary.show(made, tmp_path, Console(file=out, width=100))
        return out.getvalue()

    assert "qd1 guest" in shown("guest", "frontend") and "qd1 frontend" in shown(
        "guest", "file", "frontend"
    )
    assert "frontend" not in shown("frontend", "frontend")


def test_summary_shows_failures_skips_and_where_to_look(tmp_path: Path) -> None:
    result = finished(
        tmp_path,
        scenario("boot", Status.PASS),
        scenario("integrity", Status.FAIL, "blk: data\nmore"),
        scenario("guide", Status.SKIP, "no huge pages"),
        scenario("kill", Status.UNAVAILABLE, "no qemu"),
    )
    (tmp_path / "report.html").write_text("x")
    out = io.StringIO()
    summary.show(result, tmp_path, Console(file=out, width=100))
    said = out.getvalue()
    for words in (
        "blk null read 4k qd1",
        "12 345",
        "blk: data",
        "more",
        "to repeat it: vhostlab vmtest --scenario integrity",
        "skipped: guide: no huge pages",
        f"results: {tmp_path}",
        "report.html",
        "1 passed, 1 failed, 1 skipped, 1 could not be run here in 61 s",
    ):
        assert words in said, words


def test_a_narrow_terminal_shows_whole_numbers(tmp_path: Path) -> None:
    out = io.StringIO()
    result = finished(tmp_path, scenario("boot", Status.PASS))
    summary.show(result, tmp_path, Console(file=out, width=60))
    assert "12 345" in out.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in out.getvalue()


def test_result_without_the_runners_plugin_is_made_of_the_pieces(tmp_path: Path) -> None:
    expected = finished(tmp_path, scenario("boot", Status.PASS))
    (tmp_path / results.RESULT_FILE).unlink()
    assert vmtest.outcome(tmp_path, 61.0, 0) == expected
    assert json.loads((tmp_path / results.RESULT_FILE).read_text())["status"] == "pass"


def test_a_runner_that_never_began_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / RUNNER_LOG).write_text("Traceback\nImportError: no such thing\n")
    with pytest.raises(HarnessError, match=r"status 3 before it began.*no such thing"):
        vmtest.outcome(tmp_path, 1.0, 3)


def test_the_runner_measures_one_thing_at_a_time(tmp_path: Path) -> None:
    words = command(Request(suite="quick").reference(), tmp_path)
    assert words[0] == sys.executable
    assert words[words.index("--max-parallel-tasks") + 1] == "1"
    assert words[-1] == "suite:quick@vhostlab"


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/result.json")

    monkeypatch.setattr("vhostlab.commands.doctor.run", full)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert said == "vhostlab: /somewhere/result.json: No space left on device\n"
