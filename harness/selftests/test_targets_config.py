# SPDX-License-Identifier: BSD-3-Clause
"""target, qemu, host: what programs are asked to do; leases between processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from vhostlab import target
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host import Leases, facts
from vhostlab.host.accel import accelerator
from vhostlab.host.facts import hugepage_pools, program_version
from vhostlab.images import Image
from vhostlab.paths import SUN_PATH_MAX, cache_dir, check_socket_path, socket_dir
from vhostlab.qemu import VhostBlk, VhostScsi, VmConfig
from vhostlab.qemu.config import Channels, check_hugepages, hugetlbfs, qemu_argv
from vhostlab.qemu.disks import arguments, keyval
from vhostlab.target import Controller, Disk
from vhostlab.target.conf import plan, quoted
from vhostlab.target.vhostlab import find_daemon

MIB = 1 << 20
IMAGE = Image("micro", "0", Path("/k"), Path("/i"), "console=ttyS0", {})


def blk(name: str, disk: Disk, **options: object) -> Controller:
    return Controller(name, "blk", (disk,), **options)  # type: ignore[arg-type]


def test_plan_puts_all_it_can_into_the_file() -> None:
    made = plan(
        [
            blk("vhost.0", Disk("n", "null", 1024 * MIB)),
            blk("vhost.1", Disk("a", "aio", 64 * MIB, path=Path("/x/my disk"), readonly=True)),
            blk("vhost.3", Disk("b", "aio", MIB, 4096, Path("/dev/sdz"), "S 1"), num_queues=65),
            Controller(
                "vhost.2", "scsi", (Disk("m", "malloc", 8 * MIB), Disk("k", "malloc", 8 * MIB))
            ),
        ]
    )
    assert made.calls == ()
    assert made.listening == ("vhost.0", "vhost.1", "vhost.3", "vhost.2")
    assert made.conf == (
        "[Global]\n  ReactorMask 0x1\n"
        "\n[Malloc]\n  NumberOfLuns 2\n  LunSizeInMB 8\n  BlockSize 512\n"
        "\n[Null]\n  Dev n 1024 512\n"
        '\n[AIO]\n  AIO "/x/my disk" a\n  AIO /dev/sdz b 4096\n'
        "\n[VhostBlk0]\n  Name vhost.0\n  Dev n\n"
        "\n[VhostBlk1]\n  Name vhost.1\n  Dev a\n  ReadOnly yes\n"
        '\n[VhostBlk2]\n  Name vhost.3\n  Dev b\n  Serial "S 1"\n  Queues 65\n'
        "\n[VhostScsi3]\n  Name vhost.2\n  Dev 0 Malloc0\n  Dev 1 Malloc1\n"
    )


def test_plan_uses_rpc_for_what_the_file_cannot_say() -> None:
    small, large = Disk("s", "malloc", 8 * MIB), Disk("l", "malloc", 8 * MIB + 4096, 4096)
    made = plan(
        [
            blk("a", small),
            Controller("b", "scsi", (large,), num_queues=100),
            blk("c", small, readonly=True),
        ]
    )
    assert "[Malloc]" not in made.conf and "[Vhost" not in made.conf
    assert [method for method, _ in made.calls] == [
        "bdev_malloc_create",
        "bdev_malloc_create",
        "vhost_create_blk_controller",
        "vhost_create_scsi_controller",
        "vhost_scsi_controller_add_target",
        "vhost_create_blk_controller",
    ]
    assert made.calls[1][1] == {"name": "l", "num_blocks": 2049, "block_size": 4096}
    assert made.calls[3][1] == {"ctrlr": "b", "queues": 100}
    assert made.calls[4][1] == {"ctrlr": "b", "scsi_target_num": 0, "bdev_name": "l"}
    assert made.calls[5][1] == {"ctrlr": "c", "dev_name": "s", "readonly": True}


def test_plan_refuses_two_disks_of_one_name() -> None:
    with pytest.raises(HarnessError, match="two different disks"):
        plan([blk("a", Disk("d", "null", MIB)), blk("b", Disk("d", "null", 2 * MIB))])


def test_values_of_the_file_are_quoted_when_needed() -> None:
    assert [quoted("plain-1.x"), quoted("a b"), quoted('q"\\')] == [
        "plain-1.x",
        '"a b"',
        '"q\\"\\\\"',
    ]
    with pytest.raises(HarnessError):
        quoted("a\nb")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Disk("d", "null", 1000),
        lambda: Disk("d", "null", 3 * MIB, block_size=768),
        lambda: Disk("d", "aio", MIB),
        lambda: Disk("d", "null", MIB, path=Path("/x")),
        lambda: Controller("c", "blk", ()),
    ],
)
def test_disks_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(HarnessError):
        make()  # type: ignore[operator]


def test_reference_target_says_what_it_lacks() -> None:
    capabilities = target.get("qemu-storage-daemon").capabilities
    scsi = Controller("c", "scsi", (Disk("d", "null", MIB),))
    assert capabilities.lacks([scsi]) == "it has no scsi devices"
    assert capabilities.lacks([blk("c", Disk("d", "null", MIB), num_queues=1000)]) is not None
    assert capabilities.lacks([blk("c", Disk("d", "null", MIB))]) is None


def test_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(HarnessError, match="kernel, qemu, qemu-storage-daemon, spdk, vhostlab"):
        target.get("iscsi")


def test_daemon_that_is_not_built_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHOSTLAB_TARGET_PROGRAM", "/no/such/vhost")
    with pytest.raises(Unavailable, match="run `make`"):
        find_daemon()


def test_reference_target_tells_why_it_could_not_start(tmp_path: Path) -> None:
    missing = Disk("d", "aio", MIB, path=tmp_path / "absent.raw")

    async def run() -> None:
        async with target.get("qemu-storage-daemon")(tmp_path) as reference:
            await reference.start([blk("c", missing)])

    with pytest.raises(HarnessError, match=r"qemu-storage-daemon ended.*absent\.raw"):
        asyncio.run(run())


def test_reference_target_starts_again_after_a_kill(tmp_path: Path) -> None:
    async def run() -> None:
        async with target.get("qemu-storage-daemon")(tmp_path) as reference:
            controllers = [blk("c", Disk("d", "malloc", MIB))]
            for _ in range(2):
                await reference.start(controllers)
                assert reference.endpoints["c"].is_socket()
                with pytest.raises(HarnessError, match="running already"):
                    await reference.start(controllers)
                await reference.kill()
            sockets = reference.sockets
        assert not sockets.exists()

    asyncio.run(run())


def test_disk_arguments() -> None:
    disk = VhostBlk(Path("/tmp/a,b"), num_queues=2, packed=True, reconnect=1, boot_index=0)
    assert arguments(disk) == [
        "-chardev",
        "socket,id=char-blk0,path=/tmp/a,,b,reconnect=1",
        "-device",
        "vhost-user-blk-pci,id=blk0,chardev=char-blk0,num-queues=2,queue-size=128,"
        "packed=on,bootindex=0",
    ]
    assert "num_queues=3,virtqueue_size=64" in arguments(VhostScsi(Path("/s"), 3, queue_size=64))[3]
    assert keyval({"a": True, "b": False, "c": 1}) == "a=on,b=off,c=1"


def test_vm_memory_is_shared_with_the_target(tmp_path: Path) -> None:
    config = VmConfig(IMAGE, "tcg", memory_mib=256, qemu=Path("/q"), kernel_options=("quiet",))
    argv = qemu_argv(config, Channels(7, 8, tmp_path / "console", tmp_path / "log"))
    assert argv[0] == "/q"
    assert "memory-backend-memfd,id=mem,size=256M,share=on" in argv
    assert "console=ttyS0 quiet" in argv
    assert "-no-reboot" in argv
    assert "socket,id=qmp,fd=7" in argv
    assert argv[argv.index("-m") + 1] == "256M"


def test_vm_with_room_for_memory_modules(tmp_path: Path) -> None:
    config = VmConfig(IMAGE, "tcg", memory_mib=256, qemu=Path("/q"), memory_slots=3)
    argv = qemu_argv(config, Channels(7, 8, tmp_path / "console", tmp_path / "log"))
    assert argv[argv.index("-m") + 1] == "256M,slots=3,maxmem=4096M"


def test_no_hugetlbfs_is_unavailable(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(Unavailable, match="no hugetlbfs is mounted"):
        hugetlbfs(mounts)
    mounts.write_text("none /mnt/huge hugetlbfs rw,pagesize=2M 0 0\n")
    assert hugetlbfs(mounts) == Path("/mnt/huge")
    (tmp_path / "hugepages-2048kB").mkdir()
    (tmp_path / "hugepages-2048kB" / "free_hugepages").write_text("63\n")
    check_hugepages(126, 2048, tmp_path)
    for size in (2048, 1048576):
        with pytest.raises(Unavailable, match="huge pages of"):
            check_hugepages(127, size, tmp_path)


def test_leases_are_exclusive_and_given_back(tmp_path: Path) -> None:
    async def run() -> None:
        mine, other = (Leases(tmp_path, cores=(0, 1, 5)) for _ in range(2))
        async with mine.cores(2) as cores:
            assert cores == (0, 1)
            async with other.cores(1) as rest:
                assert rest == (5,)
            said: list[str] = []
            mine_too = f"process {os.getpid()} has 0-1"
            with pytest.raises(Unavailable, match=f"2 cores did not become free.*{mine_too}"):
                async with other.cores(2, deadline_s=0.2, waiting=said.append):
                    pass
            assert said == [f"waiting for 2 cores: {mine_too}"]
        assert mine.held() == ()
        with pytest.raises(Unavailable, match="this machine has 3"):
            async with mine.cores(4):
                pass
        async with mine.cores(1, among=(1, 5)) as cores:
            assert cores == (1,)
        with pytest.raises(Unavailable, match="has 1 on that node"):
            async with mine.cores(2, among=(5, 7)):
                pass

    asyncio.run(run())


def test_leases_of_dead_processes_count_for_nothing(tmp_path: Path) -> None:
    async def forever() -> None:
        async with Leases(tmp_path, cores=(0,)).cores(1):
            os._exit(0)  # as a killed run: nothing is given back

    child = os.fork()
    if child == 0:
        asyncio.run(forever())
    os.waitpid(child, 0)
    assert '"cores": [0]' in (tmp_path / "leases.json").read_text()

    async def run() -> tuple[int, ...]:
        async with Leases(tmp_path, cores=(0,)).cores(1, deadline_s=5) as cores:
            return cores

    assert asyncio.run(run()) == (0,)


def test_huge_pages_that_are_not_there_are_unavailable(tmp_path: Path) -> None:
    async def run() -> None:
        leases = Leases(tmp_path, free_pages=lambda size: 10 if size == 2048 else 0)
        async with leases.hugepages(8):
            with pytest.raises(Unavailable, match=r"8 huge pages.*did not become free"):
                async with leases.hugepages(8, deadline_s=0.2):
                    pass
        with pytest.raises(Unavailable, match="11 huge pages of 2048 KiB are needed, 10 are free"):
            async with leases.hugepages(11):
                pass

    asyncio.run(run())


def test_a_damaged_ledger_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "leases.json").write_text('[{"number":')
    assert Leases(tmp_path).held() == ()


def test_facts_of_this_host() -> None:
    found = facts()
    assert found.cpus >= len(found.usable_cpus) >= 1
    assert found.memory_mib > 0 and found.numa_nodes >= 1
    assert found.kernel == os.uname().release
    assert program_version("no-such-program-here") == ""


def test_hugepage_pools_are_read(tmp_path: Path) -> None:
    for size, total, free in ((1048576, 1, 0), (2048, 30, 7)):
        directory = tmp_path / f"hugepages-{size}kB"
        directory.mkdir()
        (directory / "nr_hugepages").write_text(f"{total}\n")
        (directory / "free_hugepages").write_text(f"{free}\n")
    assert [(p.size_kib, p.total, p.free) for p in hugepage_pools(tmp_path)] == [
        (2048, 30, 7),
        (1048576, 1, 0),
    ]


def test_accelerator_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHOSTLAB_ACCEL", "tcg")
    assert asyncio.run(accelerator(IMAGE)) == "tcg"
    monkeypatch.setenv("VHOSTLAB_ACCEL", "fast")
    with pytest.raises(HarnessError, match="must be kvm or tcg"):
        asyncio.run(accelerator(IMAGE))


def test_cache_and_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VHOSTLAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "vhostlab"
    monkeypatch.setenv("VHOSTLAB_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    with socket_dir("test") as directory:
        assert len(str(directory)) < 40
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not directory.exists()
    with pytest.raises(HarnessError, match="the limit is 107"):
        check_socket_path(Path("/" + "x" * SUN_PATH_MAX))
