# SPDX-License-Identifier: BSD-3-Clause
"""A result to take along: one .tar with all that another machine needs to repeat it.

::

    manifest.json          what is in it: run, command, cells, images, target, environment
    result.json            as the run left it
    matrix/NAME.toml       the matrix it was made of
    jobs/NAME.fio          fio-jobs as they were, jobs/CELL.fio as they were run (no guest)

A bundle comes from somebody else. Only these names are read, none of them is used as a path
outside of a fresh directory, and a member that is not a plain file is refused.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.results import RESULT_FILE, Result, read

FORMAT = 1
MANIFEST = "manifest.json"

#: More than any run has; a bundle is not to fill the disk.
LARGEST = 64 * 1024 * 1024

_NAME = re.compile(r"manifest\.json|result\.json|(matrix|jobs)/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class BadBundle(HarnessError):
    """The file is no bundle; the message names it."""

    exit_status = 2


def manifest(result: Result, names: list[str]) -> dict[str, Any]:
    """The table of contents."""
    images = sorted({str(v) for k, v in result.environment.items() if k.startswith("guest.image")})
    return {
        "bundle": FORMAT,
        "run_id": result.run_id,
        "started": result.started,
        "command": result.command,
        "target": {"name": result.target.name, "version": result.target.version},
        "images": images,
        "environment": dict(result.environment),
        "fingerprint": result.fingerprint,
        "cells": [{"id": c.id, "params": dict(c.params), "replay": c.replay} for c in result.cells],
        "files": sorted(names),
    }


def write(path: Path, result: Result, files: Mapping[str, bytes]) -> None:
    """Make a bundle; the same content makes the same bytes."""
    for name in files:
        if not _NAME.fullmatch(name):
            raise HarnessError(f"no bundle can hold a file called {name!r}")
    listed = json.dumps(manifest(result, list(files)), indent=1) + "\n"
    partial = path.with_name(path.name + ".partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in [(MANIFEST, listed.encode()), *sorted(files.items())]:
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
        partial.replace(path)
    except OSError as error:
        raise HarnessError(f"cannot write {path}: {error.strerror}") from error


def unpack(path: Path, where: Path) -> dict[str, Any]:
    """Put the files of a bundle into a fresh directory; return its manifest."""
    seen, total = set(), 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not _NAME.fullmatch(member.name) or not member.isreg() or member.name in seen:
                    raise BadBundle(f"{path} is no bundle: it holds {member.name!r}")
                total += member.size
                if total > LARGEST:
                    raise BadBundle(f"{path} is no bundle: it is larger than {LARGEST >> 20} MiB")
                seen.add(member.name)
                content = tar.extractfile(member)
                assert content is not None
                target = where / member.name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content.read())
    except OSError as error:
        raise BadBundle(f"cannot read {path}: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise BadBundle(f"{path} is no bundle: {error}") from error
    for name in (MANIFEST, RESULT_FILE):
        if name not in seen:
            raise BadBundle(f"{path} is no bundle: it holds no {name}")
    return _manifest(where / MANIFEST, path)


def _manifest(listed: Path, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(listed.read_text())
    except ValueError as error:
        raise BadBundle(f"{path} is no bundle: its manifest is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("bundle") != FORMAT:
        raise BadBundle(f"{path} is a bundle of another format than {FORMAT}")
    try:
        result = read(Result, listed.with_name(RESULT_FILE))
    except HarnessError as error:
        raise BadBundle(f"{path} is no bundle: {error.message.split(': ', 1)[-1]}") from error
    if found.get("run_id") != result.run_id:
        raise BadBundle(f"{path}: its manifest and its result are of different runs")
    return found
