# SPDX-License-Identifier: BSD-3-Clause
"""Downloads that go on where they stopped.

What has come is kept beside the file that it is to become (``.part``), with the server's word for
its version (``.version``). Only that version is gone on with; of another one nothing is kept.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images.progress import Progress

MIRROR_VARIABLE = "VHOSTLAB_IMAGE_MIRROR"
"""Base URL of a mirror: it has the files of guest X in a directory called X."""

OFFLINE_VARIABLE = "VHOSTLAB_OFFLINE"

TIMEOUT_S = 60.0
ATTEMPTS = 5
"""So many connections in a row may end without a byte having come."""

_CHUNK = 1 << 20
_SMALL = 4 << 20


def offline() -> bool:
    """Whether nothing may be fetched."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def address(url: str, guest: str) -> str:
    """Where to fetch what the recipe of a guest names: there, or on the mirror."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return url
    return f"{mirror.rstrip('/')}/{guest}/{urlsplit(url).path.rpartition('/')[2]}"


def small(url: str) -> bytes:
    """The content of a small file."""
    _check(url)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read(_SMALL + 1)
            length = answer.headers.get("Content-Length")
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, error) from error
    if len(content) > _SMALL or (length is not None and int(length) != len(content)):
        raise HarnessError(f"{url} is not whole, or is far too long")
    return content


def large(url: str, path: Path, progress: Progress) -> None:
    """Fetch ``url`` to ``path``, going on with what is there of it."""
    _check(url)
    idle = 0
    while True:
        before = _size(_part(path))
        try:
            if _fetch(url, path, progress):
                break
            problem: Exception = EOFError("the connection ended too early")
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                _part(path).unlink()
                continue
            raise _failed(url, error) from error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        idle = idle + 1 if _size(_part(path)) <= before else 0
        if idle >= ATTEMPTS:
            raise _failed(url, problem) from problem
    _part(path).replace(path)
    _version(path).unlink(missing_ok=True)


def forget(path: Path) -> None:
    """Drop a file and what there is of it."""
    for file in (path, _part(path), _version(path)):
        file.unlink(missing_ok=True)


def _fetch(url: str, path: Path, progress: Progress) -> bool:
    """One connection; whether the file is whole then."""
    part, version = _part(path), _version(path)
    have = _size(part)
    request = urllib.request.Request(url)
    known = version.read_text() if version.exists() else ""
    if have and known:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known)
    else:
        have = 0
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        start = _start(answer)
        if start != have:
            # Another version, or a server that cannot begin in the middle: from the beginning.
            have = 0
            if start != 0:
                raise HarnessError(f"{url}: the server sent another part than it was asked for")
        total = have + int(answer.headers.get("Content-Length") or 0)
        name = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        version.write_text("" if name.startswith("W/") else name)
        with part.open("r+b" if have else "wb") as out:
            out.truncate(have)
            out.seek(have)
            _copy(answer, out, have, total, progress)
        return _size(part) == total or not answer.headers.get("Content-Length")


def _copy(answer: Any, out: IO[bytes], have: int, total: int, progress: Progress) -> None:
    while chunk := answer.read(_CHUNK):
        out.write(chunk)
        have += len(chunk)
        progress.amount(have, total)


def _start(answer: Any) -> int:
    if getattr(answer, "status", None) != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _check(url: str) -> None:
    if offline():
        raise Unavailable(
            f"{url} is needed, and this run is to fetch nothing",
            f"unset {OFFLINE_VARIABLE}",
        )
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise HarnessError(f"{url} is no address to fetch from", "http, https and file are")


def _failed(url: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"cannot fetch {url}: {getattr(error, 'reason', None) or error}",
        f"run it again to go on, or name a mirror in {MIRROR_VARIABLE}",
    )


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _version(path: Path) -> Path:
    return path.with_name(path.name + ".version")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
