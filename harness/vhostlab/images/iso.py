# SPDX-License-Identifier: BSD-3-Clause
"""Small ISO 9660 images that carry files to an installer or a first boot."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import pycdlib


def write(path: Path, label: str, files: Mapping[str, bytes]) -> None:
    """Write an image with these files: name -> content. All names are in its top directory.

    Linux reads the names by Rock Ridge, Windows by Joliet.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=label, rock_ridge="1.09", joliet=3)
    for number, (name, content) in enumerate(sorted(files.items())):
        plain = re.sub("[^A-Z0-9]", "_", name.upper().partition(".")[0])[:5]
        iso.add_fp(
            io.BytesIO(content),
            len(content),
            f"/{plain}{number}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
        )
    iso.write(str(path))
    iso.close()


def read(path: Path) -> dict[str, bytes]:
    """The files of the top directory of such an image."""
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    found = {}
    for entry in iso.list_children(joliet_path="/"):
        name = entry.file_identifier().decode("utf-16-be")
        if entry.is_file():
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, joliet_path=f"/{name}")
            found[name] = out.getvalue()
    iso.close()
    return found


def label(path: Path) -> str:
    """The name of the volume."""
    with path.open("rb") as file:
        file.seek(16 * 2048)
        descriptor = file.read(2048)
    if descriptor[1:6] != b"CD001":
        # A disc for Windows begins with a stub in this format as well.
        return ""
    return descriptor[40:72].decode("ascii", "replace").strip()
