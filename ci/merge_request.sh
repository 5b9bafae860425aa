#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The pipeline of a merge request: all tests, then the gate against the revision that the change is to be merged into.
#
#   ci/merge_request.sh [BASE]     default: where this branch left $TARGET_BRANCH (default: origin/main, else main)
#
# Leaves the gate's page and its parts in $ARTIFACTS (default: build/artifacts), the tests' reports in build/reports.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/pipeline.sh

find_base() {
	local branch
	for branch in ${TARGET_BRANCH:+"$TARGET_BRANCH"} origin/main main; do
		if git rev-parse --verify --quiet "$branch^{commit}" >/dev/null; then
			git merge-base "$branch" HEAD
			return
		fi
	done
	echo "merge_request: there is neither origin/main nor main: name the base" >&2
	return 2
}

base=${1:-$(find_base)}
pipeline_begin
step tests .ci/run
step gate make gate BASE="$base" GATE_OUTPUT="$PWD/$artifacts/gate"
finish
