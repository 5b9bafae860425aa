# SPDX-License-Identifier: BSD-3-Clause
"""The environments of several runs: what they have in common, and in what they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vhostlab_perf.reader import Result, text


@dataclass(frozen=True)
class Surroundings:
    """``names``: one per environment; ``differences``: rows of a key and its value in each."""

    names: tuple[str, ...]
    runs: tuple[tuple[str, ...], ...]
    common: tuple[tuple[str, str], ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]


def plain(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, list | tuple):
        return text(", ".join(str(v) for v in value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "\N{EN DASH}" if value is None or value == "" else text(value)


def compare(results: Sequence[Result]) -> Surroundings:
    """Runs on the same target in the same environment are one column."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        groups.setdefault((r.fingerprint, r.target, r.target_version), []).append(r)
    facts = [
        {
            "target": f"{found[0].target} {found[0].target_version}".strip(),
            **{k: plain(v) for k, v in found[0].environment.items()},
            "fingerprint": found[0].fingerprint,
        }
        for found in groups.values()
    ]
    keys = dict.fromkeys(k for f in facts for k in f)
    rows = [(k, tuple(f.get(k, "\N{EN DASH}") for f in facts)) for k in keys]
    return Surroundings(
        names=tuple(chr(ord("A") + n % 26) * (n // 26 + 1) for n in range(len(facts))),
        runs=tuple(tuple(r.run_id for r in found) for found in groups.values()),
        common=tuple((k, v[0]) for k, v in rows if len(set(v)) == 1),
        differences=tuple((k, v) for k, v in rows if len(set(v)) > 1),
    )
