# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab doctor``: each finding both ways, on hosts that are directories."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from vhostlab import cli, doctor
from vhostlab import target as targets
from vhostlab.doctor import Area, Finding, State, function, numbers
from vhostlab.doctor.function import Kvm
from vhostlab.errors import HarnessError
from vhostlab.host.root import Root

Files = dict[str, str]
CPU = "sys/devices/system/cpu"
THP = "sys/kernel/mm/transparent_hugepage"
HUGE = "proc/sys/vm/nr_hugepages"


def fake(base: Path, files: Files) -> Root:
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text + "\n")
    return Root(base)


#: check, a host on which it is well, one on which it is not, what is then said
NUMBERS: list[tuple[Callable[[Root], Finding], Files, Files, str]] = [
    (
        numbers.virtual,
        {"proc/cpuinfo": "model name: x\nflags\t\t: fpu sse2"},
        {"proc/cpuinfo": "flags\t\t: fpu hypervisor sse2"},
        "its hypervisor decides",
    ),
    (
        numbers.governor,
        {f"{CPU}/cpu{n}/cpufreq/scaling_governor": "performance" for n in range(2)},
        {
            f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
            f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave",
        },
        "performance, powersave: the frequency follows the load",
    ),
    (
        numbers.turbo,
        {f"{CPU}/intel_pstate/no_turbo": "1"},
        {f"{CPU}/intel_pstate/no_turbo": "0"},
        "temperature",
    ),
    (numbers.turbo, {f"{CPU}/cpufreq/boost": "0"}, {f"{CPU}/cpufreq/boost": "1"}, "temperature"),
    (numbers.smt, {f"{CPU}/smt/active": "0"}, {f"{CPU}/smt/active": "1"}, "share one core"),
    (
        numbers.numa,
        {
            "sys/devices/system/node/node0/cpulist": "0",
            "sys/devices/system/node/node1/cpulist": "1",
            "proc/sys/kernel/numa_balancing": "0",
        },
        {
            "sys/devices/system/node/node0/cpulist": "0",
            "sys/devices/system/node/node1/cpulist": "1",
            "proc/sys/kernel/numa_balancing": "1",
        },
        "2 nodes, and the kernel moves memory",
    ),
    (numbers.irqbalance, {"proc/7/comm": "sshd"}, {"proc/8/comm": "irqbalance"}, "interrupts"),
    (
        numbers.idle_states,
        {
            f"{CPU}/cpu0/cpuidle/state1/latency": "10",
            f"{CPU}/cpu0/cpuidle/state2/latency": "400",
            f"{CPU}/cpu0/cpuidle/state2/disable": "1",
        },
        {
            f"{CPU}/cpu0/cpuidle/state2/latency": "400",
            f"{CPU}/cpu0/cpuidle/state2/disable": "0",
        },
        "up to 400 us",
    ),
    (
        numbers.mitigations,
        {f"{CPU}/vulnerabilities/meltdown": "Mitigation: PTI", "proc/cmdline": "quiet"},
        {f"{CPU}/vulnerabilities/meltdown": "Vulnerable", "proc/cmdline": "ro mitigations=off"},
        "cheaper",
    ),
    (
        numbers.swap,
        {"proc/swaps": "Filename\tType\tSize\tUsed\tPriority"},
        {"proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/swap file 999424 2048 -2"},
        "2 MiB of something",
    ),
    (
        numbers.thp,
        {f"{THP}/enabled": "always [madvise] never"},
        {f"{THP}/enabled": "[always] madvise never"},
        "moves memory about",
    ),
    (
        numbers.guest_memory,
        {HUGE: "512", f"{THP}/shmem_enabled": "always [never] deny"},
        {HUGE: "0", f"{THP}/shmem_enabled": "always [never] deny"},
        "pages of 4 KiB",
    ),
    (
        numbers.guest_memory,
        {HUGE: "0", f"{THP}/shmem_enabled": "always [advise] never"},
        {},
        "pages of 4 KiB",
    ),
    (numbers.ksm, {"sys/kernel/mm/ksm/run": "0"}, {"sys/kernel/mm/ksm/run": "1"}, "equal pages"),
    (
        numbers.watchdog,
        {"proc/sys/kernel/nmi_watchdog": "0"},
        {"proc/sys/kernel/nmi_watchdog": "1"},
        "interrupts every processor",
    ),
    (
        numbers.clock,
        {"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc"},
        {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
        "hpet is slow",
    ),
    (
        numbers.quota,
        {"sys/fs/cgroup/cpu.max": "max 100000"},
        {"sys/fs/cgroup/cpu.max": "150000 100000"},
        "1.5 cores",
    ),
]


@pytest.mark.parametrize(
    ("check", "good", "bad", "words"),
    NUMBERS,
    ids=[f"{check.__name__}-{n}" for n, (check, *_) in enumerate(NUMBERS)],
)
def test_figures_both_ways(
    tmp_path: Path, check: Callable[[Root], Finding], good: Files, bad: Files, words: str
) -> None:
    well = check(fake(tmp_path / "good", good))
    ill = check(fake(tmp_path / "bad", bad))
    assert (well.area, well.state) == (Area.NUMBERS, State.OK), well
    assert well.remedy == ""
    assert ill.state is State.WARNING
    assert words in ill.meaning
    assert ill.remedy and "\n" not in ill.meaning + ill.remedy


def test_a_host_that_shows_nothing_is_no_error(tmp_path: Path) -> None:
    for check in numbers.CHECKS:
        assert check(Root(tmp_path)).meaning


def test_every_check_is_tested() -> None:
    assert {check for check, *_ in NUMBERS} == set(numbers.CHECKS)


def times(**columns: int) -> numbers.Times:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    return numbers.Times(tuple(columns.get(name, 0) for name in names))


@pytest.mark.parametrize(
    ("after", "states"),
    [
        (times(idle=200), (State.OK, State.OK)),
        (times(idle=150, user=50), (State.WARNING, State.OK)),
        (times(idle=150, softirq=30), (State.WARNING, State.OK)),
        (times(idle=190, steal=10), (State.OK, State.WARNING)),
    ],
)
def test_others_and_the_hypervisor(after: numbers.Times, states: tuple[State, State]) -> None:
    found = numbers.load(times(), after, 1.0, 100)
    assert tuple(f.state for f in found) == states


def test_times_of_a_host(tmp_path: Path) -> None:
    root = fake(tmp_path, {"proc/stat": "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3"})
    assert numbers.Times.of(root).columns == (1, 2, 3, 4, 5, 6, 7, 8)


def kvm(device: bool, usable: bool, accel: str, why: str = "") -> Callable[[], Kvm]:
    return lambda: Kvm(device, usable, accel, why)


@pytest.mark.parametrize(
    ("probe", "state", "words"),
    [
        (kvm(True, True, "kvm"), State.OK, "a guest has booted"),
        (kvm(False, False, "tcg"), State.WARNING, "there is no /dev/kvm"),
        (kvm(True, False, "tcg"), State.WARNING, "may not be opened"),
        (kvm(True, True, "tcg", "no\nkernel"), State.WARNING, "no guest boots with it (no kernel)"),
    ],
)
def test_kvm_is_what_a_guest_has_booted_with(
    monkeypatch: pytest.MonkeyPatch, probe: Callable[[], Kvm], state: State, words: str
) -> None:
    monkeypatch.delenv("VHOSTLAB_ACCEL", raising=False)
    found = function.accelerator(probe)
    assert found.state is state and words in found.meaning
    assert bool(found.remedy) == (state is not State.OK)


def test_kvm_that_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Kvm:
        raise HarnessError("no image", "get one")

    found = function.accelerator(fails)
    assert (found.state, found.meaning, found.remedy) == (State.MISSING, "no image", "get one")
    monkeypatch.setenv("VHOSTLAB_ACCEL", "tcg")
    assert "unset" in function.accelerator(kvm(True, True, "tcg")).remedy


def test_memory_and_contexts_both_ways(tmp_path: Path) -> None:
    meminfo = "MemTotal: 9 kB\nMemAvailable:   %d kB"
    much = fake(tmp_path / "a", {"proc/meminfo": meminfo % 8_000_000})
    little = fake(tmp_path / "b", {"proc/meminfo": meminfo % 1_000_000})
    assert function.memory(much).state is State.OK
    assert function.memory(little).state is State.WARNING
    limit = {"proc/sys/fs/aio-max-nr": "65536"}
    few = fake(tmp_path / "c", {**limit, "proc/sys/fs/aio-nr": "65000"})
    many = fake(tmp_path / "d", {**limit, "proc/sys/fs/aio-nr": "0"})
    assert function.aio(many).state is State.OK
    assert function.aio(few).state is State.WARNING
    assert "fs.aio-max-nr" in function.aio(few).remedy


def test_disk_space_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VHOSTLAB_CACHE", str(tmp_path / "not" / "yet"))
    assert function.cache(lambda place: 100_000).state is State.OK
    full = function.cache(lambda place: 10)
    assert full.state is State.WARNING and "10 MiB are free" in full.meaning


def test_programs_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "some-tool"
    tool.write_text("#!/bin/sh\necho tool version 4.2.1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    there = function.program("tool", ("some-tool", "--version"), "get it")
    assert (there.state, there.meaning) == (State.OK, "4.2.1")
    gone = function.program("tool", ("no-such-tool",), "get it")
    assert (gone.state, gone.remedy) == (State.MISSING, "get it")
    assert function.program("t", ("no-such-tool",), "", needed=False).state is State.WARNING
    assert function.dpdk().state is State.WARNING


def test_every_target_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHOSTLAB_SPDK", "/nowhere/vhost")
    found = {one.name: one for one in function.targets()}
    assert set(found) == set(targets.names())
    assert found["spdk"].state is State.WARNING
    assert found["qemu"].state is State.OK
    assert all(one.area is Area.TARGET for one in found.values())
    assert all(one.remedy for one in found.values() if one.state is not State.OK)


def finding(area: Area, state: State) -> Finding:
    return Finding(area, "thing", state, "means", "remedy")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([finding(Area.TARGET, State.OK)], 0),
        ([finding(Area.TARGET, State.OK), finding(Area.TARGET, State.MISSING)], 0),
        ([finding(Area.TARGET, State.OK), finding(Area.FUNCTION, State.WARNING)], 0),
        ([finding(Area.TARGET, State.OK), finding(Area.NUMBERS, State.WARNING)], 0),
        ([finding(Area.TARGET, State.OK), finding(Area.FUNCTION, State.MISSING)], 2),
        ([finding(Area.TARGET, State.MISSING), finding(Area.FUNCTION, State.OK)], 2),
    ],
)
def test_exit_status(found: list[Finding], status: int) -> None:
    assert doctor.exit_status(found) == status


def test_what_is_shown_has_the_remedy_of_what_is_not_well() -> None:
    out = io.StringIO()
    bad = Finding(Area.NUMBERS, "turbo", State.WARNING, "varies", "turn it off")
    good = Finding(Area.FUNCTION, "fio", State.OK, "3.33")
    doctor.show([good, bad], Console(file=out, width=60))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert "ok       fio: 3.33" in lines
    assert lines[lines.index("warning  turbo: varies") + 1] == "-> turn it off"


def test_this_host_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VHOSTLAB_ACCEL", "tcg")
    monkeypatch.setattr(function, "micro_guest", lambda: finding(Area.FUNCTION, State.OK))
    monkeypatch.setattr(function, "accelerator", lambda: finding(Area.FUNCTION, State.WARNING))
    monkeypatch.setenv("VHOSTLAB_TARGET_PROGRAM", os.devnull)
    status = cli.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status in (0, 2)
    names = {one["name"] for one in found}
    assert {"QEMU", "DPDK", "governor", "steal time", "spdk", "disk space"} <= names
    assert all(one["remedy"] for one in found if one["state"] != "ok")
    assert {one["state"] for one in found} <= {"ok", "warning", "missing"}
