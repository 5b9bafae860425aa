# SPDX-License-Identifier: BSD-3-Clause
"""Queues go from core to core under verified load, and the driver notices nothing.

vhost-verify knows what each block must hold; meanwhile queues are moved one by one and all at
once, in every way there is, as fast as the daemon answers.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from .backends import RUN_DEADLINE_S, Disk, Vhost, program, run_json

PROCESSORS = sorted(os.sched_getaffinity(0))
CORES = PROCESSORS[:2]
QUEUES = 4
MOVES = 200
REQUESTS = 3000

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="this machine has one processor")

WAYS = {
    "split": ("-e",),
    "packed": ("-e", "-p"),
    "poll-indirect": ("-i",),
}
CELLS = [(disk, way) for disk in (Disk("malloc"), Disk("aio")) for way in WAYS]
CELLS += [(Disk("malloc", "scsi"), "split"), (Disk("aio", "scsi"), "packed")]


class Spread(Vhost):
    """Our daemon on two cores, with its management socket."""

    def argv(self) -> list[str]:
        argv = super().argv()
        conf = self.directory / "conf"
        mask = f"[Global]\n  ReactorMask [{CORES[0]},{CORES[1]}]\n"
        conf.write_text(mask + conf.read_text().replace("[Rpc]\n  Enable No\n", ""))
        return [*argv, "-r", str(self.directory / "rpc")]

    def call(self, method: str, **params: object) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answers:
            client.settimeout(RUN_DEADLINE_S)
            client.connect(str(self.directory / "rpc"))
            client.sendall(json.dumps(request).encode())
            answer = json.loads(answers.readline())
        assert "error" not in answer or "does not run" in answer["error"]["message"], answer
        return answer.get("result")

    def queues(self) -> list[dict[str, Any]]:
        (controller,) = self.call("vhost_get_stats")["controllers"]
        return list(controller["queues"])


class Mover(threading.Thread):
    """Moves queues until it is told to end."""

    def __init__(self, backend: Spread) -> None:
        super().__init__()
        self.backend = backend
        self.over = threading.Event()
        self.moves = 0
        self.seen: set[tuple[int, int]] = set()
        self.error: BaseException | None = None

    def run(self) -> None:
        chance = random.Random(1)
        masks = itertools.cycle(
            [f"[{CORES[0]}]", f"[{CORES[0]},{CORES[1]}]", f"[{CORES[1]}]", None]
        )
        try:
            while not self.over.is_set():
                for _ in range(chance.randrange(20)):
                    self.backend.call(
                        "vhost_controller_move_queue",
                        ctrlr="sock",
                        queue=chance.randrange(QUEUES),
                        lcore=chance.choice(CORES),
                    )
                self._look()
                mask = next(masks)
                self.backend.call(
                    "vhost_controller_set_cpumask",
                    ctrlr="sock",
                    **({} if mask is None else {"cpumask": mask}),
                )
                self._look()
                self.backend.call("vhost_controller_set_cpumask", ctrlr="sock")
                self.backend.call("vhost_controller_rebalance")
                self.moves += 1
        except BaseException as error:
            self.error = error

    def _look(self) -> None:
        for queue in self.backend.queues():
            if queue["running"]:
                self.seen.add((queue["queue"], queue["lcore"]))
            assert queue["broken"] is None, queue


def verify(backend: Spread, *args: str) -> subprocess.Popen[str]:
    scsi = ("-s",) if backend.disk.device == "scsi" else ()
    argv = [str(program("vhost-verify")), *scsi, "-q", str(QUEUES), *args, str(backend.socket)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("disk", "way"), CELLS, ids=[f"{disk.device}-{disk.kind}-{way}" for disk, way in CELLS]
)
def test_moved_under_load(tmp_path: Path, disk: Disk, way: str) -> None:
    """Steps: move queues and change masks under load, again and again.

    Verify: every word; every queue was seen on both cores; none was broken or had to go back.
    """
    with Spread(tmp_path, disk) as backend:
        mover = Mover(backend)
        mover.start()
        try:
            runs = 0
            while runs == 0 or (mover.moves < MOVES and mover.is_alive()):
                process = verify(backend, "-n", str(REQUESTS), "-d", "8", *WAYS[way])
                out, err = process.communicate(timeout=RUN_DEADLINE_S)
                assert process.returncode == 0, f"{err}\n{backend.log.read_text()}"
                assert json.loads(out)["requests"] >= REQUESTS
                runs += 1
        finally:
            mover.over.set()
            mover.join()
        assert mover.error is None, mover.error
        log = backend.log.read_text()
    used = [(queue, core) for queue in range(QUEUES) for core in CORES]
    assert mover.seen >= set(used), mover.seen
    assert "cannot run on core" not in log
    print(f"{mover.moves} rounds of moves in {runs} runs")


@pytest.mark.parametrize("device", ["blk", "scsi"])
def test_both_reactors_work(tmp_path: Path, device: str) -> None:
    """Steps: load on four queues. Verify: by its counters, each reactor had its part of it."""
    with Spread(tmp_path, Disk("malloc", device)) as backend:
        if device == "scsi":  # one after the other
            for core in CORES:
                backend.call("vhost_controller_set_cpumask", ctrlr="sock", cpumask=f"[{core}]")
                process = verify(backend, "-n", str(REQUESTS))
                assert process.wait(RUN_DEADLINE_S) == 0
        else:
            process = verify(backend, "-n", str(REQUESTS))
            assert process.wait(RUN_DEADLINE_S) == 0
        busy = {
            reactor["lcore"]: reactor["busy_rounds"]
            for reactor in backend.call("framework_get_reactors")["reactors"]
        }
        requests = sum(queue["requests"] for queue in backend.queues())
    assert requests >= REQUESTS
    assert all(busy[core] > 100 for core in CORES), busy


@pytest.mark.skipif(len(PROCESSORS) < 4, reason="client, two reactors, the rest: 4 processors")
def test_two_reactors_are_faster(tmp_path: Path) -> None:
    """Steps: random reads of a ramdisk by two queues, on one core and on two, in turns.

    Verify: the best of three on two cores is at least 1.6 times that on one. Copies of 16 KiB keep
    a reactor busy and are nothing to the client.
    """
    best = {1: 0.0, 2: 0.0}
    with Spread(tmp_path, Disk("malloc")) as backend:
        for _ in range(3):
            for n in best:
                mask = ",".join(map(str, CORES[:n]))
                backend.call("vhost_controller_set_cpumask", ctrlr="sock", cpumask=f"[{mask}]")
                report = run_json(
                    *("vhost-bench", "--queues", 2, "--bs", "16k", "--depth", 32, "--prefill"),
                    *("--cpu", PROCESSORS[2], "--seconds", 2, "--json", "-", backend.socket),
                )
                best[n] = max(best[n], report["result"]["iops"])
    print(f"{best[1]:.0f} and {best[2]:.0f} IOPS: {best[2] / best[1]:.2f} times")
    assert best[2] >= 1.6 * best[1], best
