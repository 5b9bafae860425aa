# SPDX-License-Identifier: BSD-3-Clause
"""A directory that behaves as /sys/kernel/config/target does, as far as files go.

A new directory comes with its files; a directory that still holds what somebody made, or that is in
use, cannot be removed; steps in the wrong order are refused. State is on disk only, so that several
processes see the same. Run as a program it is the guard of a journal on such a tree.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from pathlib import Path

from vhostlab.target.configfs import Tree, guard

#: What the kernel makes in a new directory; a name with a slash at its end is a directory.
_CONTENT = (
    (r"core/(fileio|rd_mcp)_\d+", ("hba_info", "hba_mode")),
    (
        r"core/\w+_\d+/[^/]+",
        (
            "control",
            "enable",
            "info",
            "attrib/",
            "attrib/block_size",
            "wwn/",
            "wwn/vpd_unit_serial",
        ),
    ),
    (r"vhost", ("version", "discovery_auth/")),
    (r"vhost/naa\.[0-9a-f]{16}", ("fabric_statistics/",)),
    (r"vhost/naa\.\w+/tpgt_\d+", ("nexus", "attrib/", "acls/", "lun/")),
    (r"vhost/naa\.\w+/tpgt_\d+/lun/lun_\d+", ("statistics/", "alua_tg_pt_gp")),
)

#: A file of the test: the endpoint of this portal group is in use by a QEMU.
IN_USE = ".in_use"


def refuse(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class FakeTree(Tree):
    """The rules."""

    def mkdir(self, path: str) -> None:
        content = next((c for pattern, c in _CONTENT if re.fullmatch(pattern, path)), None)
        if content is None:
            raise refuse(errno.EINVAL, path)
        super().mkdir(path)
        for name in content:
            made = self.root / path / name
            made.mkdir() if name.endswith("/") else made.write_text("")

    def rmdir(self, path: str) -> None:
        where = self.root / path
        content = next(c for pattern, c in _CONTENT if re.fullmatch(pattern, path))
        own = {name.partition("/")[0] for name in content}
        extra = {p.name for p in where.iterdir()} - own - {IN_USE}
        inside = [*(where / "lun").glob("*")] if (where / "lun").is_dir() else []
        if extra or inside:
            raise refuse(errno.ENOTEMPTY, path)
        if (where / IN_USE).exists() or self._exported(path):
            raise refuse(errno.EBUSY, path)
        if (where / "nexus").exists() and (where / "nexus").read_text():
            raise refuse(errno.EBUSY, path)
        shutil.rmtree(where)

    def write(self, path: str, text: str) -> None:
        where = self.root / path
        if not where.is_file():
            raise refuse(errno.ENOENT, path)
        match where.name:
            case "control":
                self._control(path, text)
            case "enable":
                if text != "1" or not (where.parent / "control").read_text():
                    raise refuse(errno.EINVAL, path)
            case "block_size":
                if text not in ("512", "1024", "2048", "4096") or self._exported(
                    str(Path(path).parent.parent)
                ):
                    raise refuse(errno.EINVAL, path)
                if (where.parent.parent / "enable").read_text() != "1":
                    raise refuse(errno.ENODEV, path)
            case "nexus":
                if text == "NULL":
                    if not where.read_text():
                        raise refuse(errno.ENODEV, path)
                    if list((where.parent / "lun").iterdir()):
                        raise refuse(errno.EBUSY, path)
                    text = ""
                elif not re.fullmatch(r"naa\.[0-9a-f]{16}", text) or where.read_text():
                    raise refuse(errno.EINVAL, path)
        where.write_text(text)

    def _control(self, path: str, text: str) -> None:
        options = dict(word.split("=", 1) for word in text.split(","))
        if "/fileio_" in f"/{path}":
            good = (
                {"fd_dev_name", "fd_dev_size"}
                <= set(options)
                <= {
                    "fd_dev_name",
                    "fd_dev_size",
                    "fd_async_io",
                    "fd_buffered_io",
                }
            )
            good = good and Path(options["fd_dev_name"]).is_file()
        else:
            good = {"rd_pages"} <= set(options) <= {"rd_pages", "rd_nullio"}
            good = good and int(options["rd_pages"]) > 0
        if not good:
            raise refuse(errno.EINVAL, path)

    def link(self, path: str, to: str) -> None:
        if (self.root / to / "enable").read_text() != "1":
            raise refuse(errno.ENODEV, path)
        super().link(path, to)

    def unlink(self, path: str) -> None:
        if not (self.root / path).is_symlink():
            raise refuse(errno.EPERM, path)
        super().unlink(path)

    def _exported(self, store: str) -> bool:
        mine = self.root / store
        links = self.root.glob("vhost/*/*/lun/*/*")
        return any(p.is_symlink() and p.readlink() == mine for p in links)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:], FakeTree))
