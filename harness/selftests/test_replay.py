# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab replay``: what a result is repeated by, bundles, and two results side by side."""

from __future__ import annotations

import dataclasses
import io
import json
import stat
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vhostlab import bench, bundle, cli, matrix, replay, results
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import Better, CellResult, Metric, ScenarioResult, Status, TargetRecord
from vhostlab.scenario.stage import host_environment

SMOKE = source_dir() / "fio-jobs" / "matrix" / "smoke.toml"
CELLS = bench.Request().plan().cells[:2]


def result(**changes: Any) -> results.Result:
    command = "vhostlab bench --target vhostlab"
    cells = tuple(
        CellResult(
            id=cell.id,
            stage="frontend",
            params=cell.params,
            metrics=(
                Metric("iops", "1/s", Better.HIGHER, 1000.0 + n),
                Metric("latency_p99", "ns", Better.LOWER, 5000.0),
                Metric("others_cpu", "cores", Better.NEITHER, 0.0),
            ),
            fio_file=f"fio/{cell.id}.json",
            replay=f"{command} --cell {cell.id}",
        )
        for n, cell in enumerate(CELLS)
    )
    scenario = ScenarioResult("bench", "frontend", Status.PASS, 1.0, command)
    base = results.Result(
        schema_version=1,
        run_id="20260102T030405Z-vhostlab",
        started="2026-01-02T03:04:05Z",
        seconds=5.0,
        suite="bench",
        status=Status.PASS,
        command=command,
        target=TargetRecord("vhostlab", "0.1.0"),
        environment={"accel": "none", "guest.image": "micro-abc", **host_environment()},
        fingerprint="0" * 12,
        timing="performance",
        scenarios=(scenario,),
        cells=cells,
        guests=(),
        queue_counters=(),
        logs=(),
    )
    return dataclasses.replace(base, **changes)


def written(where: Path, **changes: Any) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    results.write(result(**changes), where / results.RESULT_FILE)
    return where


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Call replay with --json; what it printed."""

    def call(*words: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert cli.main(["replay", "--json", *words]) == status
        return json.loads(capsys.readouterr().out)

    return call


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["replay", *words]) == 2
    out, err = capsys.readouterr()
    assert (err.count("\n"), out) == (1, "")
    return err


def test_what_would_be_run(tmp_path: Path, told: Callable[..., Any]) -> None:
    run = str(written(tmp_path / "r"))
    plan = told(run, "--dry-run")
    assert plan["command"] == "vhostlab bench --target vhostlab"
    assert plan["host_differences"] == {} and plan["changed_job_files"] == []
    cell = CELLS[1].id
    assert told(run, "--dry-run", "--cell", cell[:8])["command"].endswith(f"--cell {cell}")
    assert told(f"{run}/result.json", "--dry-run", "--scenario", "bench")["run"].startswith("2026")


def test_how_this_host_differs(
    tmp_path: Path, told: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**host_environment(), "host.cpus": 96, "host.cpu_model": "Z80", "accel": "kvm"}
    run = str(written(tmp_path / "r", environment=other))
    found = told(run, "--dry-run")["host_differences"]
    assert set(found) == {"host.cpus", "host.cpu_model"}
    assert found["host.cpus"] == [96, host_environment()["host.cpus"]]
    assert cli.main(["replay", run, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "this host differs" in out and "Z80" in out


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({}, ["--cell", "ffff"], "has no cell ffff; it has"),
        ({}, ["--scenario", "boot"], "has no scenario boot; it has bench"),
        ({"command": "rm -rf /"}, [], "is none that makes a result: 'rm -rf /'"),
        ({"command": "vhostlab stage --name x"}, [], "is none that makes a result"),
        (
            {"command": "vhostlab bench --results /etc"},
            [],
            "an option not repeated here: --results",
        ),
        ({"command": "vhostlab bench --res /etc"}, [], "an option not repeated here: --res"),
        ({"command": "vhostlab bench 'x"}, [], "cannot be read"),
        ({"command": "vhostlab bench --target spec"}, [], "no target is called 'spec'"),
        ({"command": ""}, [], "is none that makes a result"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_a_reason(
    tmp_path: Path,
    changes: dict[str, Any],
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(written(tmp_path / "r", **changes))
    assert message in refused(capsys, run, "--dry-run", *words)


def test_what_is_no_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no" in refused(capsys, str(tmp_path / "absent"))
    assert "cannot read" in refused(capsys, str(tmp_path))
    (tmp_path / "result.json").write_text("{}")
    assert "is not a Result" in refused(capsys, str(tmp_path))
    (tmp_path / "x.tar").write_text("no tar at all")
    assert "is no bundle" in refused(capsys, str(tmp_path / "x.tar"))


def test_a_bundle_holds_all_that_is_needed(
    tmp_path: Path, told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written(tmp_path / "r")
    (run / "fio").mkdir()
    (run / "fio" / f"{CELLS[0].id}.fio").write_text("[as run]\n")
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    names = told(str(run), "--bundle", str(one))["files"]
    jobs = {f"jobs/{c.job}.fio" for c in CELLS} | {f"jobs/{CELLS[0].id}.fio"}
    assert set(names) == {"matrix/smoke.toml", "result.json"} | jobs
    told(str(run), "--bundle", str(two))
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as tar:
        assert {m.name for m in tar} == {"manifest.json", *names}
        file = tar.extractfile("manifest.json")
        assert file is not None
        manifest = json.load(file)
    assert manifest["images"] == ["micro-abc"] and manifest["target"]["version"] == "0.1.0"
    assert [c["id"] for c in manifest["cells"]] == [c.id for c in CELLS]
    assert manifest["command"] == "vhostlab bench --target vhostlab"
    assert manifest["environment"]["guest.image"] == "micro-abc"
    plan = told(str(one), "--dry-run", "--cell", CELLS[0].id)
    assert plan["command"] == f"vhostlab bench --target vhostlab --cell {CELLS[0].id}"
    assert plan["changed_job_files"] == []
    # it brings its matrix along, for a tree that has another one
    with replay.opened(one) as recorded:
        other = recorded.where / "matrix" / "smoke.toml"
        other.write_text(other.read_text() + "# other\n")
        kept = tmp_path / "smoke.toml"
        assert replay.command_line(recorded, keep=tmp_path)[-2:] == ["--matrix", str(kept)]
        assert kept.read_bytes() == other.read_bytes()
    # a tree whose job differs says so
    tree = tmp_path / "tree"
    (tree / "fio-jobs").mkdir(parents=True)
    (tree / "fio-jobs" / f"{CELLS[0].job}.fio").write_text("[other]\n")
    monkeypatch.setattr(replay, "source_dir", lambda: tree)
    changed = told(str(one), "--dry-run")["changed_job_files"]
    assert changed == sorted({f"{c.job}.fio" for c in CELLS})


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(info("../result.json"), b"{}")], "it holds '../result.json'"),
        ([(info("/etc/passwd"), b"")], "it holds '/etc/passwd'"),
        ([(info("jobs/../../x"), b"")], "it holds"),
        ([(info("result.json", tarfile.SYMTYPE, "/etc/passwd"), b"")], "it holds 'result.json'"),
        ([(info("jobs/a", tarfile.LNKTYPE, "result.json"), b"")], "it holds 'jobs/a'"),
        ([(info("manifest.json"), b"{}"), (info("manifest.json"), b"{}")], "it holds"),
        ([(info("manifest.json"), b"{}")], "no result.json"),
        ([(info("manifest.json"), b"{"), (info("result.json"), b"{}")], "is not JSON"),
        ([(info("manifest.json"), b"[]"), (info("result.json"), b"{}")], "another format"),
        ([(info("manifest.json"), b'{"bundle": 2}'), (info("result.json"), b"")], "another"),
        ([(info("manifest.json"), b'{"bundle": 1}'), (info("result.json"), b"{}")], "missing"),
    ],
)
def test_a_bundle_of_a_stranger_does_no_harm(
    tmp_path: Path, members: list[Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tar_of(tmp_path / "b.tar", *members)
    before = sorted(tmp_path.rglob("*"))
    assert message in refused(capsys, str(path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_that_is_too_large_or_of_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written(tmp_path / "r")
    with replay.opened(run) as recorded:
        replay.make_bundle(recorded, tmp_path / "b.tar")
    raw = (run / "result.json").read_bytes()
    forged = tar_of(
        tmp_path / "f.tar",
        (info("manifest.json"), b'{"bundle": 1, "run_id": "y"}'),
        (info("result.json"), raw),
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(bundle.BadBundle, match="different runs"):
        bundle.unpack(forged, tmp_path / "out")
    with (
        replay.opened(tmp_path / "b.tar") as packed,
        pytest.raises(replay.NotReplayable, match="already"),
    ):
        replay.make_bundle(packed, tmp_path / "c.tar")
    monkeypatch.setattr(bundle, "LARGEST", 1000)
    with pytest.raises(bundle.BadBundle, match="larger than"):
        bundle.unpack(tmp_path / "b.tar", tmp_path / "out")
    with pytest.raises(HarnessError, match="cannot write"):
        bundle.write(tmp_path / "absent" / "x.tar", result(), {})


def test_the_matrix_of_a_command() -> None:
    assert replay.matrix_file(["bench"]) == SMOKE
    assert replay.matrix_file(["vmtest", "--suite", "vmtest"]) is not None
    assert replay.matrix_file(["bench", "--verify", "64"]) is None
    assert replay.matrix_file(["ladder", "--device", "blk"]) is None
    assert replay.with_matrix(["run", "--matrix", "a"], Path("/b")) == ["run", "--matrix", "/b"]
    assert matrix.load(SMOKE).cells


def test_comparing() -> None:
    mine = result()
    faster = tuple(
        dataclasses.replace(c, metrics=(*(_times(m, 2.0) for m in c.metrics[:2]), c.metrics[2]))
        for c in mine.cells[:1]
    )
    environment = {**mine.environment, "host.kernel": "9"}
    failed = dataclasses.replace(mine.scenarios[0], status=Status.FAIL)
    mine = result(cells=faster, environment=environment, scenarios=(failed,))
    found = replay.compare(result(), mine)
    assert [(p.metric.name, p.ratio, p.verdict) for p in found.pairs] == [
        ("iops", 2.0, "better"),
        ("latency_p99", 2.0, "worse"),
        ("others_cpu", None, ""),
    ]
    assert found.scenarios == (("bench", "pass", "fail"),)
    assert list(found.environment) == ["host.kernel"]
    assert replay.compare(result(), result()).pairs[0].verdict == "same"
    emulated = replay.compare(result(timing="functional"), mine)
    assert emulated.pairs == () and "is of that kind" in emulated.not_compared
    assert "no cell in common" in replay.compare(result(cells=()), mine).not_compared


def _times(metric: Metric, factor: float) -> Metric:
    return dataclasses.replace(metric, value=metric.value * factor)


PYTHON = """#!/bin/sh
# stands for the interpreter: `python -m vhostlab bench --target vhostlab --results DIR`
while [ "$1" != --results ]; do shift; done
mkdir "$2/r" && cp "{source}/result.json" "$2/r/" && ln -s r "$2/latest"
echo "a table"
exit {status}
"""


@pytest.mark.parametrize("status", [0, 1])
def test_a_replay_from_end_to_end(
    tmp_path: Path, told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """But for what is run: a program that leaves another result."""
    source = written(tmp_path / "other", cells=tuple(
        dataclasses.replace(c, metrics=tuple(_times(m, 0.5) for m in c.metrics))
        for c in result().cells
    ))  # fmt: skip
    program = tmp_path / "python"
    program.write_text(PYTHON.format(source=source, status=status))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    run = written(tmp_path / "r")
    monkeypatch.setattr(sys, "executable", str(program))
    where = str(tmp_path / "results")
    found = told(str(run), "--compare", "--results", where, status=status)
    assert found["status"] == status
    assert Path(found["run_dir"]).is_relative_to(tmp_path / "results" / "replays")
    cells = found["comparison"]["cells"]
    assert {c["ratio"] for c in cells} == {0.5, None}
    assert [c["verdict"] for c in cells[:3]] == ["worse", "better", ""]


def test_a_replay_that_leaves_nothing(
    tmp_path: Path, told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    run = written(tmp_path / "r")
    found = told(str(run), "--compare", "--results", str(tmp_path), status=1)
    assert (found["run_dir"], "comparison" in found) == (None, False)
    assert any((tmp_path / "replays").iterdir())
