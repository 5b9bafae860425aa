#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Check that every scenario is run somewhere.

    ci/inventory.py REPORTS [--allow FILE]   REPORTS: a directory with results (**/result.json)

Wrong is a scenario that no suite names, and one that was run in no result: it was skipped in each,
or is in none. A skip can be allowed, in ci/allowed_skips.toml, with a reason, an owner and a date;
from that date on it counts no more. So is an entry that is not of use to anybody.

Exit status: 0 all is well, 1 something is wrong, 2 there is nothing to look at.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ALLOWED = Path(__file__).resolve().parent / "allowed_skips.toml"

#: How a scenario ends that was carried out, well or not.
RAN = frozenset({"pass", "fail", "error"})


class BadInput(Exception):
    """Something that cannot be read, in one line."""


@dataclass(frozen=True)
class Allowed:
    """A skip that is known of. ``reason`` is part of what the scenario says."""

    scenario: str
    reason: str
    owner: str
    expires: datetime.date


@dataclass(frozen=True)
class Seen:
    """What became of a scenario in one result."""

    scenario: str
    target: str
    status: str
    reason: str


def read_allowed(path: Path) -> list[Allowed]:
    """The list of allowed skips."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("skip", [])
        found = [Allowed(**entry) for entry in entries]
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise BadInput(f"{path}: {error}") from error
    for one in found:
        words = (one.scenario, one.reason, one.owner)
        if (
            not all(isinstance(w, str) and w for w in words)
            or type(one.expires) is not datetime.date
        ):
            raise BadInput(
                f"{path}: {one.scenario}: needs scenario, reason, owner, and a date expires"
            )
    return found


def read_results(directory: Path) -> list[Seen]:
    """Every scenario of every result below a directory."""
    found: list[Seen] = []
    files = {path.resolve() for path in directory.rglob("result.json")}
    for path in sorted(files):
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            target = raw["target"]["name"]
            for s in raw["scenarios"]:
                reason = s["skip_reason"] or s["error"] or ""
                found.append(Seen(s["name"], target, s["status"], reason))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is no result: {type(error).__name__} {error}") from error
    if not files:
        raise BadInput(f"there is no result.json below {directory}")
    return found


def problems(
    declared: Iterable[str],
    suites: Mapping[str, Iterable[str]],
    seen: Iterable[Seen],
    allowed: Iterable[Allowed],
    today: datetime.date,
) -> list[str]:
    """One line for each thing that is wrong."""
    declared, seen, allowed = sorted(declared), list(seen), list(allowed)
    in_suites = {name for names in suites.values() for name in names}
    ran = {s.scenario for s in seen if s.status in RAN}
    found = []
    for name in declared:
        if name not in in_suites:
            found.append(f"{name}: no suite runs it")
        if name in ran:
            continue
        mine = [s for s in seen if s.scenario == name]
        entries = [a for a in allowed if a.scenario == name]
        if not mine:
            found.append(f"{name}: it is in no result")
            continue
        for s in mine:
            said = (
                f"{name} on {s.target}: {s.status}: {s.reason.splitlines()[0] if s.reason else ''}"
            )
            fitting = [a for a in entries if s.status == "skip" and a.reason in s.reason]
            if not fitting:
                found.append(
                    f"{said}; it ran nowhere, and ci/allowed_skips.toml does not allow that"
                )
            elif all(a.expires <= today for a in fitting):
                owner = ", ".join(a.owner for a in fitting)
                date = max(a.expires for a in fitting)
                found.append(f"{said}; allowed until {date} only: {owner} has to see to it")
    for a in allowed:
        if a.scenario not in declared:
            found.append(f"{a.scenario}: a skip is allowed, but there is no such scenario")
    return found


def summary(declared: Iterable[str], seen: Iterable[Seen]) -> str:
    """How many scenarios were run, and on what."""
    declared, seen = set(declared), list(seen)
    ran = {s.scenario for s in seen if s.status in RAN} & declared
    targets = ", ".join(sorted({s.target for s in seen}))
    return f"{len(ran)} of {len(declared)} scenarios were run, on {targets}"


def declared_scenarios() -> tuple[set[str], dict[str, tuple[str, ...]]]:
    """The project's scenarios, and its suites."""
    from vhostlab.scenario import registry
    from vhostlab.scenario.stage import scenario_directory

    known = registry.load(scenario_directory())
    return set(known), {s.name: s.scenarios for s in registry.SUITES.values()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check that every scenario is run somewhere.")
    parser.add_argument("reports", type=Path, help="a directory with results")
    parser.add_argument("--allow", type=Path, default=ALLOWED, help="the list of allowed skips")
    options = parser.parse_args(arguments)
    try:
        allowed, seen = read_allowed(options.allow), read_results(options.reports)
    except BadInput as error:
        print(f"inventory: {error}", file=sys.stderr)
        return 2
    declared, suites = declared_scenarios()
    today = datetime.datetime.now(datetime.UTC).date()
    found = problems(declared, suites, seen, allowed, today)
    for line in found:
        print(f"inventory: {line}")
    print(f"inventory: {summary(declared, seen)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
