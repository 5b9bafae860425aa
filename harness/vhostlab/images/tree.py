# SPDX-License-Identifier: BSD-3-Clause
"""The files of unpacked packages, held in memory.

/bin, /sbin and /lib are folded into /usr, as they are on the distributions we take packages from,
whatever the package itself says.
"""

from __future__ import annotations

import fnmatch
import io
import posixpath
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.process import output_bytes

_MERGED = ("/bin/", "/sbin/", "/lib/", "/lib64/")
_KEPT = ("/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/lib64/", "/boot/", "/etc/")
_LINKS_MAX = 16
UNPACK_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class PackedFile:
    """A regular file (``data``) or a symbolic link (``link``) of a package."""

    data: bytes = b""
    link: str = ""


class FileTree:
    """Path -> file, over all the packages that were added."""

    def __init__(self, kept: tuple[str, ...] = _KEPT) -> None:
        self._kept = kept
        self._files: dict[str, PackedFile] = {}

    async def add_package(self, path: Path) -> None:
        """Unpack one .deb."""
        argv = ["dpkg-deb", "--fsys-tarfile", str(path)]
        with tarfile.open(fileobj=io.BytesIO(await output_bytes(argv, UNPACK_TIMEOUT_S))) as tar:
            self._add_tar(tar)

    def add(self, path: str, file: PackedFile) -> None:
        self._files[normal(path)] = file

    def matching(self, pattern: str) -> list[str]:
        """The paths that match a shell pattern, sorted."""
        return sorted(fnmatch.filter(self._files, normal(pattern)))

    def read(self, path: str) -> bytes:
        """The content of a file, through symbolic links."""
        found = self.find(path)
        if found is None:
            raise HarnessError(f"no package has the file {path}")
        return found

    def find(self, path: str) -> bytes | None:
        """Like ``read``; None when there is no such file."""
        path = normal(path)
        for _ in range(_LINKS_MAX):
            file = self._files.get(path)
            if file is None:
                return None
            if not file.link:
                return file.data
            path = normal(posixpath.join(posixpath.dirname(path), file.link))
        raise HarnessError(f"symbolic links of {path} go round in circles")

    def find_in(self, directories: Iterable[str], name: str) -> bytes | None:
        """The first file called ``name`` in one of ``directories``."""
        for directory in directories:
            if (data := self.find(f"{directory}/{name}")) is not None:
                return data
        return None

    def _add_tar(self, tar: tarfile.TarFile) -> None:
        for member in tar:
            path = normal(member.name)
            if not path.startswith(self._kept):
                continue
            if member.issym():
                self._files[path] = PackedFile(link=member.linkname)
            elif member.islnk():
                self._files[path] = PackedFile(link=normal(member.linkname))
            elif member.isfile():
                content = tar.extractfile(member)
                self._files[path] = PackedFile(content.read() if content else b"")


def normal(path: str) -> str:
    """An absolute path with the merged directories folded into /usr."""
    path = posixpath.normpath("/" + path.lstrip("/"))
    return f"/usr{path}" if path.startswith(_MERGED) else path
