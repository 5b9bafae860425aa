#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Make the virtual environment .venv from requirements.lock and put the project into it (editable).
#
#   ci/venv.sh          make it, or bring it up to date
#   ci/venv.sh --lock   write requirements.lock anew from pyproject.toml (for who changes the dependencies)
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
python=${PYTHON:-/usr/bin/python3}

say() { printf 'venv: %s\n' "$*"; }
die() { printf 'venv: %s\n' "$1" >&2; exit "$2"; }

[ -x "$python" ] || die "no Python at $python: run ci/setup.sh, or name one with PYTHON=" 2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	die "$("$python" --version) at $python is too old: 3.11 is the oldest that will do (PYTHON= names another)" 2

# An environment whose interpreter is gone or is of another version than before cannot be mended.
want=$("$python" -c 'import sys; print(sys.version)')
have=$("$venv/bin/python" -c 'import sys; print(sys.version)' 2>/dev/null) || have=
if [ "$want" != "$have" ]; then
	say "making $venv with $("$python" --version)"
	rm -rf "$venv"
	"$python" -m venv "$venv"
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" </dev/null; }

if [ "${1-}" = --lock ]; then
	tools=$(mktemp -d)
	trap 'rm -rf "$tools"' EXIT
	"$python" -m venv "$tools"
	"$tools/bin/python" -m pip --disable-pip-version-check -q install pip-tools </dev/null
	"$tools/bin/pip-compile" --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --extra dev \
		--no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements.lock pyproject.toml
	say "requirements.lock is written; look at its diff before you commit it"
fi

say "installing the packages of requirements.lock"
pip install --quiet --require-hashes --no-deps --only-binary :all: --requirement requirements.lock ||
	die "the packages of requirements.lock could not be installed (pip's message is above)" 1
# setuptools comes from the lock, so the project itself needs no network and no build environment.
pip install --quiet --no-deps --no-build-isolation --editable . ||
	die "the project could not be installed into $venv (pip's message is above)" 1
pip check >/dev/null || { pip check; die "$venv is not consistent: requirements.lock misses something" 1; }
touch "$venv/.stamp"
say "ready"
