# SPDX-License-Identifier: BSD-3-Clause
"""One verdict of all tiers, as gate.json for programs and gate.html for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vhostlab_perf.gate import rules, tiers
from vhostlab_perf.gate.tiers import Tier

PAGE = "gate.html"
VERDICT = "gate.json"
HEADINGS = {
    "pass": "Passed",
    "fail": "Failed",
    "inconclusive": "Inconclusive",
    "could not run": "Could not be judged",
}


class BadInput(Exception):
    """What was measured cannot be read."""


def overall(judged: Sequence[Tier]) -> tuple[str, str]:
    """The worst one decides: fail, could not run, inconclusive, pass. And why."""
    for verdict in ("fail", "could not run", "inconclusive"):
        if found := [t for t in judged if t.verdict == verdict]:
            return verdict, "; ".join(f"{t.title}: {t.summary}" for t in found)
    if all(t.verdict == "not needed" for t in judged):
        return "pass", judged[0].summary if judged else "there was nothing to judge"
    return "pass", "nothing that was judged has become worse"


def judge(directory: Path, rules_directory: Path) -> dict[str, Any]:
    """Judge what lies in the directory, write both files there."""
    limits = rules.read(rules_directory)
    try:
        facts = json.loads((directory / "facts.json").read_text())
        judged = tiers.judge(directory, facts, limits)
    except OSError as error:
        raise BadInput(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{directory}: not what vhostlab gate leaves: {error!r}") from error
    verdict, reason = overall(judged)
    found = {
        "schema_version": 1,
        "verdict": verdict,
        "reason": reason,
        **{name: facts[name] for name in ("base", "head", "changed", "machine", "command")},
        **{name: facts[name] for name in ("started", "seconds")},
        "tiers": [{"title": t.title, **asdict(t)} for t in judged],
    }
    (directory / VERDICT).write_text(json.dumps(found, indent=1) + "\n")
    (directory / PAGE).write_text(render(found))
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def render(found: dict[str, Any]) -> str:
    """The page as one string."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vhostlab_perf"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "duration": _minutes,
        "percent": lambda value: f"{100 * value:+.2f} %",
        "slug": lambda text: text.replace(" ", "-"),
    }
    style, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    return environment.get_template("gate.html.j2").render(
        g=found, style=Markup(style), heading=HEADINGS[found["verdict"]]
    )
