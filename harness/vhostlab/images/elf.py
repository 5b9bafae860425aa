# SPDX-License-Identifier: BSD-3-Clause
"""The little of ELF that an image builder reads: what a program is linked with.

64-bit little-endian only, which is what the guests are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vhostlab.errors import HarnessError

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5


@dataclass(frozen=True)
class Linkage:
    """What the dynamic loader of a program or library will look for."""

    needed: tuple[str, ...]
    interpreter: str | None


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def is_elf(data: bytes) -> bool:
    return data[:6] == b"\x7fELF\x02\x01"


def linkage(data: bytes) -> Linkage:
    """Read the DT_NEEDED names and the interpreter; a static program has neither."""
    if not is_elf(data):
        raise HarnessError("not a 64-bit little-endian ELF file")
    segments = _segments(data)
    interpreter = next(
        (_string(data, s.offset) for s in segments if s.kind == _PT_INTERP),
        None,
    )
    dynamic = next((s for s in segments if s.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return Linkage((), interpreter)
    entries = list(struct.iter_unpack("<qQ", data[dynamic.offset : dynamic.offset + dynamic.size]))
    table = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    if table is None:
        return Linkage((), interpreter)
    start = _file_offset(segments, table)
    names = tuple(_string(data, start + value) for tag, value in entries if tag == _DT_NEEDED)
    return Linkage(names, interpreter)


def _segments(data: bytes) -> list[_Segment]:
    (table,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    found = []
    for index in range(count):
        kind, _flags, offset, address, _phys, file_size = struct.unpack_from(
            "<IIQQQQ", data, table + index * size
        )
        found.append(_Segment(kind, offset, address, file_size))
    return found


def _file_offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        if segment.kind == _PT_LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise HarnessError(f"address {address:#x} of an ELF file lies in no segment")


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
