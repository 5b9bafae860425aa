# SPDX-License-Identifier: BSD-3-Clause
"""Makes an ext4 file system that mke2fs filled from a directory the same every time.

mke2fs copies the times of the files, and of these only the time of the last change of the content
can be chosen by whoever made the directory. So in each inode the other times become that one.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from vhostlab.errors import HarnessError

FEATURES = "^metadata_csum,^64bit,^orphan_file,^metadata_csum_seed"
"""For mke2fs: no checksums over the inodes, and group descriptors of 32 bytes."""

_SUPERBLOCK, _MAGIC = 1024, 0xEF53
_ATIME, _CTIME, _MTIME = 8, 12, 16
_CTIME_EXTRA, _MTIME_EXTRA, _ATIME_EXTRA, _CRTIME = 132, 136, 140, 144


def settle_times(path: Path, offset: int) -> None:
    """Rewrite the times of all inodes of the file system at ``offset`` of a file."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as disk:
        at = offset + _SUPERBLOCK
        (blocks,) = struct.unpack_from("<I", disk, at + 4)
        (log_block,) = struct.unpack_from("<I", disk, at + 24)
        (blocks_per_group,) = struct.unpack_from("<I", disk, at + 32)
        (per_group,) = struct.unpack_from("<I", disk, at + 40)
        (magic,) = struct.unpack_from("<H", disk, at + 56)
        (size,) = struct.unpack_from("<H", disk, at + 88)
        if magic != _MAGIC:
            raise HarnessError(f"{path} has no ext4 file system at {offset}")
        block = 1024 << log_block
        groups = -(-blocks // blocks_per_group)
        table = offset + (2 if block == 1024 else 1) * block
        for group in range(groups):
            bitmap, inode_table = struct.unpack_from("<II", disk, table + 32 * group + 4)
            start = offset + bitmap * block
            used = disk[start : start + -(-per_group // 8)]
            for index in range(per_group):
                if used[index // 8] & (1 << index % 8):
                    _settle(disk, offset + inode_table * block + index * size, size)


def _settle(disk: mmap.mmap, at: int, size: int) -> None:
    (mtime,) = struct.unpack_from("<I", disk, at + _MTIME)
    for field in (_ATIME, _CTIME):
        struct.pack_into("<I", disk, at + field, mtime)
    if size > _CRTIME + 4:
        (extra,) = struct.unpack_from("<I", disk, at + _MTIME_EXTRA)
        struct.pack_into("<I", disk, at + _CRTIME, mtime)
        for field in (_CTIME_EXTRA, _ATIME_EXTRA, _CRTIME + 4):
            struct.pack_into("<I", disk, at + field, extra)
