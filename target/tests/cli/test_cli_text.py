# SPDX-License-Identifier: BSD-3-Clause
"""Texts that are not ASCII: in the configuration, in paths, in answers."""

from __future__ import annotations

import os
from pathlib import Path

from .program import Daemon, ctl, ctl_json, refused, sockets

CONFIG = "[Null]\nDev N 1\n[VhostBlk0]\nName {}\nDev N\n"


def test_a_name_in_utf8(tmp_path: Path) -> None:
    with Daemon(tmp_path, config=CONFIG.format("größe")):
        assert sockets(tmp_path) == ["größe", "vhost-rpc.sock"]
        (controller,) = ctl_json(tmp_path, "controllers", "größe")
        assert controller["ctrlr"] == "größe"
        assert ctl(tmp_path, "delete-controller", "größe") == ""


def test_a_name_in_another_encoding(tmp_path: Path) -> None:
    """Management could neither show nor delete it."""
    (tmp_path / "vhost.conf").write_bytes(CONFIG.format("größe").encode("latin-1"))
    message = refused(["-c", "vhost.conf"], tmp_path)
    assert message == "vhost.conf:4: [VhostBlk0]: Name is not printable text in ASCII or UTF-8"


def test_a_directory_in_another_encoding(tmp_path: Path) -> None:
    """The controller is shown all the same."""
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6\xdfe")
    Path(directory).mkdir()
    with Daemon(tmp_path, ["-S", directory, "-r", "rpc"], CONFIG.format("b")):
        (controller,) = ctl_json(tmp_path, "-s", "rpc", "controllers")
        assert controller["socket"] == f"{tmp_path}/gr??e/b"


def test_a_byte_order_mark(tmp_path: Path) -> None:
    with Daemon(tmp_path, ["--strict"], "\ufeff" + CONFIG.format("b")):
        assert sockets(tmp_path) == ["b", "vhost-rpc.sock"]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """One line, not one for each line of it."""
    message = refused(["-c", "/bin/sh"], tmp_path)
    assert message == "/bin/sh:1: a NUL byte: the file is no text in ASCII or UTF-8"
    (tmp_path / "vhost.conf").write_text(CONFIG.format("b"), encoding="utf-16")
    assert "a NUL byte" in refused(["-c", "vhost.conf"], tmp_path)
