# SPDX-License-Identifier: BSD-3-Clause
"""A scenario that is run nowhere is found, and a skip is only forgiven as long as it says."""

import datetime
import json
from pathlib import Path
from typing import Any

import inventory
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inventory import Allowed, Seen

TODAY = datetime.date(2026, 6, 1)
SUITES = {"all": ("boot", "guide")}


def allowed(**changes: Any) -> Allowed:
    base: dict[str, Any] = {
        "scenario": "guide",
        "reason": "huge pages",
        "owner": "somebody",
        "expires": datetime.date(2026, 12, 31),
    }
    return Allowed(**(base | changes))


BOOTED = Seen("boot", "vhostlab", "pass", "")
SKIPPED = Seen("guide", "vhostlab", "skip", "600 free huge pages of 2 MiB are needed")


def found(seen: list[Seen], entries: list[Allowed], declared: str = "boot guide") -> list[str]:
    return inventory.problems(declared.split(), SUITES, seen, entries, TODAY)


def test_a_skip_in_every_lane_has_to_be_allowed() -> None:
    assert found([BOOTED, SKIPPED], [allowed()]) == []
    (line,) = found([BOOTED, SKIPPED], [])
    assert line.startswith("guide on vhostlab: skip: 600 free") and "does not allow" in line
    assert found([BOOTED, SKIPPED], [allowed(reason="no such file")]) == [line]
    assert found([BOOTED, SKIPPED], [allowed(scenario="boot")]) == [line]


def test_an_entry_ends_on_its_day() -> None:
    (line,) = found([BOOTED, SKIPPED], [allowed(expires=TODAY)])
    assert "allowed until 2026-06-01 only: somebody has to see to it" in line
    later = allowed(expires=TODAY + datetime.timedelta(days=1))
    assert found([BOOTED, SKIPPED], [later]) == []
    assert found([BOOTED, SKIPPED], [allowed(expires=TODAY), later]) == []


def test_one_lane_is_enough() -> None:
    other = Seen("guide", "qemu", "pass", "")
    assert found([BOOTED, SKIPPED, other], []) == []
    # that it failed is for the run itself to say
    assert found([BOOTED, SKIPPED, Seen("guide", "qemu", "fail", "x")], []) == []


def test_another_reason_in_another_lane_is_not_allowed() -> None:
    other = Seen("guide", "qemu", "skip", "it is about the target vhostlab")
    (line,) = found([BOOTED, SKIPPED, other], [allowed()])
    assert line.startswith("guide on qemu")


def test_what_could_not_be_run_was_not_skipped() -> None:
    other = Seen("guide", "vhostlab", "unavailable", "no huge pages")
    (line,) = found([BOOTED, other], [allowed()])
    assert "unavailable" in line


def test_forgotten_scenarios_and_entries() -> None:
    assert found([BOOTED], [allowed()]) == ["guide: it is in no result"]
    assert "new: no suite runs it" in found([BOOTED, SKIPPED], [allowed()], "boot guide new")
    (line,) = found([BOOTED, SKIPPED], [allowed(), allowed(scenario="gone")])
    assert line == "gone: a skip is allowed, but there is no such scenario"


@settings(deadline=None)
@given(st.sets(st.sampled_from(("boot", "guide", "kill", "swap"))))
def test_whatever_was_not_run_is_named(ran: set[str]) -> None:
    declared = {"boot", "guide", "kill", "swap"}
    seen = [Seen(name, "t", "pass" if name in ran else "skip", "why") for name in declared]
    lines = inventory.problems(declared, {"all": declared}, seen, [], TODAY)
    assert {line.split()[0] for line in lines} == declared - ran


def write(path: Path, *scenarios: Seen) -> None:
    path.parent.mkdir(parents=True)
    told = [
        {
            "name": s.scenario,
            "status": s.status,
            "skip_reason": s.reason if s.status == "skip" else None,
            "error": None,
        }
        for s in scenarios
    ]
    path.write_text(json.dumps({"target": {"name": "vhostlab"}, "scenarios": told}))


def test_the_whole_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "declared_scenarios", lambda: ({"boot", "guide"}, SUITES))
    write(tmp_path / "r" / "vmtest" / "run" / "result.json", BOOTED)
    write(tmp_path / "r" / "quick" / "run" / "result.json", SKIPPED)
    (tmp_path / "r" / "quick" / "latest").symlink_to("run")
    empty = tmp_path / "allow.toml"
    empty.write_text("")
    assert inventory.main([str(tmp_path / "r"), "--allow", str(empty)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[1] == "inventory: 1 of 2 scenarios were run, on vhostlab"
    empty.write_text(
        '[[skip]]\nscenario = "guide"\nreason = "huge"\nowner = "me"\nexpires = 2999-01-01\n'
    )
    assert inventory.main([str(tmp_path / "r"), "--allow", str(empty)]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[[skip]]\nscenario = 'x'\n",
        "[[skip]]\nscenario = 'x'\nreason = ''\nowner = 'me'\nexpires = 2999-01-01\n",
        "[[skip]]\nscenario = 'x'\nreason = 'y'\nowner = 'me'\nexpires = 'never'\n",
        "skip",
    ],
)
def test_bad_lists_are_one_line_and_status_2(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "r" / "result.json", BOOTED)
    path = tmp_path / "allow.toml"
    path.write_text(text)
    assert inventory.main([str(tmp_path / "r"), "--allow", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_to_look_at_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inventory.main([str(tmp_path)]) == 2
    assert "no result.json" in capsys.readouterr().err
    (tmp_path / "result.json").write_text("{}")
    assert inventory.main([str(tmp_path)]) == 2


def test_the_project_s_own_list() -> None:
    declared, suites = inventory.declared_scenarios()
    entries = inventory.read_allowed(inventory.ALLOWED)
    assert {entry.scenario for entry in entries} <= declared
    assert declared == {name for names in suites.values() for name in names}


def test_the_pipeline_asks() -> None:
    text = (Path(inventory.__file__).resolve().parent.parent / ".ci/run").read_text()
    assert 'step inventory .venv/bin/python ci/inventory.py "$reports"' in text
