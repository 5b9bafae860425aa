# SPDX-License-Identifier: BSD-3-Clause
"""The verdict over blocks.

It is a function of the blocks alone: called again with more of them, it goes through the same looks
and comes to the same words about the earlier ones. A cell, or a family of cells, with a metric is
an *entry*. An entry that a look has decided stays decided; one that fails is measured again with
fresh blocks before it counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vhostlab_perf.ab.blocks import Block, Cell, Comparison
from vhostlab_perf.ab.gates import Gate, Gates
from vhostlab_perf.ab.qualification import NONE, Qualification
from vhostlab_perf.reader import Scalar
from vhostlab_perf.stats import margin, multiple, paired, power, sequential
from vhostlab_perf.stats.intervals import Interval, judged
from vhostlab_perf.stats.paired import Floats


@dataclass(frozen=True)
class Entry:
    """A cell or family and a metric, as the last look left it."""

    id: str
    params: Mapping[str, Scalar]
    label: str
    family: str
    cells: tuple[str, ...]
    metric: str
    gate: Gate
    differences: Floats
    base: float
    head: float
    correlation: float | None
    interval: Interval
    look: int
    mde: float
    verdict: str = "inconclusive"
    qualified: bool = True
    confirmed: bool | None = None

    @property
    def harms(self) -> Floats:
        return margin.harm(self.differences, self.gate.direction)

    @property
    def allowed(self) -> float:
        return margin.limit(self.gate.margin, self.gate.direction)

    @property
    def worst(self) -> float:
        """The bound on the bad side, as harm."""
        return -self.interval.low if self.gate.direction == "higher" else self.interval.high


@dataclass(frozen=True)
class Canary:
    """A product-independent figure, arm against arm."""

    name: str
    ratio: float
    low: float
    high: float
    blocks: int
    moved: bool


@dataclass(frozen=True)
class Judgement:
    """All that is said."""

    verdict: str
    reason: str
    cells: tuple[Entry, ...]
    families: tuple[Entry, ...]
    canaries: tuple[Canary, ...]
    looks: tuple[int, ...]
    action: str
    more: int
    again: tuple[str, ...]


@dataclass(frozen=True)
class _Subject:
    """What an entry is about: how to get its figures out of a block."""

    id: str
    params: Mapping[str, Scalar]
    label: str
    family: str
    cells: tuple[str, ...]
    metric: str

    def of(self, block: Block) -> tuple[float, float] | None:
        """The logarithms of base and head; None where one of its cells was not measured."""
        pairs = [block.cells.get(cell) for cell in self.cells]
        both = [p for p in pairs if p is not None and self.metric in p.shared]
        if len(both) != len(self.cells):
            return None
        base = sum(math.log(p.base[self.metric]) for p in both) / len(both)
        return base, sum(math.log(p.head[self.metric]) for p in both) / len(both)


def _subjects(comparison: Comparison, gates: Gates) -> tuple[list[_Subject], list[_Subject]]:
    """Cells, and families of two cells or more."""
    groups: dict[str, list[Cell]] = {}
    for cell in comparison.cells:
        groups.setdefault(cell.family, []).append(cell)
    cells = [
        _Subject(c.id, c.params, c.label(), c.family, (c.id,), metric)
        for c in comparison.cells
        for metric in gates.metrics
    ]
    families = [
        _Subject(name, {}, f"all of {name}", name, tuple(c.id for c in group), metric)
        for name, group in groups.items()
        if len(group) > 1
        for metric in gates.metrics
    ]
    return cells, families


def _entry(
    subject: _Subject, blocks: Sequence[Block], gates: Gates, tail: float, look: int, planned: int
) -> Entry | None:
    """Measured against ``tail``; None where there is too little to say anything."""
    pairs = [p for p in map(subject.of, blocks) if p is not None]
    if len(pairs) < gates.fewest_blocks:
        return None
    logs = np.asarray(pairs)
    d = logs[:, 1] - logs[:, 0]
    return Entry(
        id=subject.id,
        params=subject.params,
        label=subject.label,
        family=subject.family,
        cells=subject.cells,
        metric=subject.metric,
        gate=gates.metrics[subject.metric],
        differences=d,
        base=float(np.exp(logs[:, 0].mean())) if len(subject.cells) == 1 else 0.0,
        head=float(np.exp(logs[:, 1].mean())) if len(subject.cells) == 1 else 0.0,
        correlation=paired.correlation(np.exp(logs[:, 0]), np.exp(logs[:, 1])),
        interval=judged(d, tail, gates.resamples),
        look=look,
        mde=power.mde(float(d.std(ddof=1)), len(d), gates.alpha, gates.power),
    )


def _decide(entries: Sequence[Entry], gates: Gates) -> list[Entry]:
    """By interval, and a failure must also survive Benjamini-Hochberg within its family."""
    adjusted: dict[int, float] = {}
    for key in {(e.family, e.metric) for e in entries}:
        group = [e for e in entries if (e.family, e.metric) == key]
        corrected = multiple.benjamini_hochberg([margin.worse_p(e.harms, e.allowed) for e in group])
        adjusted |= {id(e): q for e, q in zip(group, corrected, strict=True)}
    decided = []
    for e in entries:
        turned = Interval(-e.interval.high, -e.interval.low)
        of_harm = turned if e.gate.direction == "higher" else e.interval
        verdict = margin.decide(of_harm, e.allowed)
        if verdict == "fail" and adjusted[id(e)] > gates.false_discovery:
            verdict = "inconclusive"
        decided.append(replace(e, verdict=verdict))
    return decided


def _looked(
    subjects: Sequence[_Subject], comparison: Comparison, gates: Gates, plan: tuple[int, ...]
) -> list[Entry]:
    """Go through the looks that have been reached."""
    valid = comparison.of("main")
    reached = [n for n in plan if n <= len(valid)]
    early = bool(comparison.over) and plan[-1] > len(valid) >= gates.fewest_blocks
    if early and (not reached or reached[-1] < len(valid)):
        reached.append(len(valid))
    known: dict[tuple[str, str], Entry] = {}
    for number, n in enumerate(reached, 1):
        shares = tuple(k / plan[-1] for k in reached[:number])
        final = early and number == len(reached)
        tail = sequential.tails(shares, gates.alpha, final)[-1]
        fresh = [
            entry
            for subject in subjects
            if known.get((subject.id, subject.metric)) is None
            or known[subject.id, subject.metric].verdict == "inconclusive"
            if (entry := _entry(subject, valid[:n], gates, tail, number, plan[-1])) is not None
        ]
        known |= {(e.id, e.metric): e for e in _decide(fresh, gates)}
    return list(known.values())


def _qualify(
    entry: Entry, comparison: Comparison, gates: Gates, record: Qualification, planned: int
) -> Entry:
    """May this runner block on it? By its A/A record, or by what this run shows of itself."""
    if comparison.functional and entry.metric != "target_instructions_per_io":
        return replace(entry, qualified=False)
    fits = record.fits(comparison.raw["design"])
    sd = record.sd(entry.id, entry.metric) if fits else None
    if sd is None:
        sd = float(entry.differences.std(ddof=1))
    able = power.mde(sd, planned, gates.alpha, gates.power) <= entry.gate.margin
    return replace(entry, qualified=able)


def _confirm(entry: Entry, subject: _Subject, blocks: Sequence[Block], gates: Gates) -> bool | None:
    """Do fresh blocks alone say so too? None: there are not enough of them yet."""
    pairs = [p for p in map(subject.of, blocks) if p is not None]
    if len(pairs) < gates.confirm_blocks:
        return None
    d = np.asarray([head - base for base, head in pairs])
    harms = margin.harm(d, entry.gate.direction)
    worse = judged(harms, gates.confirm_alpha, gates.resamples).low > 0
    return bool(worse and harms.mean() > entry.allowed)


def _canaries(comparison: Comparison, gates: Gates) -> tuple[Canary, ...]:
    blocks = comparison.of("main")
    names = list(dict.fromkeys(name for b in blocks for name in b.canary.shared))
    found = []
    for name in names:
        pairs = [
            (b.canary.base[name], b.canary.head[name]) for b in blocks if name in b.canary.shared
        ]
        if len(pairs) < gates.fewest_blocks:
            continue
        base, head = zip(*pairs, strict=True)
        d = paired.log_ratios(base, head)
        interval = judged(d, gates.canary_alpha, gates.resamples)
        far = abs(float(d.mean())) > math.log1p(gates.canary_margin)
        found.append(
            Canary(
                name=name,
                ratio=math.exp(float(d.mean())),
                low=math.exp(interval.low),
                high=math.exp(interval.high),
                blocks=len(pairs),
                moved=far and not interval.holds(0.0),
            )
        )
    return tuple(found)


def _worst_first(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    def excess(entry: Entry) -> float:
        return entry.allowed - entry.worst

    return tuple(sorted(entries, key=excess))


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _words(entries: Sequence[Entry]) -> str:
    first = entries[0]
    more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
    return f"{first.label}, {first.metric} (ratio {math.exp(first.differences.mean()):.3f}){more}"


def judge(comparison: Comparison, gates: Gates, record: Qualification = NONE) -> Judgement:
    """Everything that can be said of the blocks so far, and what should be measured next."""
    planned = comparison.planned
    plan = sequential.looks(gates.looks, planned, gates.fewest_blocks)
    cells, families = _subjects(comparison, gates)
    subjects = {(s.id, s.metric): s for s in (*cells, *families)}
    fresh = comparison.of("confirm")

    def finished(group: Sequence[_Subject]) -> list[Entry]:
        entries = []
        for e in _looked(group, comparison, gates, plan):
            e = _qualify(e, comparison, gates, record, planned)
            if e.verdict == "fail":
                e = replace(e, confirmed=_confirm(e, subjects[e.id, e.metric], fresh, gates))
                if e.confirmed is False:
                    e = replace(e, verdict="inconclusive")
            entries.append(e)
        return entries

    own, shared = finished(cells), finished(families)
    canaries = _canaries(comparison, gates)
    entries = [*shared, *own]
    valid = len(comparison.of("main"))
    action, more, again = _next(comparison, gates, entries, plan, valid)
    verdict, reason = _verdict(comparison, gates, entries, canaries, valid)
    return Judgement(
        verdict=verdict,
        reason=reason,
        cells=_worst_first(own),
        families=_worst_first(shared),
        canaries=canaries,
        looks=plan,
        action=action,
        more=more,
        again=again,
    )


def _next(
    comparison: Comparison,
    gates: Gates,
    entries: Sequence[Entry],
    plan: tuple[int, ...],
    valid: int,
) -> tuple[str, int, tuple[str, ...]]:
    """What to measure next, how many blocks of it, and which cells."""
    if comparison.over:
        return "stop", 0, ()
    every = tuple(c.id for c in comparison.cells)
    unsure = [e for e in entries if e.verdict == "fail" and e.confirmed is None]
    # what this runner may not block on is not worth more blocks, unless nothing else is there
    if failed := [e for e in unsure if e.qualified]:
        count = gates.confirm_blocks - len(comparison.of("confirm"))
        wanted = {cell for e in failed for cell in e.cells}
        tried = sum(b.phase == "confirm" for b in comparison.blocks)
        if tried < gates.confirm_blocks * gates.guards.blocks_per_valid and count > 0:
            return "confirm", count, tuple(c for c in every if c in wanted)
        return "stop", 0, ()
    if any(e.verdict == "fail" and e.confirmed and e.qualified for e in entries):
        return "stop", 0, ()
    tried = sum(b.phase == "main" for b in comparison.blocks)
    able = [e for e in entries if e.qualified] or entries
    open_ones = [e for e in able if e.verdict == "inconclusive" and e.confirmed is None]
    if entries and not open_ones:
        return "stop", 0, ()
    goal = next((n for n in plan if n > valid), None)
    if goal is None or tried >= plan[-1] * gates.guards.blocks_per_valid:
        return "stop", 0, ()
    return "measure", goal - valid, every


def _verdict(
    comparison: Comparison,
    gates: Gates,
    entries: Sequence[Entry],
    canaries: Sequence[Canary],
    valid: int,
) -> tuple[str, str]:
    measured = sum(b.phase == "main" for b in comparison.blocks)
    if not entries:
        if measured > valid:
            return (
                "environment",
                f"the machine was disturbed: only {valid} of {measured} blocks count",
            )
        return "inconclusive", f"{valid} blocks are too few to say anything"
    if moved := [c for c in canaries if c.moved]:
        c = moved[0]
        return (
            "environment",
            f"what no build can change has changed: canary {c.name}, ratio {c.ratio:.3f}",
        )
    failed = [e for e in entries if e.verdict == "fail" and e.qualified and e.confirmed]
    if failed:
        return "fail", f"worse beyond the margin, confirmed by fresh blocks: {_words(failed)}"
    able = [e for e in entries if e.qualified]
    doubtful = [e for e in able if e.verdict != "pass"]
    unable = len(entries) - len(able)
    aside = (
        f"; {unable} of {len(entries)} entries are below what this machine can tell"
        if unable
        else ""
    )
    beyond = [e for e in entries if e.verdict == "fail" and not e.qualified]
    if beyond:
        aside += f"; not blocking: {_words(beyond)}"
    if not able:
        return "inconclusive", f"this machine is qualified for no metric{aside}"
    if unsure := [e for e in doubtful if e.verdict == "fail"]:
        return (
            "inconclusive",
            f"looks worse beyond the margin, and no fresh blocks were measured to confirm it: "
            f"{_words(unsure)}{aside}",
        )
    if doubtful:
        e = max(doubtful, key=lambda e: e.worst - e.allowed)
        not_confirmed = ", which fresh blocks did not confirm" if e.confirmed is False else ""
        return (
            "inconclusive",
            f"{_words([e])}: between the margin of {_percent(e.gate.margin)} and what can be "
            f"told apart (MDE {_percent(e.mde)}){not_confirmed}{aside}",
        )
    if beyond:
        return "inconclusive", f"all that this machine is qualified for is fine{aside}"
    sure = {cell for e in able if e.gate.decides for cell in e.cells}
    if vague := [c for c in comparison.cells if c.id not in sure]:
        more = f" and {len(vague) - 1} more" if len(vague) > 1 else ""
        return (
            "inconclusive",
            f"{vague[0].label()}{more}: this machine is qualified for no metric that decides"
            f"{aside}",
        )
    return "pass", f"{len(able)} entries are no worse than their margins{aside}"


def line(entry: Entry, canaries: Sequence[Canary]) -> str:
    """One entry in one line."""
    low, high = math.exp(entry.interval.low), math.exp(entry.interval.high)
    words = [
        f"ratio {math.exp(float(entry.differences.mean())):.3f} [{low:.3f}, {high:.3f}]",
        f"{entry.differences.size} blocks",
    ]
    if entry.correlation is not None:
        words.append(f"\N{GREEK SMALL LETTER RHO}={entry.correlation:.2f}")
    words += [f"MDE {_percent(entry.mde)}", f"margin {_percent(entry.gate.margin)}"]
    if canaries:
        c = max(canaries, key=lambda c: abs(math.log(c.ratio)))
        words.append(f"canary {c.ratio:.3f} [{c.low:.3f}, {c.high:.3f}]")
    text = ", ".join(words) + f" -> {entry.verdict.upper()}"
    if entry.verdict == "fail" and entry.confirmed is None:
        text += " (not confirmed)"
    return text if entry.qualified else text + " (not qualified: reported, not blocking)"


def document(judgement: Judgement, comparison: Comparison, record: Qualification) -> dict[str, Any]:
    """ab.json (docs/ab.schema.json)."""
    raw = comparison.raw

    def shown(e: Entry) -> dict[str, Any]:
        return {
            "id": e.id,
            "params": dict(e.params),
            "metric": e.metric,
            "unit": e.gate.unit,
            "direction": e.gate.direction,
            "ratio": math.exp(float(e.differences.mean())),
            "low": math.exp(e.interval.low),
            "high": math.exp(e.interval.high),
            "blocks": int(e.differences.size),
            "look": e.look,
            "mde": e.mde,
            "margin": e.gate.margin,
            "hodges_lehmann": math.exp(paired.hodges_lehmann(e.differences)),
            "p": paired.sign_flip_p(e.differences),
            "correlation": e.correlation,
            "verdict": e.verdict,
            "qualified": e.qualified,
            "confirmed": e.confirmed,
            "base": e.base,
            "head": e.head,
            "line": line(e, judgement.canaries),
        }

    kept = ("kind", "started", "seconds", "path", "timing", "base", "head")
    return {
        "schema_version": 1,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        **{key: raw[key] for key in kept},
        "cells": [shown(e) for e in judgement.cells],
        "families": [shown(e) for e in judgement.families],
        "canary": {
            "moved": any(c.moved for c in judgement.canaries),
            "figures": [c.__dict__ for c in judgement.canaries],
        },
        "blocks": [
            {
                "number": b.number,
                "phase": b.phase,
                "order": b.order,
                "valid": b.valid,
                "reason": b.reason,
                "guards": dict(b.guards),
            }
            for b in comparison.blocks
        ],
        "looks": list(judgement.looks),
        "next": {
            "action": judgement.action,
            "blocks": judgement.more,
            "cells": list(judgement.again),
        },
        "environment": raw["environment"],
        "fingerprint": raw["fingerprint"],
        "qualification": {"runs": record.runs, "false_alarms": record.false_alarms},
        "command": raw["command"],
        "replay": raw["replay"],
    }
