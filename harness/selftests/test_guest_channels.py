# SPDX-License-Identifier: BSD-3-Clause
"""console, agent, rpc: what is read from streams that break off, stall, or tell of a panic."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab.agent import Agent, AgentError
from vhostlab.errors import HarnessError, MilestoneTimeout
from vhostlab.guest import CommandFailed, Guest
from vhostlab.qemu.console import Console, plain
from vhostlab.rpc import ObjectStream, RpcClient, RpcError

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}

BOOT = (
    "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2)\r\nBooting from ROM..\r\n"
    "[    0.000000] Linux version 6.1.0\r\nvhostlab: init\r\nvhostlab: modules\r\n"
    "vhostlab: agent\r\nmicro:/# \x1b[6n"
)


def test_console_sees_milestones_however_the_bytes_come(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    console = Console(log, tmp_path / "socket")
    console.poll()
    with log.open("a") as file:
        for character in BOOT:
            file.write(character)
            file.flush()
            console.poll()
    assert list(console.reached) == ["firmware", "kernel", "init", "modules", "agent"]
    assert console.panic is None
    assert console.text().startswith("SeaBIOS (version 1.16.2)\nBooting")


def test_console_sees_a_distribution_boot_from_its_disk(tmp_path: Path) -> None:
    console = Console(tmp_path / "console.log", tmp_path / "socket")
    reached = []
    for line in (
        "SeaBIOS (version 1.16.2)",
        "Welcome to GRUB!",
        "[    0.000000] Linux version 6.8.0",
        "\x1b[0mWelcome to \x1b[1mUbuntu 24.04 LTS\x1b[0m!",
        "vhostlab: agent",
    ):
        with console.log.open("a") as file:
            file.write(line + "\r\n")
        console.poll()
        reached.append(list(console.reached)[-1])
    assert reached == ["firmware", "firmware", "kernel", "init", "agent"]


def test_console_notices_a_panic(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text(BOOT + "\n[    3.1] Kernel panic - not syncing: Attempted to kill init!\r\n")
    console = Console(log, tmp_path / "socket")
    console.poll()
    assert console.panic == "Kernel panic - not syncing: Attempted to kill init!"


def test_plain_leaves_text_alone() -> None:
    assert plain("a [b] 1;2m c\n") == "a [b] 1;2m c\n"


def test_a_person_can_attach_to_the_console(tmp_path: Path) -> None:
    path = tmp_path / "console"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        argv = [sys.executable, "-m", "vhostlab.qemu.attach", str(path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=ENV) as person:
            console, _ = server.accept()
            with console:
                assert person.stdin is not None and person.stdout is not None
                console.sendall(b"micro:/# ")
                assert person.stdout.read(9) == b"micro:/# "
                person.stdin.write(b"uname\n")
                person.stdin.flush()
                assert console.recv(100) == b"uname\n"
                person.stdin.write(b"\x1d")
                person.stdin.flush()
                assert console.recv(100) == b""
            assert person.wait(10) == 0
    gone = subprocess.run([*argv[:-1], str(tmp_path / "x")], capture_output=True, env=ENV)
    assert gone.returncode == 1 and b"no console at" in gone.stderr


Answers = Callable[[dict[str, Any]], Awaitable[list[bytes]]]


class FakeAgent:
    """The far end of an agent's channel: answers as the given function says."""

    def __init__(self, answers: Answers) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._near, self._far = socket.socketpair()

    async def __aenter__(self) -> Agent:
        self._far.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=self._far)
        self._task = asyncio.create_task(self._serve(reader))
        self._agent = Agent(self._near)
        return self._agent

    async def __aexit__(self, *_: object) -> None:
        await self._agent.close()
        self._task.cancel()
        self._writer.close()

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            self.asked.append(request["execute"])
            if request["execute"] == "guest-sync":
                replies = [json.dumps({"return": request["arguments"]["id"]}).encode()]
            else:
                replies = await self._answers(request)
            for reply in replies:
                self._writer.write(reply + b"\n")


def test_agent_ignores_answers_to_what_was_given_up() -> None:
    calls = 0

    async def answers(request: dict[str, Any]) -> list[bytes]:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(0.3)
            return [b'{"return": "late"}']
        return [b'{"return": "right"}']

    async def run() -> None:
        async with FakeAgent(answers) as agent:
            with pytest.raises(TimeoutError):
                await agent.execute("first", timeout_s=0.1)
            assert await agent.execute("second", timeout_s=10) == "right"

    asyncio.run(run())


def test_agent_survives_rubbish_before_an_answer() -> None:
    async def answers(request: dict[str, Any]) -> list[bytes]:
        return [b'{"error": {"class": "GenericError", "desc": "no such thing"}}']

    async def run() -> None:
        async with FakeAgent(answers) as agent:
            with pytest.raises(AgentError, match="no such thing"):
                await agent.execute("something")

    asyncio.run(run())


def test_agent_tells_of_a_closed_channel() -> None:
    async def run() -> None:
        near, far = socket.socketpair()
        agent = Agent(near)
        far.close()
        with pytest.raises(ConnectionError):
            await agent.execute("anything")
        await agent.close()

        looks = 0

        def dead() -> None:
            nonlocal looks
            looks += 1
            if looks > 3:
                raise HarnessError("the kernel panicked")

        near, far = socket.socketpair()
        far.close()
        with pytest.raises(HarnessError, match="panicked"):
            await Guest(Agent(near), dead).run("true")

    asyncio.run(run())


def exec_answers(polls: int, **status: object) -> Answers:
    """A guest-exec that is over after so many looks at it."""
    looks = 0

    async def answers(request: dict[str, Any]) -> list[bytes]:
        nonlocal looks
        if request["execute"] == "guest-exec":
            return [b'{"return": {"pid": 42}}']
        looks += 1
        answer = {"exited": True, **status} if looks > polls else {"exited": False}
        return [json.dumps({"return": answer}).encode()]

    return answers


def text(words: str) -> str:
    return base64.b64encode(words.encode()).decode()


def test_guest_run_waits_and_returns_both_streams() -> None:
    status = {"exitcode": 0, "out-data": text("hé\n"), "err-data": text("warn")}

    async def run() -> None:
        async with FakeAgent(exec_answers(3, **status)) as agent:
            done = await Guest(agent, lambda: None).run(["echo", "a b"], 10)
            assert (done.rc, done.stdout, done.stderr) == (0, "hé\n", "warn")
            assert done.cmd == "echo 'a b'"
            assert done.seconds > 0

    asyncio.run(run())


def test_guest_run_fails_with_the_commands_own_words() -> None:
    status = {"exitcode": 5, "err-data": text("mkfs: too small\n")}

    async def run() -> None:
        async with FakeAgent(exec_answers(0, **status)) as agent:
            with pytest.raises(CommandFailed, match=r"`mkfs x` gave 5: mkfs: too small"):
                await Guest(agent, lambda: None).run("mkfs x", 10)
        async with FakeAgent(exec_answers(0, **status)) as agent:
            assert (await Guest(agent, lambda: None).run("mkfs x", 10, check=False)).rc == 5

    asyncio.run(run())


def test_guest_run_shows_a_signal_as_a_negative_status() -> None:
    async def run() -> None:
        async with FakeAgent(exec_answers(0, signal=9)) as agent:
            assert (await Guest(agent, lambda: None).run("x", 10, check=False)).rc == -9

    asyncio.run(run())


def test_guest_run_kills_what_is_late() -> None:
    async def run() -> None:
        fake = FakeAgent(exec_answers(10**9))
        async with fake as agent:
            with pytest.raises(MilestoneTimeout, match="sleep 1000"):
                await Guest(agent, lambda: None).run("sleep 1000", 0.2)
        assert fake.asked[-1] == "guest-exec"

    asyncio.run(run())


def test_guest_run_stops_when_the_vm_is_dead() -> None:
    def dead() -> None:
        raise HarnessError("the kernel panicked")

    async def run() -> None:
        async with FakeAgent(exec_answers(0)) as agent:
            with pytest.raises(HarnessError, match="panicked"):
                await Guest(agent, dead).run("true", 10)

    asyncio.run(run())


objects = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=4)


@given(st.lists(objects, max_size=5), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_object_stream_does_not_care_how_bytes_are_cut(
    sent: list[dict[str, Any]], cuts: list[int], newlines: bool
) -> None:
    separator = b"\n" if newlines else b""
    data = separator.join(json.dumps(o, ensure_ascii=False).encode() for o in sent)
    stream, found, turn = ObjectStream(), [], 0
    while data:
        size = cuts[turn % len(cuts)]
        found += stream.feed(data[:size])
        data, turn = data[size:], turn + 1
    assert found == sent


@pytest.mark.parametrize("rubbish", [b"hello", b"[1]", b"}", b'{"a" 1} x{'])
def test_object_stream_refuses_what_is_not_an_object(rubbish: bytes) -> None:
    stream = ObjectStream()
    try:
        found = stream.feed(rubbish)
    except HarnessError:
        return
    assert found == []
    assert rubbish.startswith(b"{")


async def served(path: Path, replies: list[bytes], call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of ``call`` against a server that gives these replies, one per connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.read(65536))
        writer.write(replies.pop(0).replace(b"ID", str(request["id"]).encode()))
        writer.close()

    server = await asyncio.start_unix_server(answer, path)
    async with server:
        return await call()


def test_rpc_result_and_error(tmp_path: Path) -> None:
    path = tmp_path / "rpc.sock"
    client = RpcClient(path)
    good = b'{"jsonrpc":"2.0","id":999,"result":0}{"jsonrpc":"2.0","id":ID,"result":[1]}'
    bad = b'{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"no such method"}}'
    assert asyncio.run(served(path, [good], lambda: client.call("m", {"a": 1}))) == [1]
    path.unlink(missing_ok=True)
    with pytest.raises(RpcError, match=r"RPC m: no such method \(code -32601\)"):
        asyncio.run(served(path, [bad], lambda: client.call("m")))
    path.unlink(missing_ok=True)
    with pytest.raises(HarnessError, match="closed without an answer"):
        asyncio.run(served(path, [b""], lambda: client.call("m")))
    path.unlink(missing_ok=True)
    with pytest.raises(HarnessError, match=r"rpc\.sock"):
        asyncio.run(client.call("m"))
