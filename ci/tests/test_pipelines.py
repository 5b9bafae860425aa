# SPDX-License-Identifier: BSD-3-Clause
"""The pipelines: files that the services can read, scripts that exist and do what they say."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / ".github/workflows").glob("*.yml")), ROOT / ".gitlab-ci.yml"]
SCRIPTS = ("merge_request.sh", "nightly.sh", "release.sh")
SYSTEM_PYTHON = "/usr/bin/python3"
TO_JSON = "import json, sys, yaml; json.dump(yaml.load(sys.stdin, yaml.BaseLoader), sys.stdout)"


def load(path: Path) -> Any:
    """The file as data. The standard library cannot read YAML; clang-tidy brings who can."""
    probe = subprocess.run([SYSTEM_PYTHON, "-c", "import yaml"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("the system's Python has no yaml (python3-yaml)")
    argv = [SYSTEM_PYTHON, "-c", TO_JSON]
    done = subprocess.run(argv, input=path.read_text(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def commands(value: Any) -> list[str]:
    """All that is run: what stands under run, script and before_script."""
    found: list[str] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("run", "script", "before_script"):
                found += inner if isinstance(inner, list) else [inner]
            else:
                found += commands(inner)
    elif isinstance(value, list):
        for inner in value:
            found += commands(inner)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_called_scripts_exist(path: Path) -> None:
    called = re.findall(r"(?<![\w./])ci/[\w.]+", "\n".join(commands(load(path))))
    assert called
    for script in called:
        assert (ROOT / script).stat().st_mode & 0o111, f"{path.name} calls {script}"


def test_every_pipeline_runs_on_both_services() -> None:
    github = "\n".join(c for path in FILES[:-1] for c in commands(load(path)))
    gitlab = "\n".join(commands(load(FILES[-1])))
    for script in SCRIPTS:
        assert f"ci/{script}" in github
        assert f"ci/{script}" in gitlab


def test_called_make_targets_exist() -> None:
    known = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for script in SCRIPTS:
        text = (ROOT / "ci" / script).read_text()
        called = re.findall(r"\bmake ((?:[a-z][a-z0-9-]* ?)+)", re.sub(r"#.*", "", text))
        assert {word for words in called for word in words.split()} <= known


# ---- the scripts ----


def pipeline(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    script = f"set -euo pipefail\n. {ROOT}/ci/pipeline.sh\npipeline_begin\n{body}\nfinish\n"
    return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)


def test_a_failed_step_does_not_end_the_pipeline(tmp_path: Path) -> None:
    done = pipeline(tmp_path, "step one false\nstep two touch made")
    assert done.returncode == 1
    assert (tmp_path / "made").exists()
    assert re.search(r"^one +\d+ s  FAILED \(1\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^two +\d+ s  ok$", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == "failed: one: false"


def test_what_a_machine_lacks_is_no_failure(tmp_path: Path) -> None:
    done = pipeline(tmp_path, "attempt one bash -c 'exit 2'")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^one .* not done: this machine lacks", done.stdout, re.MULTILINE)
    assert pipeline(tmp_path, "attempt one bash -c 'exit 1'").returncode == 1
    assert pipeline(tmp_path, "step one bash -c 'exit 2'").returncode == 1


def test_runs_that_came_to_a_result(tmp_path: Path) -> None:
    """Neither one that was cut off, nor the link to the latest."""
    for name in ("b 2", "a", "cut off"):
        (tmp_path / "results" / name).mkdir(parents=True)
    (tmp_path / "results/latest").symlink_to("b 2")
    for name in ("a", "b 2"):
        (tmp_path / "results" / name / "result.json").touch()
    done = pipeline(tmp_path, "step one true\nruns results")
    assert "results/a\nresults/b 2\n" in done.stdout
    assert "cut off" not in done.stdout and "latest" not in done.stdout


def test_steps_that_all_went_well(tmp_path: Path) -> None:
    done = pipeline(tmp_path, "step one true")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [(), ("one",), ("1.2",), ("1.2.0; true",)])
def test_a_release_wants_its_version(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([ROOT / "ci/release.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_a_release_wants_its_tag() -> None:
    done = subprocess.run([ROOT / "ci/release.sh", "987.0.0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "v987.0.0 is no tag" in done.stderr


# ---- whole pipelines, of programs that only say that they were called ----

SAY = """#!/bin/bash
echo "{name} $*" >>"{calls}"
[ -z "${{VHOSTLAB_DB-}}" ] || echo "$1 $2 $VHOSTLAB_DB" >>"{calls}-with-store"
"""
RUN = """
words=$*
place=${words##*--results }
place=${place%% *}/r-$1
case $words in
*--results*) mkdir -p "$place" && touch "$place/result.json" ;;
esac
[[ $words != *kernel* ]] || exit 2
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with the scripts and nothing else that is real."""
    place = tmp_path / "tree"
    shutil.copytree(ROOT / "ci", place / "ci", ignore=shutil.ignore_patterns("tests", "__*"))
    calls = tmp_path / "calls"
    stubs = {
        "bin/make": "",
        ".ci/run": "mkdir -p build/reports",
        ".venv/bin/python": "mkdir -p build/reports; printf 'kernel\\nvhostlab\\n'",
        ".venv/bin/vhostlab": RUN,
    }
    for name, body in stubs.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SAY.format(name=path.name, calls=calls) + body + "\n")
        path.chmod(0o755)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, *words], cwd=place, check=True)
    return place


def script(tree: Path, name: str, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Exit status, output, and what was called."""
    done = subprocess.run(
        [tree / "ci" / name, *arguments],
        capture_output=True,
        text=True,
        env={"PATH": f"{tree}/bin:/usr/bin:/bin", "HOME": str(tree), **more},
    )
    return done.returncode, done.stdout + done.stderr, (tree.parent / "calls").read_text()


def test_a_merge_request_is_tested_and_judged(tree: Path) -> None:
    status, said, calls = script(tree, "merge_request.sh")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True)
    assert status == 0, said
    assert calls.startswith("run ")
    assert f"make gate BASE={head.stdout.strip()} GATE_OUTPUT={tree}/build/artifacts/gate" in calls


def test_a_night(tree: Path) -> None:
    status, said, calls = script(tree, "nightly.sh", VHOSTLAB_DB="x.sqlite")
    assert status == 0, said
    assert re.search(r"^vmtest kernel .*this machine lacks", said, re.MULTILINE)
    results = f"{tree}/build/artifacts/results"
    assert f"vhostlab db import {results}/r-bench {results}/r-run {results}/r-vmtest\n" in calls
    assert f"vhostlab publish --results {results} --db x.sqlite -o" in calls
    assert "vhostlab db trend --fail-on-new\n" in calls
    # tests, daemons that count and those that are slowed down are not of the history
    stored = (tree.parent / "calls-with-store").read_text()
    assert stored == "db import x.sqlite\ndb trend x.sqlite\n"
    for word in ("torture", "fuzz", "coverage", "planted"):
        assert f"make {word}" in calls


def test_a_release_is_frozen(tree: Path) -> None:
    status, said, calls = script(tree, "release.sh", "1.2.3", NO_TAG="1")
    assert status == 0, said
    assert "vhostlab report --edition release --title vhostlab 1.2.3 --pdf" in calls
    artifacts = tree / "build/artifacts"
    name = "vhostlab-1.2.3-results"
    for directory, sums in ((artifacts, f"{name}.tar.gz.sha256"), (artifacts / name, "SHA256SUMS")):
        subprocess.run(["sha256sum", "--quiet", "-c", sums], cwd=directory, check=True)
    inside = subprocess.run(
        ["tar", "-tzf", artifacts / f"{name}.tar.gz"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"{name}/results/r-run/result.json" in inside
    assert f"{name}/vhostlab-1.2.3.tar.gz" in inside
    assert not (artifacts / name / "REVISION").stat().st_mode & 0o222
    for path in (artifacts / name).rglob("*"):
        path.chmod(0o755)  # so that it can be removed


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="vagrant is not installed")
def test_the_vagrantfile_is_valid(tmp_path: Path) -> None:
    done = subprocess.run(
        ["vagrant", "validate"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "VAGRANT_DEFAULT_PROVIDER": "libvirt"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
