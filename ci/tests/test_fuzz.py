# SPDX-License-Identifier: BSD-3-Clause
"""The fuzz runner: a smoke is the same each time, a search is not, and both can fail."""

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "fuzz.sh"
# Says how it was called, and that it has found nothing; or something, if its name is in BROKEN.
PROGRAM = """#!/bin/sh
printf '%s\\n' "$@"
echo '#77 DONE cov: 5 ft: 6 corp: 7/8b rss: 9Mb'
case " $BROKEN " in *" ${0##*/} "*) exit 77 ;; esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    programs = tmp_path / "build/fuzz/target/fuzz"
    programs.mkdir(parents=True)
    (tmp_path / "ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / "ci/fuzz.sh")
    (tmp_path / "ci/build.sh").write_text("#!/bin/sh\n")
    for name in ("codec", "scsi"):
        (programs / f"fuzz_{name}").write_text(PROGRAM)
        for kind in ("corpus", "regressions"):
            inputs = tmp_path / "target/fuzz" / kind / name
            inputs.mkdir(parents=True)
            (inputs / "one").write_text("1")
    for program in [*programs.iterdir(), tmp_path / "ci/build.sh"]:
        program.chmod(0o755)
    return tmp_path


def run(tree: Path, *names: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """How it went, and what fuzz_codec was called with."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FUZZ_")}
    done = subprocess.run(
        [tree / "ci/fuzz.sh", *names],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    log = tree / "build/fuzz/fuzz_codec.log"
    return done, log.read_text() if log.exists() else ""


def test_a_smoke_is_the_same_each_time(tree: Path) -> None:
    done, first = run(tree)
    assert done.returncode == 0, done.stderr
    assert "-seed=1\n" in first
    assert "-seed_inputs=target/fuzz/corpus/codec/one,target/fuzz/regressions/codec/one\n" in first
    assert "-runs=" in first
    assert "-max_total_time" not in first
    # What a search has found is none of its inputs.
    assert "build/fuzz/corpus" not in first
    assert run(tree)[1] == first


def test_a_search_says_where_it_starts(tree: Path) -> None:
    done, first = run(tree, FUZZ_SECONDS="600")
    seed = done.stdout.split("from seed ")[1].split()[0]
    assert f"-seed={seed}\n" in first
    assert "-max_total_time=600\n" in first
    assert "build/fuzz/corpus/codec\n" in first
    assert run(tree, FUZZ_SECONDS="600")[1] != first
    assert run(tree, FUZZ_SECONDS="600", FUZZ_SEED=seed)[1] == first


def test_a_finding_is_a_failure_of_that_target(tree: Path) -> None:
    done, _ = run(tree, BROKEN="fuzz_scsi")
    assert done.returncode == 1
    suite = ET.parse(tree / "build/reports/fuzz.xml").getroot()[0]
    assert [(case.get("name"), len(case)) for case in suite].count(("fuzz_scsi", 1)) == 1
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


@pytest.mark.parametrize("variable", ["FUZZ_SECONDS", "FUZZ_SEED", "FUZZ_JOBS"])
@pytest.mark.parametrize("value", ["0", "-1", "ten"])
def test_what_is_no_number(tree: Path, variable: str, value: str) -> None:
    assert run(tree, **{variable: value})[0].returncode == 2


def test_a_target_whose_smoke_has_no_size(tree: Path) -> None:
    programs = tree / "build/fuzz/target/fuzz"
    shutil.copy(programs / "fuzz_codec", programs / "fuzz_new")
    done, _ = run(tree)
    assert done.returncode == 2
    assert "fuzz_new" in done.stderr
