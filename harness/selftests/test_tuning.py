# SPDX-License-Identifier: BSD-3-Clause
"""Host tuning: applied, recorded, undone; also after SIGKILL, and without harm to others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from vhostlab import cli
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host import tuning
from vhostlab.host.root import Root
from vhostlab.host.tuning import HUGEPAGES, Tuning

CPU = "sys/devices/system/cpu"
THP = "sys/kernel/mm/transparent_hugepage/enabled"

#: A laptop: everything as it comes.
BEFORE = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
    f"{CPU}/cpu0/cpufreq/scaling_available_governors": "performance powersave",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "schedutil",
    f"{CPU}/cpu1/cpufreq/scaling_available_governors": "schedutil",
    f"{CPU}/intel_pstate/no_turbo": "0",
    f"{CPU}/cpu0/cpuidle/state1/latency": "2",
    f"{CPU}/cpu0/cpuidle/state1/disable": "0",
    f"{CPU}/cpu0/cpuidle/state3/latency": "133",
    f"{CPU}/cpu0/cpuidle/state3/disable": "0",
    THP: "[always] madvise never",
    "sys/kernel/mm/ksm/run": "0",
    "proc/sys/kernel/numa_balancing": "1",
    "proc/sys/kernel/nmi_watchdog": "1",
    "proc/sys/kernel/watchdog": "1",
    "proc/sys/kernel/random/boot_id": "one",
    HUGEPAGES: "3",
}
TUNED = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
    f"{CPU}/intel_pstate/no_turbo": "1",
    f"{CPU}/cpu0/cpuidle/state3/disable": "1",
    THP: "madvise",
    "proc/sys/kernel/numa_balancing": "0",
    "proc/sys/kernel/nmi_watchdog": "0",
    "proc/sys/kernel/watchdog": "0",
}


def fake(base: Path, files: dict[str, str]) -> Root:
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text + "\n")
    return Root(base)


def content(root: Root) -> dict[str, str]:
    return {name: root.read(name) for name in BEFORE}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return fake(tmp_path / "root", BEFORE)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "tuning.json"


def test_tuned_inside_and_as_before_behind(root: Root, journal: Path) -> None:
    with Tuning(root=root, journal=journal) as tuned:
        assert content(root) == BEFORE | TUNED
        assert journal.exists()
        assert tuned.refused == []
        seen = tuning.recorded(journal)
    assert content(root) == {**BEFORE, THP: "always"}  # the fake does not write brackets
    assert not journal.exists()
    assert tuned.undone.left == ()
    assert tuning.recorded(journal) == {}
    assert seen["host.tuning.governor"] == "powersave -> performance"
    assert seen["host.tuning.thp"] == "always -> madvise"
    assert len(seen) == len(TUNED)


def test_undone_when_the_run_ends_in_an_error(root: Root, journal: Path) -> None:
    with pytest.raises(KeyError), Tuning(root=root, journal=journal):
        raise KeyError("the run")
    assert content(root) == {**BEFORE, THP: "always"}
    assert not journal.exists()


def test_huge_pages_are_never_made_fewer(root: Root, journal: Path) -> None:
    with Tuning(root=root, journal=journal, hugepages=2) as tuned:
        assert root.read(HUGEPAGES) == "3"
    with Tuning(root=root, journal=journal, hugepages=64) as tuned:
        assert root.read(HUGEPAGES) == "64"
        assert {c.name for c in tuned.changes} >= {"hugepages"}
    assert root.read(HUGEPAGES) == "3"


def test_what_has_the_wanted_values_is_left_alone(tmp_path: Path, journal: Path) -> None:
    root = fake(tmp_path / "root", BEFORE | TUNED)
    with Tuning(root=root, journal=journal) as tuned:
        assert tuned.changes == ()
    assert content(root) == BEFORE | TUNED


def test_what_somebody_else_changes_meanwhile_stays(root: Root, journal: Path) -> None:
    with Tuning(root=root, journal=journal) as tuned:
        root.write(THP, "never")
    assert root.read(THP) == "never"
    (left,) = tuned.undone.left
    assert THP in left and "left as it is" in left
    assert root.read("proc/sys/kernel/watchdog") == "1"


def test_one_at_a_time(root: Root, journal: Path) -> None:
    with Tuning(root=root, journal=journal):
        with pytest.raises(HarnessError, match=f"process {os.getpid()} has tuned this host"):
            Tuning(root=root, journal=journal).apply()
        with pytest.raises(HarnessError, match="still running"):
            tuning.undo_left_behind(root, journal)
        assert content(root) == BEFORE | TUNED
    assert content(root)["proc/sys/kernel/watchdog"] == "1"


class ReadOnly(Root):
    """Writes are refused, but for the names that are in ``open``."""

    allowed = ""

    def write(self, name: str, text: str) -> None:
        if name != self.allowed:
            raise PermissionError(13, "Permission denied")
        super().write(name, text)


def test_nothing_can_be_changed(root: Root, journal: Path) -> None:
    locked = ReadOnly(root.path)
    with pytest.raises(Unavailable, match=r"cannot be tuned: .*Permission denied; run as root"):
        Tuning(root=locked, journal=journal).apply()
    assert content(root) == BEFORE
    assert not journal.exists()


def test_what_is_refused_is_said_and_the_rest_is_done(root: Root, journal: Path) -> None:
    locked = ReadOnly(root.path)
    object.__setattr__(locked, "allowed", "proc/sys/kernel/watchdog")
    with Tuning(root=locked, journal=journal) as tuned:
        assert [c.name for c in tuned.changes] == ["watchdog"]
        assert len(tuned.refused) == len(TUNED) - 1
    assert content(root) == BEFORE


KILLED = """
import os, signal, sys
from pathlib import Path
from vhostlab.host import tuning
from vhostlab.host.root import Root

class Dies(Root):
    def write(self, name, text):
        super().write(name, text)
        if name.endswith(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

tuning.Tuning(root=Dies(Path(sys.argv[1])), journal=Path(sys.argv[2]), hugepages=8).apply()
print("tuned", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_after(root: Root, journal: Path, name: str) -> None:
    """A process tunes, and dies by SIGKILL behind the write to a file; "-": when all is done."""
    argv = [sys.executable, "-c", KILLED, str(root.path), str(journal), name]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("name", ["scaling_governor", "no_turbo", "watchdog", "nr_hugepages", "-"])
def test_undone_after_sigkill_at_any_point(root: Root, journal: Path, name: str) -> None:
    kill_after(root, journal, name)
    assert content(root) != BEFORE
    assert tuning.recorded(journal) == {}
    assert tuning.left_behind(journal) is not None
    undone = tuning.undo_left_behind(root, journal)
    assert undone is not None and undone.left == () and undone.restored
    assert {**content(root), THP: BEFORE[THP]} == BEFORE
    assert tuning.undo_left_behind(root, journal) is None


def test_the_next_one_that_tunes_undoes_it_first(root: Root, journal: Path) -> None:
    kill_after(root, journal, "-")
    with Tuning(root=root, journal=journal) as tuned:
        assert tuned.behind.restored
        assert root.read(HUGEPAGES) == "3"
        assert root.read("proc/sys/kernel/watchdog") == "0"
    assert {**content(root), THP: BEFORE[THP]} == BEFORE


def test_a_journal_from_before_a_restart_changes_nothing(root: Root, journal: Path) -> None:
    kill_after(root, journal, "-")
    root.write("proc/sys/kernel/random/boot_id", "two")
    before = content(root)
    undone = tuning.undo_left_behind(root, journal)
    assert undone == tuning.Undone()
    assert content(root) == before


@pytest.mark.parametrize("path", ["etc/passwd", f"{CPU}/../../../../etc/passwd", "/etc/passwd"])
def test_a_journal_cannot_make_us_write_to_other_files(
    root: Root, journal: Path, path: str
) -> None:
    victim = fake(root.path, {"etc/passwd": "root"}).path / "etc/passwd"
    change = {"name": "x", "path": path, "before": "evil", "after": "root", "done": True}
    body = {"pid": 1, "started": 0, "boot": "one", "changes": [change]}
    journal.write_text(json.dumps(body))
    assert tuning.undo_left_behind(root, journal) is None
    assert victim.read_text() == "root\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_journal_of_another_user_is_not_believed(root: Root, journal: Path) -> None:
    kill_after(root, journal, "-")
    os.chown(journal, 65534, 65534)
    before = content(root)
    assert tuning.undo_left_behind(root, journal) is None
    assert content(root) == before


def writable_knob() -> bool:
    return os.access("/" + HUGEPAGES, os.W_OK)


@pytest.mark.skipif(not writable_knob(), reason="/proc/sys/vm/nr_hugepages cannot be written")
def test_on_this_machine_killed_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real thing: huge pages of this kernel, SIGKILL, `vhostlab doctor --undo-tuning`."""
    monkeypatch.setenv("VHOSTLAB_RUNTIME", str(tmp_path))
    here = Root()
    before = here.number(HUGEPAGES)
    assert before is not None
    code = (
        "import os, signal\n"
        "from vhostlab.host import tuning\n"
        f"t = tuning.Tuning(hugepages={before + 2})\n"
        "t.apply()\n"
        "print(open('/proc/sys/vm/nr_hugepages').read(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    try:
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert int(done.stdout) > before
        assert cli.main(["doctor", "--undo-tuning"]) == 0
        said = capsys.readouterr().out
        assert "proc/sys/vm/nr_hugepages" in said
        # somebody else on this machine may have wanted huge pages at the same moment
        assert here.number(HUGEPAGES) == before or "left as it is" in said
        assert cli.main(["doctor", "--undo-tuning"]) == 0
        assert "nothing" in capsys.readouterr().out
    finally:
        tuning.undo_left_behind()
