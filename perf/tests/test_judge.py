# SPDX-License-Identifier: BSD-3-Clause
"""The judge of two builds, on simulated blocks: what it lets pass, what it stops, what it says."""

from __future__ import annotations

import copy
import html
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import referencing
from vhostlab_perf.__main__ import main
from vhostlab_perf.ab import blocks, judge, page, qualification
from vhostlab_perf.ab import gates as gates_file

ROOT = Path(__file__).resolve().parents[2]
AB_SCHEMA = json.loads((ROOT / "docs" / "ab.schema.json").read_text())
BLOCKS_SCHEMA = json.loads((ROOT / "docs" / "ab-blocks.schema.json").read_text())

#: More of them by hand, to be surer: VHOSTLAB_SIMULATIONS=5000.
SIMULATIONS = int(os.environ.get("VHOSTLAB_SIMULATIONS", "300"))

FULL = gates_file.read()
#: Two metrics and few resamples, so that hundreds of gates take seconds.
QUICK = replace(
    FULL, resamples=400, metrics={k: FULL.metrics[k] for k in ("iops", "target_cpu_per_io")}
)
BUILD = {"revision": "HEAD", "commit": "c" * 40, "build_id": "1f", "options": [], "program": "/v"}
CELLS: list[dict[str, Any]] = [
    {"id": f"cell{n}", "params": {"device": d, "bdev": "null", "depth": n, "path": "frontend"}}
    for n, d in enumerate(["blk", "blk", "scsi"])
]

#: Of a record: as long as the blocks here.
LONG = {"cell_s": 1.0, "turns": 1}

Effects = Mapping[tuple[str, str], float]


def block(
    rng: np.random.Generator,
    number: int,
    gates: gates_file.Gates = QUICK,
    sd: float = 0.01,
    effects: Effects | None = None,
    canary: float = 0.0,
    phase: str = "main",
) -> dict[str, Any]:
    """One block: what both arms share (the machine's mood) and what only one has."""
    mood = rng.normal(0, 0.05)
    cells: dict[str, Any] = {}
    for cell in CELLS:
        pair: dict[str, dict[str, float]] = {"base": {}, "head": {}}
        for metric in gates.metrics:
            effect = (effects or {}).get((cell["id"], metric), 0.0)
            pair["base"][metric] = 1000 * math.exp(mood)
            pair["head"][metric] = 1000 * math.exp(mood + rng.normal(effect, sd))
        cells[cell["id"]] = pair
    sung = {"base": {"loop": 1e6}, "head": {"loop": 1e6 * math.exp(rng.normal(canary, 0.002))}}
    return {
        "number": number,
        "phase": phase,
        "order": "ABBA",
        "cells": cells,
        "canary": sung,
        "guards": {"steal_percent": 0.1, "others_cores": 0.05, "mhz": 2600.0, "seconds": 20.0},
    }


def document(made: list[dict[str, Any]], planned: int = 16, **changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "ab",
        "started": "2026-01-02T03:04:05Z",
        "seconds": 300.5,
        "path": "frontend",
        "timing": "performance",
        "base": BUILD,
        "head": BUILD,
        "cells": CELLS,
        "planned_blocks": planned,
        "over": "",
        "blocks": made,
        "environment": {"accel": "none", "host.usable_cpus": [0, 1]},
        "fingerprint": "0123456789ab",
        "design": {"cell_s": 0.25, "canary_s": 0.1, "turns": 4},
        "command": "vhostlab ab HEAD~1 HEAD",
        "replay": "vhostlab ab --base-binary=/a --head-binary=/b",
        **changes,
    }


def look(
    made: list[dict[str, Any]],
    gates: gates_file.Gates = QUICK,
    record: qualification.Qualification = qualification.NONE,
    **changes: Any,
) -> judge.Judgement:
    return judge.judge(blocks.parse(document(made, **changes), gates.guards), gates, record)


def gate(
    seed: int,
    sd: float = 0.01,
    effects: Effects | None = None,
    canary: float = 0.0,
    gates: gates_file.Gates = QUICK,
) -> tuple[judge.Judgement, list[dict[str, Any]]]:
    """What the harness does: measure what the judge wishes, until it wishes for nothing."""
    rng = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    wanted, phase = 6, "main"
    while True:
        for _ in range(wanted):
            made.append(block(rng, len(made) + 1, gates, sd, effects, canary, phase))
        said = look(made, gates)
        if said.action == "stop":
            return said, made
        assert said.more > 0 and set(said.again) <= {c["id"] for c in CELLS}
        wanted, phase = said.more, {"measure": "main", "confirm": "confirm"}[said.action]


def verdicts(n: int, **options: Any) -> Counter[str]:
    return Counter(gate(seed, **options)[0].verdict for seed in range(n))


EVERYWHERE = {
    (c["id"], m): s for c in CELLS for m, s in (("iops", -1.0), ("target_cpu_per_io", 1.0))
}


def worse(share: float, *cells: str) -> Effects:
    return {k: v * share for k, v in EVERYWHERE.items() if not cells or k[0] in cells}


@pytest.mark.parametrize("sd", [0.003, 0.02])
def test_a_build_against_itself_raises_no_alarm(sd: float) -> None:
    """Nominal: 1 % of the cells that are just at the margin; these are far from it."""
    seen = verdicts(SIMULATIONS // 2, sd=sd)
    assert seen["fail"] == 0
    assert seen["environment"] <= 0.02 * SIMULATIONS
    if sd < 0.01:
        assert seen["pass"] > 0.95 * sum(seen.values())


def test_false_alarms_stay_below_the_level_in_the_worst_case() -> None:
    """Every cell is just as bad as is allowed, on a machine that may just block."""
    at_margin = {
        (c["id"], m): margin * (-1 if m == "iops" else 1)
        for c in CELLS
        for m, margin in (("iops", -math.log1p(-0.02)), ("target_cpu_per_io", math.log1p(0.02)))
    }
    seen = verdicts(SIMULATIONS, sd=0.012, effects=at_margin)
    assert seen["fail"] <= 0.05 * sum(seen.values())


@pytest.mark.parametrize(("share", "sd"), [(0.05, 0.015), (0.10, 0.02)])
def test_a_planted_regression_is_found(share: float, sd: float) -> None:
    """Or reported as below what can be detected."""
    for seed in range(20):
        said, made = gate(seed, sd=sd, effects=worse(share))
        if said.verdict != "fail":
            able = [e for e in said.cells if e.qualified]
            assert all(e.mde + e.gate.margin > share for e in able), said.reason
    assert said.verdict == "fail"
    assert "confirmed by fresh blocks" in said.reason
    assert made[-1]["phase"] == "confirm"


def test_a_loss_of_one_cell_is_found() -> None:
    said, _ = gate(3, sd=0.008, effects=worse(0.08, "cell2"))
    assert said.verdict == "fail" and "scsi" in said.reason
    failed = {e.id for e in said.cells if e.verdict == "fail"}
    assert failed == {"cell2"}
    assert said.cells[0].id == "cell2"  # the worst first


def test_better_is_no_regression() -> None:
    assert gate(4, sd=0.005, effects=worse(-0.2))[0].verdict == "pass"


def test_a_gross_regression_takes_few_blocks() -> None:
    said, made = gate(5, sd=0.005, effects=worse(0.3))
    assert said.verdict == "fail" and len(made) == 12


def test_what_fresh_blocks_do_not_show_does_not_count() -> None:
    rng = np.random.default_rng(6)
    made = [block(rng, n + 1, effects=worse(0.1), sd=0.005) for n in range(6)]
    said = look(made)
    assert (said.action, said.more, said.verdict) == ("confirm", 6, "inconclusive")
    assert "no fresh blocks" in look(made, over="budget").reason
    made += [block(rng, n + 7, phase="confirm", sd=0.005) for n in range(6)]
    said = look(made)
    assert said.verdict == "inconclusive" and "did not confirm" in said.reason
    assert all(e.confirmed is False for e in said.cells)


def test_a_canary_that_moved_says_nothing_about_the_builds() -> None:
    for effects in (None, worse(0.1)):
        said, _ = gate(8, canary=0.03, effects=effects)
        assert said.verdict == "environment" and "canary loop" in said.reason


def test_a_canary_that_moved_by_nothing_that_matters() -> None:
    assert gate(9, canary=0.004, sd=0.003)[0].verdict == "pass"


def test_what_the_machine_is_not_qualified_for_does_not_block() -> None:
    spread = {c["id"]: {"iops": 0.2, "target_cpu_per_io": 0.2} for c in CELLS}
    record = qualification.Qualification(20, 0, LONG, spread)
    rng = np.random.default_rng(10)
    made = [block(rng, n + 1, effects=worse(0.3), sd=0.004) for n in range(16)]
    said = look(made, record=record)
    assert said.verdict == "inconclusive" and "qualified for no metric" in said.reason
    assert all(e.verdict == "fail" and not e.qualified for e in said.cells)
    assert "not blocking" in judge.line(said.cells[0], said.canaries)


def test_a_record_of_much_shorter_turns_disqualifies_nothing() -> None:
    spread = {c["id"]: {"iops": 0.2, "target_cpu_per_io": 0.2} for c in CELLS}
    record = qualification.Qualification(20, 0, {"cell_s": 0.05, "turns": 2}, spread)
    rng = np.random.default_rng(10)
    made = [block(rng, n + 1, sd=0.004) for n in range(16)]
    assert look(made, record=record).verdict == "pass"


def test_one_metric_that_is_qualified_is_enough_to_pass_and_to_fail() -> None:
    spread = {c["id"]: {"iops": 0.2, "target_cpu_per_io": 0.002} for c in CELLS}
    record = qualification.Qualification(20, 0, LONG, spread)
    rng = np.random.default_rng(11)
    good = [block(rng, n + 1, sd=0.004) for n in range(16)]
    assert look(good, record=record).verdict == "pass"
    bad = [block(rng, n + 1, sd=0.004, effects=worse(0.1)) for n in range(16)]
    bad += [block(rng, n + 17, sd=0.004, effects=worse(0.1), phase="confirm") for n in range(6)]
    assert look(bad, record=record).verdict == "fail"


def test_percentiles_alone_are_not_enough_to_pass() -> None:
    deciding = {k: replace(g, decides=False) for k, g in QUICK.metrics.items()}
    said = look(
        [block(np.random.default_rng(12), n + 1, sd=0.003) for n in range(16)],
        replace(QUICK, metrics=deciding),
    )
    assert said.verdict == "inconclusive" and "no metric that decides" in said.reason


def test_rates_under_emulation_block_nothing() -> None:
    rng = np.random.default_rng(13)
    made = [block(rng, n + 1, effects=worse(0.3), sd=0.004) for n in range(16)]
    said = look(made, timing="functional")
    assert said.verdict == "inconclusive" and not any(e.qualified for e in said.cells)


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        ({"steal_percent": 40.0}, "hypervisor"),
        ({"others_cores": 1.5}, "other programs"),
        ({"mhz": 1300.0}, "clock"),
    ],
)
def test_a_disturbed_block_does_not_count(guards: dict[str, float], words: str) -> None:
    rng = np.random.default_rng(14)
    made = [block(rng, n + 1, sd=0.003) for n in range(7)]
    made[2]["guards"] |= guards
    read = blocks.parse(document(made), QUICK.guards)
    assert [b.number for b in read.blocks if not b.valid] == [3]
    assert words in read.blocks[2].reason
    assert look(made).cells[0].differences.size == 6


def test_rules_that_drop_blocks_do_not_know_the_arms() -> None:
    rng = np.random.default_rng(15)
    made = [block(rng, n + 1, canary=rng.normal(0, 0.3), effects=worse(0.3)) for n in range(16)]
    turned = copy.deepcopy(made)
    for b in turned:
        for pair in [*b["cells"].values(), b["canary"]]:
            pair["base"], pair["head"] = pair["head"], pair["base"]
    one, other = (blocks.parse(document(m), QUICK.guards).blocks for m in (made, turned))
    assert [b.reason for b in one] == [b.reason for b in other]
    assert any(b.reason for b in one)
    assert any(not b.reason for b in one)


def test_a_machine_that_is_never_quiet() -> None:
    made = [block(np.random.default_rng(16), n + 1) for n in range(28)]
    for b in made:
        b["guards"]["others_cores"] = 2.0
    said = look(made)
    assert (said.verdict, said.action) == ("environment", "stop")
    assert "only 0 of 28 blocks count" in said.reason


def test_too_few_blocks() -> None:
    said = look([block(np.random.default_rng(17), 1)], over="interrupted")
    assert said.verdict == "inconclusive" and "too few" in said.reason


def test_the_verdict_so_far_after_an_interruption() -> None:
    rng = np.random.default_rng(18)
    made = [block(rng, n + 1, sd=0.003) for n in range(8)]
    said = look(made, over="interrupted")
    assert said.verdict == "pass" and said.action == "stop"
    assert {e.differences.size for e in said.cells} <= {6, 8}


def test_later_blocks_do_not_change_what_a_look_decided() -> None:
    rng = np.random.default_rng(19)
    made = [block(rng, n + 1, sd=0.01) for n in range(16)]
    early = {(e.id, e.metric): e for e in look(made[:10]).cells if e.verdict != "inconclusive"}
    late = {(e.id, e.metric): e for e in look(made).cells}
    assert early
    for key, entry in early.items():
        assert (late[key].verdict, late[key].look) == (entry.verdict, entry.look)


def qualified(runs: int, sd: float) -> tuple[qualification.Qualification, dict[str, Any]]:
    rng = np.random.default_rng(20)
    made = [
        blocks.parse(document([block(rng, n + 1, sd=sd) for n in range(16)]), QUICK.guards)
        for _ in range(runs)
    ]
    said = [judge.judge(m, QUICK).verdict for m in made]
    found = qualification.learn(made, said)
    return found, qualification.document(found, QUICK, 16)


def test_a_machine_is_qualified_by_comparing_a_build_with_itself(tmp_path: Path) -> None:
    found, written = qualified(4, 0.01)
    assert found.runs == 4 and found.false_alarms == 0
    assert found.spread["cell0"]["iops"] == pytest.approx(0.01, rel=0.3)
    assert written["qualified"] == {"iops": True, "target_cpu_per_io": True}
    assert qualified(4, 0.1)[1]["qualified"] == {"iops": False, "target_cpu_per_io": False}
    path = tmp_path / "q.json"
    path.write_text(json.dumps(written))
    again = qualification.read(path)
    assert again.sd("cell0", "iops") == pytest.approx(found.spread["cell0"]["iops"], abs=1e-6)
    worst = max(s["iops"] for s in again.spread.values())
    assert again.sd("another", "iops") == worst
    assert again.sd("another", "no such metric") is None
    assert qualification.read(tmp_path / "none.json") == qualification.NONE


def written(tmp_path: Path, made: list[dict[str, Any]], **changes: Any) -> Path:
    raw = document(made, **changes)
    registry = referencing.Registry().with_resource(
        "https://vhostlab.invalid/ab.schema.json", referencing.Resource.from_contents(AB_SCHEMA)
    )
    jsonschema.Draft202012Validator(BLOCKS_SCHEMA, registry=registry).validate(raw)
    path = tmp_path / "blocks.json"
    path.write_text(json.dumps(raw))
    return path


def shown(text: str) -> str:
    """The words of a page, without its markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", text)))


@pytest.mark.parametrize("effects", [None, worse(0.1)])
def test_the_program_writes_a_document_and_a_page(tmp_path: Path, effects: Effects | None) -> None:
    _, made = gate(21, sd=0.005, effects=effects, gates=FULL)
    assert main(["ab", str(written(tmp_path, made))]) == 0
    found = json.loads((tmp_path / "ab.json").read_text())
    jsonschema.validate(found, AB_SCHEMA)
    assert found["verdict"] == ("fail" if effects else "pass")
    text = (tmp_path / "ab.html").read_text()
    assert not re.search(r"<(script|link|img|iframe|object)|(src|href)=|@import|url\(", text)
    words = shown(text)
    for expected in (
        "Regression" if effects else "No regression",
        "vhostlab ab HEAD~1 HEAD",
        "--base-binary=/a",
        "blk null qd0",
        "0123456789ab",
        "did not move",
        found["cells"][0]["line"],
    ):
        assert expected in words, expected


def test_where_nothing_can_be_told_apart_the_page_says_so_in_red(tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    made = [block(rng, n + 1, FULL, sd=0.2) for n in range(16)]
    assert main(["ab", str(written(tmp_path, made))]) == 0
    text = (tmp_path / "ab.html").read_text()
    assert 'class="notice below"' in text and 'class="n below"' in text
    found = json.loads((tmp_path / "ab.json").read_text())
    assert found["cells"][0]["mde"] > found["cells"][0]["margin"]


def test_a_page_without_blocks_and_with_hostile_words(tmp_path: Path) -> None:
    evil = "</pre><script>alert(1)</script>"
    build = BUILD | {"revision": evil, "options": [evil]}
    path = written(tmp_path, [], over="interrupted", head=build, command=evil)
    assert main(["ab", str(path), "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "ab.html").read_text()
    assert "<script" not in text and "alert(1)" in shown(text)
    jsonschema.validate(json.loads((tmp_path / "out" / "ab.json").read_text()), AB_SCHEMA)


def test_no_page_when_none_is_wanted(tmp_path: Path) -> None:
    path = written(tmp_path, [block(np.random.default_rng(23), 1, FULL)])
    assert main(["ab", str(path), "--no-page"]) == 0
    assert not (tmp_path / "ab.html").exists()


def test_qualifying_by_the_program(tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(24), []
    for run in range(2):
        directory = tmp_path / str(run)
        directory.mkdir()
        made = [block(rng, n + 1, FULL, sd=0.004) for n in range(6)]
        paths.append(str(written(directory, made, kind="aa", planned=6)))
    out = tmp_path / "aa.json"
    assert main(["aa", *paths, "-o", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["runs"], found["false_alarms"], found["blocks"]) == (2, 0, 6)
    assert found["verdicts"] == {"pass": 2}
    record = qualification.read(out)
    assert record.sd("blk split", "iops") is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "schema_version None"),
        ('{"schema_version": 1}', "holds no blocks"),
    ],
)
def test_bad_blocks_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    path = tmp_path / "blocks.json"
    path.write_text(text)
    assert main(["ab", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert main(["ab", str(tmp_path / "none.json")]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("margin = 0.02", "margin = 2"), "margin 2"),
        (("[ab.canary]", "[ab.canaries]"), "canary"),
        (("alpha = 0.01 ", "alfa = 0.01 "), "alfa"),
        (("[ab.statistics]", "[ab.statistics"), "cannot be used"),
    ],
)
def test_bad_gates_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], words: str
) -> None:
    rules = tmp_path / "gates.toml"
    rules.write_text(gates_file.DEFAULT.read_text().replace(*change))
    path = written(tmp_path, [])
    assert main(["ab", str(path), "--gates", str(rules)]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_page_can_be_made_of_no_canary() -> None:
    made = [block(np.random.default_rng(25), n + 1, FULL, sd=0.003) for n in range(6)]
    for b in made:
        b["canary"] = {"base": {}, "head": {}}
    read = blocks.parse(document(made), FULL.guards)
    said = judge.judge(read, FULL)
    assert said.canaries == ()
    assert "canary" not in said.cells[0].label
    assert page.render(said, read, judge.document(said, read, qualification.NONE))
