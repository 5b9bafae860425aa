# SPDX-License-Identifier: BSD-3-Clause
"""Each tier's verdict: pass, fail, inconclusive; or what became of a tier that did not run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vhostlab_perf import labels
from vhostlab_perf.gate import work
from vhostlab_perf.gate.rules import CoverageRules, Reached, Rules

TITLES = {"work": "work per request", "ab": "timing in turns", "coverage": "coverage"}
#: What the judge calls what became of a part that did not run.
STATES = {"not needed": "not needed", "left out": "left out", "could not run": "could not run"}


@dataclass(frozen=True)
class Tier:
    """``findings``: what made the verdict, a line each. ``not_judged``: what and why."""

    name: str
    verdict: str
    summary: str
    findings: list[str] = field(default_factory=list)
    not_judged: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    replay: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def title(self) -> str:
        return TITLES[self.name]


def _load(path: Path) -> Any:
    return json.loads(path.read_text())


def judge_work(directory: Path, rules: Rules) -> Tier:
    findings = work.judge_all(_load(directory / "work.json")["cases"], rules.work)
    worse = [f for f in findings if f.verdict == "fail"]
    loose = [f for f in findings if f.verdict == "inconclusive"]
    biggest = max(findings, key=lambda f: f.change, default=None)
    cases = len({f.case for f in findings})
    if worse:
        verdict, summary = "fail", f"{len(worse)} of {len(findings)} counts have grown"
    elif loose:
        verdict, summary = "inconclusive", f"{len(loose)} of {len(findings)} counts are not steady"
    else:
        most = f", by {biggest.change:+.1%} at most" if biggest else ""
        verdict, summary = "pass", f"no count of {cases} cases has grown{most}"
    return Tier(
        "work",
        verdict,
        summary,
        [str(f) for f in sorted(worse, key=lambda f: -f.change)],
        [f"{f.case}, {f.title}: two counts of the base are {f.spread:.1%} apart" for f in loose],
        [asdict(f) for f in findings],
    )


def _label(cell: dict[str, Any]) -> str:
    """What a person calls a cell."""
    return labels.label(cell["params"], ("path",)) or str(cell["id"])


def _ab_line(cell: dict[str, Any]) -> str:
    mde = cell.get("mde")
    return (
        f"{_label(cell)}: {cell['metric']} ratio {cell['ratio']:.3f} "
        f"[{cell['low']:.3f}, {cell['high']:.3f}], {cell['blocks']} blocks, "
        f"{'' if mde is None else f'MDE {mde:.1%}, '}margin {cell['margin']:.1%}"
    )


def judge_ab(directory: Path) -> Tier:
    """The verdict is the comparison's own; environment: the machine moved, nothing is said."""
    found = _load(directory / "ab/ab.json")
    cells: list[dict[str, Any]] = found["cells"]
    worse = [c for c in cells if c["verdict"] == "fail"]
    open_ones = [c for c in cells if c["verdict"] not in ("pass", "fail")]
    mdes = [c["mde"] for c in open_ones if c.get("mde") is not None]
    seen = f", minimal detectable effect up to {max(mdes):.1%}" if mdes else ""
    summary = {
        "pass": f"none of {len(cells)} figures is worse",
        "fail": f"{len(worse)} of {len(cells)} figures are worse",
        "inconclusive": f"{len(open_ones)} of {len(cells)} figures could not be told apart{seen}",
        "environment": "the machine changed meanwhile, which says nothing about the builds",
    }[found["verdict"]]
    if found.get("reason"):
        summary = f"{summary} ({str(found['reason']).rstrip('.')})"
    verdict = "inconclusive" if found["verdict"] == "environment" else found["verdict"]
    replay = found.get("replay", "")
    return Tier(
        "ab",
        verdict,
        summary,
        [_ab_line(c) for c in worse],
        [_ab_line(c) for c in open_ones],
        [{"label": _label(c), **c} for c in cells],
        [replay] if isinstance(replay, str) and replay else [],
    )


def _changed(diff: dict[str, Any] | None, rules: CoverageRules) -> tuple[str, str, list[str]]:
    """Verdict, what to say, where lines did not run."""
    if diff is None:
        return "pass", "", []
    lines, covered = diff["lines"], diff["covered"]
    if not lines:
        return "pass", "no changed line can run", []
    percent = 100 * covered / lines
    must = f"at least {rules.changed_percent:g} % must"
    said = f"{covered} of {lines} changed lines ran ({percent:.0f} %, {must})"
    missing = [f"{name}: {_ranges(numbers)}" for name, numbers in diff["missing"].items()]
    if lines < rules.changed_fewest or percent >= rules.changed_percent:
        return "pass", said, missing
    return "fail", said, missing


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7: 1-3, 7"""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _total(
    summary: dict[str, Any], reached: Reached | None, rules: CoverageRules
) -> tuple[str, str, str]:
    """Verdict, what to say, and why it was not judged."""
    percent = {kind: float(summary[kind]["percent"]) for kind in ("lines", "branches")}
    said = f"{percent['lines']:.1f} % of lines, {percent['branches']:.1f} % of branches in all"
    if reached is None:
        return "pass", said, "total coverage: perf/coverage.json says nothing of what was reached"
    if missing := reached.parts - set(summary["parts"]):
        return "pass", said, f"total coverage: without the part {', '.join(sorted(missing))}"
    lost = [
        f"{kind} {before:.1f} → {percent[kind]:.1f} %"
        for kind, before in (("lines", reached.lines), ("branches", reached.branches))
        if percent[kind] < before - rules.total_tolerance
    ]
    if lost:
        return "fail", f"the total has fallen: {', '.join(lost)}", ""
    return "pass", said, ""


def judge_coverage(directory: Path, rules: Rules, left_out: dict[str, str]) -> Tier:
    summary = _load(directory / "coverage/summary.json")
    not_judged = [f"coverage by {name}: {why}" for name, why in left_out.items()]
    failed = [name for name, part in summary["parts"].items() if not part["passed"]]
    total, said_total, why = _total(summary, rules.reached, rules.coverage)
    changed, said_changed, missing = _changed(summary["diff"], rules.coverage)
    not_judged += [why] if why else []
    verdict = "fail" if "fail" in (total, changed) else "pass"
    findings = [f"did not run: {line}" for line in missing]
    if failed:
        # Tests that gave up half way are no measure; they themselves are judged by make test.
        verdict = "inconclusive"
        findings.insert(0, f"tests failed, so lines may be missing: {', '.join(failed)}")
    said = "; ".join(text for text in (said_changed, said_total) if text)
    rows = [{"part": name, **part} for name, part in summary["parts"].items()]
    return Tier("coverage", verdict, said, findings, not_judged, rows)


def judge(directory: Path, facts: dict[str, Any], rules: Rules) -> list[Tier]:
    """All tiers, in order."""
    tiers: list[Tier] = []
    for part in facts["parts"]:
        name = part["name"]
        if part["state"] != "ran":
            verdict, why = STATES[part["state"]], part["reason"]
            unjudged = [] if verdict == "not needed" else [f"{TITLES[name]}: {why}"]
            tiers.append(Tier(name, verdict, why, not_judged=unjudged, seconds=part["seconds"]))
            continue
        if name == "work":
            tier = judge_work(directory, rules)
        elif name == "ab":
            tier = judge_ab(directory)
        else:
            tier = judge_coverage(directory, rules, facts["coverage_left_out"])
        own = {**vars(tier), "seconds": part["seconds"]}
        own["replay"] = tier.replay or part["replay"]
        tiers.append(Tier(**own))
    return tiers
