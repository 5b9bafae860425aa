# SPDX-License-Identifier: BSD-3-Clause
"""SPDK over its JSON-RPC, on a stand-in that checks each call by SPDK's schema. No SPDK ran."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from vhostlab import cli, target
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.paths import socket_dir
from vhostlab.rpc import RpcClient, RpcError
from vhostlab.target import Controller, Disk
from vhostlab.target.spdk import VARIABLE, RunningSpdk, Spdk, creation

from . import fake_spdk

MIB = 1 << 20


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree in which SPDK was built."""
    program = tmp_path / "spdk" / "build" / "bin" / "vhost"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_spdk.__file__} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "spdk"))
    return program


def controllers(tmp_path: Path) -> tuple[Controller, ...]:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    memory = Disk("m", "malloc", 8 * MIB, 4096)
    file = Disk("a", "aio", MIB, path=path)
    return (
        Controller("blk", "blk", (file,), num_queues=2, readonly=True),
        Controller("scsi", "scsi", (memory, Disk("n", "null", MIB))),
        Controller("second", "blk", (memory,)),
    )


def test_the_calls_are_those_that_are_documented(tmp_path: Path) -> None:
    calls = creation(controllers(tmp_path), "x-")
    for method, params in calls:
        fake_spdk.check(method, params)
    assert calls[0] == (
        "bdev_aio_create",
        {"name": "x-a", "block_size": 512, "filename": str(tmp_path / "disk.raw")},
    )
    assert calls[1] == (
        "bdev_malloc_create",
        {"name": "x-m", "block_size": 4096, "num_blocks": 2048},
    )
    assert [method for method, _ in calls[3:]] == [
        "vhost_create_blk_controller",
        "vhost_create_scsi_controller",
        "vhost_scsi_controller_add_target",
        "vhost_scsi_controller_add_target",
        "vhost_create_blk_controller",
    ]
    assert calls[3][1] == {"ctrlr": "x-blk", "dev_name": "x-a", "readonly": True}
    assert calls[6][1] == {"ctrlr": "x-scsi", "scsi_target_num": 1, "bdev_name": "x-n"}


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("bdev_malloc_create", {"name": "m", "block_size": 512}, "num_blocks is missing"),
        ("bdev_null_create", {"name": "n", "block_size": "512", "num_blocks": 1}, "no uint32"),
        ("vhost_delete_controller", {"name": "c"}, "unknown parameter name"),
        ("vhost_controller_rebalance", {}, "Method not found"),
        ("vhost_create_blk_controller", {"ctrlr": "c", "dev_name": "d", "readonly": 1}, "boolean"),
    ],
)
def test_the_stand_in_refuses_other_calls(
    method: str, params: dict[str, object], message: str
) -> None:
    with pytest.raises(fake_spdk.Refused, match=message):
        fake_spdk.check(method, params)


def test_one_that_is_started(tmp_path: Path, built: Path) -> None:
    driver = target.get("spdk")
    assert driver is Spdk and driver.preflight() == str(built)
    assert asyncio.run(driver.version()) == "v26.05".removeprefix("v")

    async def run() -> None:
        async with driver(tmp_path / "work") as running:
            for _ in range(2):
                await running.start(controllers(tmp_path))
                assert all(path.is_socket() for path in running.endpoints.values())
                stats = await running.stats()
                assert stats is not None
                requests = {c["ctrlr"]: c["queues"][0]["requests"] for c in stats["controllers"]}
                assert requests == {"blk": 6, "scsi": 12, "second": 6}
                assert stats["reactors"][0]["busy"] == 1
                assert "-m" in running.process.argv
                await running.kill()
            assert not running.process.alive

    asyncio.run(run())


def test_what_it_refuses_is_told(tmp_path: Path, built: Path) -> None:
    missing = Disk("a", "aio", MIB, path=tmp_path / "absent.raw")

    async def run() -> None:
        async with Spdk(tmp_path / "work") as running:
            await running.start([Controller("c", "blk", (missing,))])

    with pytest.raises(RpcError, match="bdev_aio_create: No such file"):
        asyncio.run(run())


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A vhost of SPDK that somebody has started, with a disk of theirs."""
    with socket_dir("spdk") as directory:
        argv = [sys.executable, fake_spdk.__file__, "-S", str(directory)]
        # in a session of its own: a harness that errs must not take these tests with it
        child = subprocess.Popen(
            [*argv, "-r", str(directory / "spdk.sock")], start_new_session=True
        )
        monkeypatch.setenv(VARIABLE, str(directory / "spdk.sock"))
        try:
            deadline = time.monotonic() + 30
            while not (directory / "spdk.sock").is_socket():
                assert time.monotonic() < deadline and child.poll() is None
                time.sleep(0.02)
            yield child
        finally:
            child.terminate()
            child.wait()


def test_one_that_runs_is_left_as_it_was(
    tmp_path: Path, theirs: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = target.get("spdk")
    assert driver is RunningSpdk
    assert driver.capabilities.without("process") is not None
    assert asyncio.run(driver.version()) == "26.05"

    async def run() -> None:
        rpc = RpcClient(Path(driver.preflight()))
        await rpc.call("bdev_null_create", {"name": "m", "block_size": 512, "num_blocks": 8})
        async with driver(tmp_path / "work") as running:
            await running.start(controllers(tmp_path))
            assert running.pid == theirs.pid and running.process.alive
            assert running.cpu_seconds() >= 0.0
            assert all(path.is_socket() for path in running.endpoints.values())
            assert len(await rpc.call("vhost_get_controllers")) == 3
            with pytest.raises(HarnessError, match="not ours"):
                await running.kill()
        assert await rpc.call("vhost_get_controllers") == []
        assert [b["name"] for b in (await rpc.call("bdev_get_iostat"))["bdevs"]] == ["m"]

    asyncio.run(run())
    assert theirs.poll() is None


USER = """
import asyncio, sys
from pathlib import Path
from vhostlab.target import Controller, Disk
from vhostlab.target.spdk import RunningSpdk
async def run():
    running = RunningSpdk(Path(sys.argv[1]))
    await running.__aenter__()
    await running.start([Controller("c", "blk", (Disk("n", "null", 1 << 20),))])
    print("made", flush=True)
    await asyncio.sleep(600)
asyncio.run(run())
"""


def test_one_that_runs_outlives_a_killed_harness(
    tmp_path: Path, theirs: subprocess.Popen[bytes]
) -> None:
    user = subprocess.Popen([sys.executable, "-c", USER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert user.stdout is not None and user.stdout.readline() == b"made\n"
        guardians = _children(user.pid)
        assert guardians
    finally:
        user.kill()
        user.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in guardians):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert theirs.poll() is None


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]


def test_a_failure_leaves_nothing_in_one_that_runs(
    tmp_path: Path, theirs: subprocess.Popen[bytes]
) -> None:
    missing = Disk("lost", "aio", MIB, path=tmp_path / "absent.raw")

    async def run() -> None:
        rpc = RpcClient(Path(RunningSpdk.preflight()))
        with pytest.raises(RpcError):
            async with RunningSpdk(tmp_path / "work") as running:
                await running.start([*controllers(tmp_path), Controller("c", "blk", (missing,))])
        assert await rpc.call("vhost_get_controllers") == []
        assert (await rpc.call("bdev_get_iostat"))["bdevs"] == []

    asyncio.run(run())


def test_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(Unavailable, match="no SPDK is named; give --spdk PATH"):
        target.get("spdk").preflight()
    assert cli.main(["vmtest", "--target", "spdk", "--results", str(tmp_path / "r")]) == 2
    assert "no SPDK is named" in capsys.readouterr().err
    words = ["vmtest", "--target", "spdk", "--spdk", str(tmp_path / "none")]
    assert cli.main([*words, "--results", str(tmp_path / "r")]) == 2
    assert f"there is no SPDK at {tmp_path / 'none'}" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "empty"))
    with pytest.raises(Unavailable, match="is no program vhost of SPDK and holds none"):
        target.get("spdk").preflight()
    assert not (tmp_path / "r").exists()
