# SPDX-License-Identifier: BSD-3-Clause
"""``--tune`` of the commands and ``--vhostlab-tune`` of Avocado: tuned inside, recorded, undone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from vhostlab import bench, cli, vmtest
from vhostlab.commands import common
from vhostlab.host import tuning
from vhostlab.host.root import Root
from vhostlab.scenario.stage import host_environment
from vhostlab_avocado.tuning import TuneJob

WATCHDOG = "proc/sys/kernel/watchdog"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """A host with one knob, for everybody in this process who tunes."""
    monkeypatch.setenv("VHOSTLAB_RUNTIME", str(tmp_path / "runtime"))
    fake = Root(tmp_path / "root")
    for name, text in ((WATCHDOG, "1"), (tuning.HUGEPAGES, "0")):
        (fake.path / name).parent.mkdir(parents=True, exist_ok=True)
        (fake.path / name).write_text(text)
    monkeypatch.setattr(tuning, "Root", lambda: fake)
    return fake


@pytest.mark.parametrize(("command", "module"), [("bench", bench), ("vmtest", vmtest)])
@pytest.mark.parametrize("tune", [True, False])
def test_a_run_is_tuned_if_asked_and_its_environment_says_so(
    root: Root,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    module: Any,
    tune: bool,
) -> None:
    seen: dict[str, Any] = {}

    def run(request: object, results_dir: Path, console: Console, db: str) -> int:
        seen["watchdog"] = root.read(WATCHDOG)
        seen["pages"] = root.read(tuning.HUGEPAGES)
        seen["environment"] = host_environment()
        return 7

    monkeypatch.setattr(module, "run", run)
    words = ["--tune", "--tune-hugepages", "5"] if tune else []
    assert cli.main([command, *words]) == 7
    assert (seen["watchdog"], seen["pages"]) == (("0", "5") if tune else ("1", "0"))
    recorded = {k: v for k, v in seen["environment"].items() if k.startswith("host.tuning.")}
    expected = {"host.tuning.watchdog": "1 -> 0", "host.tuning.hugepages": "0 -> 5"}
    assert recorded == (expected if tune else {})
    assert root.read(WATCHDOG) == "1"
    assert root.read(tuning.HUGEPAGES) == "0"
    assert ("this host is tuned: hugepages, watchdog" in capsys.readouterr().out) == tune


@pytest.mark.parametrize("words", [["--tune-hugepages", "5"], ["--tune", "--tune-hugepages", "-1"]])
def test_bad_input(root: Root, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert cli.main(["bench", *words]) == 2
    assert "--tune-hugepages wants a number of pages, and --tune" in capsys.readouterr().err


def test_what_could_not_be_undone_is_said(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    options = SimpleNamespace(tune=True, tune_hugepages=0)
    with common.tuned(options, Console(width=200)):  # type: ignore[arg-type]
        root.write(WATCHDOG, "2")
    assert "not undone: proc/sys/kernel/watchdog is 2" in capsys.readouterr().out


TERMINATED = """
import argparse, os, signal, sys
from pathlib import Path
from rich.console import Console
from vhostlab.commands import common
from vhostlab.host import tuning
from vhostlab.host.root import Root

tuning.Root = lambda: Root(Path(sys.argv[1]))
options = argparse.Namespace(tune=True, tune_hugepages=0)
with common.tuned(options, Console()):
    print("watchdog", Root(Path(sys.argv[1])).read("proc/sys/kernel/watchdog"), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""


def test_sigterm_undoes_it(root: Root) -> None:
    argv = [sys.executable, "-c", TERMINATED, str(root.path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + 15, done.stderr
    assert "watchdog 0" in done.stdout
    assert root.read(WATCHDOG) == "1"
    assert tuning.left_behind() is None


def job(tune: bool) -> Any:
    return SimpleNamespace(config={"vhostlab.tune": tune})


def test_a_job_of_avocado(root: Root) -> None:
    plugin = TuneJob()
    plugin.pre(job(False))
    assert root.read(WATCHDOG) == "1"
    plugin.post(job(False))
    plugin.pre(job(True))
    assert root.read(WATCHDOG) == "0"
    plugin.post(job(True))
    plugin.post(job(True))
    assert root.read(WATCHDOG) == "1"


def test_a_job_that_cannot_be_tuned_does_not_run(root: Root) -> None:
    with tuning.Tuning(), pytest.raises(SystemExit):
        TuneJob().pre(job(True))


@pytest.mark.skipif(
    not os.access("/" + WATCHDOG, os.W_OK), reason="/proc/sys/kernel/watchdog cannot be written"
)
def test_avocado_run(tmp_path: Path) -> None:
    """The real runner, the real kernel: whether a watchdog watches for a second harms nobody."""
    probe = tmp_path / "probe.sh"
    probe.write_text('#!/bin/sh\ncp "$VHOSTLAB_RUNTIME/tuning.json" "$VHOSTLAB_RUNTIME/seen"\n')
    probe.chmod(0o755)
    before = Root().read(WATCHDOG)
    argv = [sys.executable, "-W", "ignore", "-m", "avocado", "run", "--vhostlab-tune"]
    argv += ["--disable-sysinfo", "--job-results-dir", str(tmp_path / "job"), str(probe)]
    environment = {**os.environ, "VHOSTLAB_RUNTIME": str(tmp_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vhostlab: this host is tuned" in done.stdout
    assert (tmp_path / "seen").exists()
    assert not (tmp_path / "tuning.json").exists()
    assert Root().read(WATCHDOG) == before


def test_avocado_variants() -> None:
    argv = [sys.executable, "-W", "ignore", "-m", "avocado", "variants"]
    done = subprocess.run(
        [*argv, "--vhostlab-matrix", "quick", "-c"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for cell in ("295e474a34", "a1a4002e5f", "01b7c5282d", "7a85848ac3"):
        assert f"Variant {cell}:" in done.stdout
    assert "/cell/01b7c5282d:device  => scsi" in done.stdout
    bad = subprocess.run(
        [*argv, "--vhostlab-matrix", "nope"], capture_output=True, text=True, timeout=60
    )
    assert bad.returncode != 0
    assert "no matrix is called 'nope'" in bad.stdout + bad.stderr
    assert "Traceback" not in bad.stdout + bad.stderr
