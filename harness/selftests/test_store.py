# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab db``, the import at the end of a run, and what tells one build from another."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from vhostlab import bench, cli, identity, results, store
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import Status
from vhostlab.target.qsd import QemuStorageDaemon
from vhostlab.target.vhostlab import VhostlabTarget


@pytest.fixture(autouse=True)
def no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(store.VARIABLE, raising=False)


def made(tmp_path: Path, name: str = "r1") -> Path:
    """A run in which a stage was lost: enough of a result."""
    run_dir = tmp_path / name
    stages = (results.PlannedStage("standard", ("boot",)),)
    plan = results.Plan(name, "2026-01-02T03:04:05Z", "quick", "vhostlab vmtest", "x", stages)
    results.write(plan, run_dir / results.PLAN_FILE)
    results.finish(run_dir, 1.5)
    return run_dir


def keep(run_dir: Path, db: str = "") -> str:
    out = io.StringIO()
    store.keep(run_dir, Console(file=out, width=200), db)
    return out.getvalue()


def test_a_run_is_kept_where_somebody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = made(tmp_path)
    assert keep(run_dir) == ""
    db = tmp_path / "a.sqlite"
    assert keep(run_dir, str(db)) == "store:   r1: imported\n"
    monkeypatch.setenv(store.VARIABLE, str(db))
    assert keep(run_dir) == "store:   r1: already there\n"
    # it was resumed
    results.finish(run_dir, 7.5)
    assert keep(run_dir) == "store:   r1: replaced\n"
    capfd.readouterr()
    assert cli.main(["db", "list", "--json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)
    assert (told["id"], told["seconds"], told["status"]) == ("r1", 7.5, "error")
    # --db wins
    assert cli.main(["db", "--db", str(tmp_path / "none"), "list"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_run_that_cannot_be_kept_is_not_lost(tmp_path: Path) -> None:
    run_dir = made(tmp_path)
    with pytest.raises(HarnessError) as refused:
        keep(run_dir, "mysql://u:secret@h/n")
    said = str(refused.value)
    assert "no store can be kept in mysql" in said and "secret" not in said and "\n" not in said
    assert f"vhostlab db import {run_dir}" in said
    assert (run_dir / results.RESULT_FILE).exists()


def test_bench_keeps_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def on_target(run: bench.Bench, scratch: Path) -> None:
        run.check("something", True)

    monkeypatch.setattr(bench, "_on_target", on_target)
    monkeypatch.setattr(bench, "find_tools", lambda: bench.Tools("fio", Path("/x.so")))
    monkeypatch.setattr(identity, "record", lambda t, v: results.TargetRecord("vhostlab", "1", "p"))

    async def version() -> str:
        return "1"

    monkeypatch.setattr(VhostlabTarget, "version", version)
    db = tmp_path / "b.sqlite"
    argv = ["bench", "--results", str(tmp_path), "--db", str(db)]
    assert cli.main(argv) == 0
    assert db.exists()
    result = results.read(results.Result, tmp_path / "latest" / results.RESULT_FILE)
    assert (result.status, result.target.program) == (Status.PASS, "p")


def test_db_without_an_action_says_what_there_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["db"]) == 0
    assert "history" in capfd.readouterr().out
    assert cli.main(["db", "nonsense"]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_program_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "vhost"
    program.write_bytes(b"one")
    monkeypatch.setattr(VhostlabTarget, "preflight", lambda: str(program))
    one = identity.record(VhostlabTarget, "0.1")
    assert (one.version, len(one.program), one.revision) == ("0.1", identity.DIGITS, "")
    program.write_bytes(b"two")
    assert identity.record(VhostlabTarget, "0.1").program != one.program
    assert identity.program_hash(tmp_path / "absent") == ""

    def absent() -> str:
        raise HarnessError("not built")

    monkeypatch.setattr(VhostlabTarget, "preflight", absent)
    assert identity.record(VhostlabTarget, "0.1") == results.TargetRecord("vhostlab", "0.1")
    monkeypatch.setattr(QemuStorageDaemon, "preflight", lambda: str(program))
    assert identity.record(QemuStorageDaemon, "7.2").program == identity.program_hash(program)


def test_the_revision_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity.revision(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "vhost").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    clean = identity.revision(tmp_path)
    assert len(clean) == 12
    (tmp_path / "vhost").write_text("2")
    assert identity.revision(tmp_path) == f"{clean}-dirty"
    monkeypatch.setattr(VhostlabTarget, "preflight", lambda: str(tmp_path / "vhost"))
    monkeypatch.setattr(identity, "source_dir", lambda: tmp_path)
    assert identity.record(VhostlabTarget, "1").revision == f"{clean}-dirty"
    assert source_dir() != tmp_path
