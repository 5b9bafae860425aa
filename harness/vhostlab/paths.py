# SPDX-License-Identifier: BSD-3-Clause
"""Where things lie: the cache, the run-time directory, sockets, the recipes of the source tree.

Environment: ``VHOSTLAB_CACHE`` (images, probe results), ``VHOSTLAB_RUNTIME`` (leases),
``VHOSTLAB_SOCKETS`` (where directories for sockets are made: /tmp), ``VHOSTLAB_SOURCE`` (the source
tree, when the package is not run from it).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.scratch import scratch_dir

SUN_PATH_MAX = 107
"""Longest path of an AF_UNIX socket: sun_path is 108 bytes with its final NUL."""


def cache_dir() -> Path:
    """The cache: $VHOSTLAB_CACHE, else $XDG_CACHE_HOME/vhostlab, else ~/.cache/vhostlab."""
    if own := os.environ.get("VHOSTLAB_CACHE"):
        return Path(own).absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "vhostlab"
    return Path.home() / ".cache" / "vhostlab"


def runtime_dir() -> Path:
    """One directory for all runs of this machine, so that two runs see each other's leases."""
    if own := os.environ.get("VHOSTLAB_RUNTIME"):
        path = Path(own).absolute()
    else:
        shared = Path("/run/lock")
        usable = shared.is_dir() and os.access(shared, os.W_OK)
        path = (shared if usable else Path(tempfile.gettempdir())) / "vhostlab"
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o1777)
    return path


def source_dir() -> Path:
    """The root of the source tree, where vm-images/ and target/ are."""
    if own := os.environ.get("VHOSTLAB_SOURCE"):
        return Path(own).absolute()
    for parent in Path(__file__).resolve().parents:
        if (parent / "vm-images").is_dir() and (parent / "harness").is_dir():
            return parent
    raise Unavailable(
        "the source tree of vhostlab was not found beside the package",
        "set VHOSTLAB_SOURCE to its directory",
    )


def check_socket_path(path: Path) -> Path:
    """Return ``path`` when a UNIX socket can be bound to it."""
    length = len(os.fsencode(path))
    if length > SUN_PATH_MAX:
        raise HarnessError(
            f"socket path has {length} bytes, the limit is {SUN_PATH_MAX}: {path}",
            "use a shorter directory",
        )
    return path


@contextmanager
def socket_dir(prefix: str) -> Iterator[Path]:
    """A private directory with a short name, for sockets; it is removed at the end."""
    # not $TMPDIR, which may be long
    with scratch_dir(prefix, Path(os.environ.get("VHOSTLAB_SOCKETS", "/tmp"))) as path:
        yield path
