# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab ab``: what it builds, what it measures, in which order; bad input gets one line."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from vhostlab import cli
from vhostlab.ab import builds, cells, judging, meters, rig, run
from vhostlab.ab.builds import Build, Source
from vhostlab.ab.frontend import Frontend, Sum, percentile
from vhostlab.ab.record import Block, Orders, Record
from vhostlab.ab.request import SHORT_BLOCKS, Request
from vhostlab.ab.rig import Slots, Tell, midmean, sequence
from vhostlab.ab.show import Show
from vhostlab.errors import HarnessError
from vhostlab.matrix import Cell
from vhostlab.paths import source_dir

MESON = "executable('vhost', 'main.c', c_args: ['-DPLANTED=' + get_option('planted')])\n"
MESON_OPTIONS = """
option('env', type: 'string', value: '')
option('planted', type: 'string', value: '0')
"""
MAIN = """
#include <stdio.h>
int main(void) { printf("%d\\n", PLANTED); return 0; }
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that builds something in the daemon's place, with one commit and an edit on top."""
    for tool in ("git", "meson", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    root = tmp_path / "source"
    app = root / "target" / "app" / "vhost"
    app.mkdir(parents=True)
    (root / "meson.build").write_text("project('tiny', 'c')\nsubdir('target/app/vhost')\n")
    (root / "meson_options.txt").write_text(MESON_OPTIONS)
    (app / "meson.build").write_text(MESON)
    (app / "main.c").write_text(MAIN)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@t.invalid"]
        subprocess.run(["git", *identity, *words], cwd=root, check=True, timeout=60)
    monkeypatch.setenv("VHOSTLAB_SOURCE", str(root))
    monkeypatch.setenv("VHOSTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    return root


def made(source: Source, logs: Path) -> Build:
    return asyncio.run(builds.build(source, logs))


def said(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


def resolved(revision: str, *options: str) -> Source:
    return asyncio.run(builds.resolve(revision, options, None))


def test_a_revision_is_built_once_and_the_worktree_each_time(tiny: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    base = made(resolved("HEAD"), logs)
    assert said(base.program) == "0" and len(base.commit) == 40
    assert re.fullmatch(r"[0-9a-f]{40}", base.build_id)
    again = made(resolved("HEAD"), logs)
    assert again == base and len(list(logs.glob("build-*"))) == 1
    planted = made(resolved("HEAD", "-Dplanted=7"), logs)
    assert said(planted.program) == "7" and planted.build_id != base.build_id
    assert planted.options == ("-Dplanted=7",)
    (tiny / "target/app/vhost/main.c").write_text(MAIN.replace("PLANTED", "PLANTED + 3"))
    edited = made(resolved("worktree"), logs)
    assert said(edited.program) == "3" and edited.commit.endswith("-dirty")
    assert not any((tmp_path / "cache/ab/trees").iterdir())


def test_a_build_that_fails_says_where_it_is_written(tiny: Path, tmp_path: Path) -> None:
    (tiny / "target/app/vhost/main.c").write_text("this is no C\n")
    with pytest.raises(HarnessError, match=r"the build of worktree failed.*see .*logs/build-") as e:
        made(resolved("worktree"), tmp_path / "logs")
    assert "\n" not in str(e.value)


def test_programs_of_both_arms_have_paths_of_one_length(tmp_path: Path) -> None:
    program = Path(sys.executable).resolve()
    source = asyncio.run(builds.resolve("", (), program))
    build = made(source, tmp_path)
    arms = [builds.place(build, tmp_path / arm / "vhost") for arm in ("base", "head")]
    assert len({len(str(a.program)) for a in arms}) == 1
    assert all(os.access(a.program, os.X_OK) for a in arms)
    assert build.build_id and builds.build_id(program) == build.build_id
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert builds.build_id(script).startswith("sha256:")


def test_both_arms_are_built_as_users_build() -> None:
    text = (source_dir() / "ci" / "build.sh").read_text()
    flavour = re.search(r"^release\) flavour=\((.*)\) ;;$", text, re.MULTILINE)
    assert flavour is not None and tuple(flavour[1].split()) == builds.RELEASE


def test_default_cells_are_those_of_the_matrix_language() -> None:
    front, left_out = cells.select("frontend", "", ())
    assert len(front) == 6 and left_out == {}
    assert all(c.params["path"] == "frontend" for c in front)
    assert len({c.id for c in front}) == 6
    short, _ = cells.select("frontend", "", (), short=True)
    assert short == front[:3]
    guest, _ = cells.select("guest", "", ())
    assert all(c.params["device"] == "blk" and "path" not in c.params for c in guest)
    assert cells.select("frontend", "", (front[3].id,))[0] == (front[3],)
    assert {c.params["bdev"] for c in cells.select("frontend", "", ("malloc", "aio"))[0]} == {
        "malloc",
        "aio",
    }
    assert len(cells.select("frontend", "", ("null qd1",))[0]) == 1


def test_cells_of_a_matrix_that_cannot_be_swapped_are_left_out_with_a_reason(
    tmp_path: Path,
) -> None:
    able, left_out = cells.select("guest", "smoke", ())
    assert able and all(c.params["device"] == "blk" for c in able)
    assert set(left_out.values()) == {"only blk disks outlive a swap under a guest"}
    matrix = tmp_path / "m.toml"
    matrix.write_text(
        'name = "m"\nsummary = "s"\nruntime_s = 1\n[axes]\ndevice = ["blk"]\nbdev = ["null"]\n'
        'pattern = ["randread"]\nbs = ["4k"]\ndepth = [1]\njobs = [4]\n'
    )
    with pytest.raises(HarnessError, match="jobs cannot be varied here"):
        cells.select("frontend", str(matrix), ())


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from("AB"))
def test_turns_are_balanced(turns: int, first: str) -> None:
    order = sequence(first, turns)
    assert order.count("A") == order.count("B") == turns
    mirrored = sequence("B" if first == "A" else "A", turns)
    assert mirrored == order.translate(str.maketrans("AB", "BA"))
    places = {arm: [n for n, letter in enumerate(order) if letter == arm] for arm in "AB"}
    if turns > 1:  # no arm comes later than the other on the whole
        assert sum(places["A"]) == sum(places["B"])


def test_orders_of_blocks_are_random_and_balanced() -> None:
    orders = Orders(random.Random(1), ("ABBA", "BAAB"))
    drawn = [orders.next() for _ in range(40)]
    assert all({drawn[n], drawn[n + 1]} == {"ABBA", "BAAB"} for n in range(0, 40, 2))
    assert len({tuple(drawn[n : n + 2]) for n in range(0, 40, 2)}) == 2


def test_turns_fit_into_the_time() -> None:
    way = Frontend()
    for number, blocks, seconds in ((5, 16, 480.0), (3, 10, 36.0), (12, 16, 900.0)):
        slots = run.slots_for(way, number, blocks, seconds)
        assert way.seconds(number, slots) * blocks < seconds
    assert run.slots_for(way, 5, 16, 480.0).turns == 8


def test_one_disturbed_turn_does_not_count() -> None:
    assert midmean([100.0, 101.0, 99.0, 3.0, 100.0, 100.0, 100.0, 100.0]) == pytest.approx(100.0)
    assert midmean([1.0, 3.0]) == 2.0


def test_turns_are_put_together() -> None:
    total = Sum()
    for requests, bins in ((1000, [[100, 109, 990], [1000, 1099, 10]]), (3000, [[100, 109, 3000]])):
        said = {"requests": requests, "ns": 10**9, "latency_ns": {"bins": bins}}
        total.add(said, used_ns=requests * 50, instructions=requests * 300)
    figures = total.figures()
    assert figures["iops"] == pytest.approx(2000.0)
    assert figures["target_cpu_per_io"] == pytest.approx(50.0)
    assert figures["target_instructions_per_io"] == pytest.approx(300.0)
    assert figures["latency_p50"] == pytest.approx(100 + 10 * 2000 / 3990)
    assert 100 < figures["latency_p99"] < 110 < 1000 < percentile(total.bins, 99.9) < 1100
    with pytest.raises(HarnessError, match="without a sample"):
        percentile({}, 50)


BUSY = "x = 0\nwhile True:\n    x += 1\n"


def test_cpu_time_and_events_of_a_process_are_counted() -> None:
    """A clock of the kernel's counts everywhere; instructions only where there is hardware."""
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        clock = meters.Counter(child.pid, meters.SOFTWARE, meters.TASK_CLOCK)
        if not clock.available:
            pytest.skip("perf_event_open is not allowed here")
        used, counted, deadline = meters.cpu_ns(child.pid), clock.read(), time.monotonic() + 60
        while meters.cpu_ns(child.pid) - used < 50_000_000:
            assert time.monotonic() < deadline
        assert clock.read() - counted >= 40_000_000
        clock.close()
        counter = meters.Counter(child.pid)
        assert (counter.read() > 0) <= counter.available
        counter.close()
    finally:
        child.kill()
        child.wait()
    assert meters.cpu_ns(child.pid) == 0
    assert not meters.Counter(child.pid).available


def test_guards_do_not_count_what_is_ours() -> None:
    guard = meters.Guard()
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass
    figures = guard.figures(0.0)
    assert figures["seconds"] >= 0.3 and figures["steal_percent"] >= 0
    assert guard.figures(1000.0)["others_cores"] == 0


class FakeRig:
    """Measures nothing: figures as a machine would give, and a wish to stop when told."""

    def __init__(self, blocks_before_interrupt: int = 10**6, effect: float = 1.0) -> None:
        self.random = random.Random(3)
        self.left = blocks_before_interrupt
        self.effect = effect
        self.phases: list[str] = []

    async def block(self, phase: str, order: str, cells: Sequence[Cell], tell: Tell) -> Block:
        self.phases.append(phase)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        self.left -= 1
        tell("x")

        def figures(effect: float) -> dict[str, float]:
            noise = self.random.uniform(0.998, 1.002)
            return {"iops": 1000 / effect * noise, "target_cpu_per_io": 50 * effect * noise}

        pair = {c.id: {"base": figures(1.0), "head": figures(self.effect)} for c in cells}
        canary = {"base": {"loop": 1.0}, "head": {"loop": 1.0}}
        return Block(phase, order, pair, canary, {"others_cores": 0.0})


def compared(tmp_path: Path, fake: FakeRig, budget_s: float = 600.0) -> judging.Answer:
    request = Request(base_binary=Path("/a"), head_binary=Path("/b"))
    build = Build("x", "", "1", (), tmp_path / "vhost")
    setting = run.Setting(
        request=request,
        way=Frontend(),
        accel="none",
        arms={"base": build, "head": build},
        cells=cells.defaults("frontend")[:2],
        slots=Slots(0.1, 0.1, 2),
        environment={"accel": "none"},
        qualification=tmp_path / "none.json",
    )

    async def body() -> judging.Answer:
        with Show(Console(quiet=True)).live() as show:
            return await run.Comparison(
                setting, fake, tmp_path / "out", show, run.Stop(), budget_s
            ).run()

    return asyncio.run(body())


def test_the_judge_is_asked_at_each_look_and_what_it_wishes_is_measured(tmp_path: Path) -> None:
    fake = FakeRig()
    answer = compared(tmp_path, fake)
    assert answer.verdict == "pass" and set(fake.phases) == {"main"}
    assert len(fake.phases) in (6, 10, 16)
    fake = FakeRig(effect=1.2)
    answer = compared(tmp_path, fake)
    assert answer.verdict == "fail"
    assert fake.phases == ["main"] * 6 + ["confirm"] * 6
    assert (tmp_path / "out" / "ab.html").is_file()


def test_an_interruption_gives_the_verdict_so_far(tmp_path: Path) -> None:
    answer = compared(tmp_path, FakeRig(blocks_before_interrupt=5))
    assert answer.verdict == "pass"
    document = json.loads((tmp_path / "out" / "blocks.json").read_text())
    assert document["over"] == "interrupted" and len(document["blocks"]) == 5


def test_a_budget_that_is_spent_ends_it(tmp_path: Path) -> None:
    answer = compared(tmp_path, FakeRig(), budget_s=0.5)
    assert answer.verdict == "inconclusive" and "too few" in answer.reason
    assert json.loads((tmp_path / "out" / "blocks.json").read_text())["over"] == "budget"


def test_a_command_that_repeats_it() -> None:
    request = Request(
        base="v1", head="HEAD", head_options=("-Dplanted=busy",), cells=("null qd1",), blocks=8
    )
    assert request.command() == (
        "vhostlab ab v1 HEAD --head-options=-Dplanted=busy --blocks=8 '--cells=null qd1'"
    )
    again = Request(base="worktree", aa=True, runs=20, budget_min=12)
    assert again.command() == "vhostlab ab --aa worktree --budget=12 --runs=20"
    assert again.short and again.planned == SHORT_BLOCKS
    assert request.planned == 8 and not request.short


@pytest.mark.parametrize(
    "words",
    [["--head-options", "-Dplanted=busy"], ["--head-options=-Dplanted=busy"]],
)
def test_meson_options_begin_with_a_dash(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VHOSTLAB_BENCH_PROGRAM", sys.executable)
    assert cli.main(["ab", "no-such-revision", "HEAD", *words, "-o", str(tmp_path)]) == 2
    assert "'no-such-revision' is no revision" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "BASE is missing"),
        (["HEAD"], "HEAD is missing"),
        (["HEAD", "HEAD", "--head-binary", "/x"], "HEAD is given twice"),
        (["--aa", "HEAD", "HEAD"], "--aa compares BASE with itself"),
        (["HEAD", "HEAD", "--runs", "2"], "--runs is for --aa"),
        (["HEAD", "HEAD", "--blocks", "2"], "--blocks must be 4 or more"),
        (["HEAD", "HEAD", "--blocks", "0"], "--blocks must be 4 or more"),
        (["HEAD", "HEAD", "--budget", "-1"], "must be positive"),
        (["HEAD", "HEAD", "--turn", "0"], "must be positive"),
        (["HEAD", "HEAD", "--gates", "/nowhere"], "there is no file /nowhere"),
        (["HEAD", "HEAD", "--cells", "nonsense"], "there is no cell nonsense"),
        (["HEAD", "HEAD", "--matrix", "nonsense"], "no matrix is called"),
        (
            ["--base-binary", "/nowhere/vhost", "--head-binary", "/x"],
            "/nowhere/vhost is no program",
        ),
        (["no-such-revision", "worktree"], "'no-such-revision' is no revision"),
    ],
)
def test_bad_input_gets_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VHOSTLAB_BENCH_PROGRAM", sys.executable)
    assert cli.main(["ab", *words, "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_the_load_generator_nothing_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VHOSTLAB_BENCH_PROGRAM", str(tmp_path / "none"))
    assert cli.main(["ab", "HEAD", "HEAD", "-o", str(tmp_path)]) == 2
    assert "vhost-bench is not built" in capsys.readouterr().err


def test_a_record_is_whole_at_any_moment(tmp_path: Path) -> None:
    build = Build("x", "", "1", (), tmp_path / "vhost")
    record = Record(
        directory=tmp_path,
        kind="ab",
        path="frontend",
        accel="none",
        base=build,
        head=build,
        cells=cells.defaults("frontend"),
        planned_blocks=16,
        environment={"accel": "none"},
        design={},
        command="c",
        replay="r",
    )
    record.write()
    assert json.loads(record.file.read_text())["blocks"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["blocks.json"]


def test_disks_of_a_run_that_was_killed_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    names = (f"vl-ab-{child.pid}-x", f"vl-ab-{os.getpid()}-x", "vl-ab-x", "other")
    for name in names:
        (tmp_path / name).mkdir()
    run.sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[1:])


def test_aio_disks_have_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig, "FILE_SIZE", 2 * rig.MIB)
    found = rig.controllers(cells.defaults("frontend"), tmp_path)
    assert [c.name for c in found] == ["blk-null", "blk-malloc", "scsi-null", "blk-aio"]
    path = found[3].disks[0].path
    assert path is not None and path.stat().st_blocks * 512 >= 2 * rig.MIB
