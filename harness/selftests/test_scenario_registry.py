# SPDX-License-Identifier: BSD-3-Clause
"""How scenarios are found, chosen, grouped and declined."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from vhostlab import target as targets
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir
from vhostlab.results import PlannedStage
from vhostlab.scenario import Needs, registry
from vhostlab.scenario.stage import scenario_directory

OWN = """
from vhostlab.scenario import GuestContext, HostContext, guest_scenario, host_scenario

@guest_scenario("zz-shared", devices=("scsi",))
async def shared(ctx: GuestContext) -> None:
    '''Shares the guest.

    More words.
    '''

@host_scenario("zz-own", targets=("vhostlab",))
async def own(ctx: HostContext) -> None:
    '''Boots its own.'''
"""


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("vhostlab_scenarios."):
            del sys.modules[name]


@pytest.fixture
def own(tmp_path: Path, clean_registry: None) -> Path:
    (tmp_path / "zz_own.py").write_text(OWN)
    return tmp_path


def test_a_file_in_a_directory_is_all_it_takes(own: Path) -> None:
    known = registry.load(own)
    assert registry.load(own) == known
    shared, alone = known["zz-shared"], known["zz-own"]
    assert (shared.summary, shared.stage) == ("Shares the guest", registry.SHARED_STAGE)
    assert (alone.summary, alone.stage) == ("Boots its own", "zz-own")


def test_declines_with_a_reason(own: Path) -> None:
    known = registry.load(own)
    reference = targets.get("qemu-storage-daemon")
    ours = targets.get("vhostlab")
    no_scsi = known["zz-shared"].inapplicable(reference.name, reference.capabilities)
    assert no_scsi == "target qemu-storage-daemon has no scsi devices"
    not_it = known["zz-own"].inapplicable(reference.name, reference.capabilities)
    assert not_it is not None and "vhostlab" in not_it
    for scenario in (known["zz-shared"], known["zz-own"]):
        assert scenario.inapplicable(ours.name, ours.capabilities) is None


def test_same_name_twice_is_refused(own: Path) -> None:
    (own / "zz_too.py").write_text(OWN)
    with pytest.raises(HarnessError, match="two scenarios are called zz-"):
        registry.load(own)


def test_a_scenario_must_describe_itself(own: Path) -> None:
    text = OWN.replace("'''Boots its own.'''", "pass").replace("zz-", "zy-")
    (own / "zz_own.py").write_text(text)
    with pytest.raises(HarnessError, match="own has no docstring"):
        registry.load(own)


def test_a_broken_file_is_not_half_loaded(own: Path) -> None:
    (own / "zz_own.py").write_text("raise RuntimeError('broken file')")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken file"):
            registry.load(own)


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no scenarios in"):
        registry.load(tmp_path)


def test_stages_keep_order_and_share_the_guest() -> None:
    known = registry.load(scenario_directory())
    chosen = registry.choose(known, ["idle", "kill", "boot", "idle"])
    assert registry.stages(chosen) == (
        PlannedStage("standard", ("idle", "boot")),
        PlannedStage("kill", ("kill",)),
    )


def test_unknown_names_come_with_the_list() -> None:
    known = registry.load(scenario_directory())
    with pytest.raises(HarnessError, match="no scenario is called 'nope'; there is boot, "):
        registry.choose(known, ["boot", "nope"])
    with pytest.raises(HarnessError, match="no suite is called 'nope'; there is quick, vmtest"):
        registry.suite("nope")


@pytest.mark.parametrize("suite", registry.SUITES.values(), ids=lambda s: s.name)
def test_suites_name_scenarios_that_exist(suite: registry.Suite) -> None:
    known = registry.load(scenario_directory())
    assert registry.choose(known, suite.scenarios)
    assert len(set(suite.scenarios)) == len(suite.scenarios)


def test_the_default_suite_leaves_nothing_out() -> None:
    known = registry.load(scenario_directory())
    own = {n for n in known if not n.startswith(("zz", "zy"))}
    assert set(registry.suite("vmtest").scenarios) == own


def test_the_example_of_the_guide_is_the_file() -> None:
    text = (source_dir() / "docs" / "TESTING.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    assert example == (scenario_directory() / "bounds.py").read_text()
    # "in 20 lines": the body of it
    assert len(example.split("@guest_scenario")[1].splitlines()) <= 20


def test_what_it_needs_of_the_machine() -> None:
    needs = Needs(cores=2, memory_mib=2048)
    assert needs.missing(cores=2, memory_mib=2048) is None
    assert needs.missing(1, 9999) == "needs 2 cores, this machine has 1"
    assert needs.missing(8, 100) == "needs 2048 MiB of memory, 100 MiB are available"


def test_what_it_needs_of_the_target() -> None:
    known = registry.load(scenario_directory())
    for name, target, reason in (
        ("reconnect", "qemu", "does not count its requests"),
        ("packed", "qemu-storage-daemon", "has no packed rings"),
        ("kill", "kernel", "is no process of its own"),
        ("idle", "spdk", "never sleeps"),
    ):
        driver = targets.get(target)
        said = known[name].inapplicable(target, driver.capabilities)
        assert said is not None and said.startswith(f"target {target} {reason}")
    with pytest.raises(HarnessError, match="no target has a feature speed"):
        Needs(features=frozenset({"speed"}))


def test_every_scenario_says_steps_and_what_is_verified() -> None:
    for scenario in registry.load(scenario_directory()).values():
        body = scenario.in_guest or scenario.on_host
        assert body is not None
        assert "Steps:" in (body.__doc__ or "") and "Verify:" in (body.__doc__ or "")
