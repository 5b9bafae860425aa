# SPDX-License-Identifier: BSD-3-Clause
"""A writer of cpio archives ("newc") whose bytes depend on nothing but what goes in.

Sorted names, owner 0:0, time 0, inode numbers by position: the same tree is the same archive, on
every machine and every day. Also needs no root to hold a device node.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import BinaryIO

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Node:
    """One entry of the archive."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(permissions: int = 0o755) -> Node:
    return Node(stat.S_IFDIR | permissions)


def regular(data: bytes, permissions: int = 0o644) -> Node:
    return Node(stat.S_IFREG | permissions, data)


def symlink(target: str) -> Node:
    return Node(stat.S_IFLNK | 0o777, target.encode())


def char_device(major: int, minor: int, permissions: int = 0o600) -> Node:
    return Node(stat.S_IFCHR | permissions, device=(major, minor))


def write(nodes: dict[str, Node], out: BinaryIO) -> None:
    """Write ``nodes`` (absolute path -> entry); missing parent directories are added."""
    full = dict(nodes)
    for path in nodes:
        parent = path.rpartition("/")[0]
        while parent:
            full.setdefault(parent, directory())
            parent = parent.rpartition("/")[0]
    for number, path in enumerate(sorted(full), start=1):
        _entry(out, number, path.lstrip("/"), full[path])
    _entry(out, 0, _TRAILER, Node(0))


def _entry(out: BinaryIO, number: int, name: str, node: Node) -> None:
    links = 2 if stat.S_ISDIR(node.mode) else 1
    raw_name = name.encode() + b"\0"
    fields = (
        number,
        node.mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime
        len(node.data),
        0,  # major of the file system's device
        0,  # minor of the same
        *node.device,
        len(raw_name),
        0,  # checksum, unused in this variant
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw_name
    out.write(head + b"\0" * (-len(head) % 4))
    out.write(node.data + b"\0" * (-len(node.data) % 4))
