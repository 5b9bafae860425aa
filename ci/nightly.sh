#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The pipeline of a night: the guest tests on every target, the nightly matrix, daemons that are killed, coverage of
# everything, planted regressions; the results go into the store ($VHOSTLAB_DB) and onto the site in $ARTIFACTS/site.
#
#   ci/nightly.sh
#
# KILLS, HANDOVERS (default: 200, 100) and FUZZ_SECONDS (default: 300) make it longer or shorter.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/pipeline.sh

results=$PWD/$artifacts/results

targets() { .venv/bin/python -c 'from vhostlab import target; print(*target.names(), sep="\n")'; }

pipeline_begin
step build make build venv

for target in $(targets); do
	step "vmtest $target" $vhostlab vmtest --suite vmtest --target "$target" --results "$results"
	step "bench $target" $vhostlab bench --target "$target" --results "$results"
done
if offers run --matrix; then
	step "matrix nightly" $vhostlab run --matrix nightly --results "$results"
else
	leave_out "matrix nightly" "this version has no vhostlab run"
fi
step figures make bench-compare
step torture make torture KILLS="${KILLS:-200}" HANDOVERS="${HANDOVERS:-100}"
step fuzz make fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-300}"
step coverage make coverage
step planted make planted GATE_OUTPUT="$PWD/$artifacts/planted"

if offers db; then
	# A run that was cut off has no result.
	find "$results" -name result.json -print0 | sort -z |
		while IFS= read -r -d '' result; do dirname "$result"; done >"$artifacts/runs"
	step "store" xargs -r -d '\n' -a "$artifacts/runs" $vhostlab db import
else
	leave_out store "this version has no vhostlab db"
fi
if offers publish; then
	step publish $vhostlab publish "$results" -o "$PWD/$artifacts/site"
else
	leave_out publish "this version has no vhostlab publish"
fi
cp -r build/reports "$artifacts/reports"
finish
