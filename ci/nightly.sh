#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The pipeline of a night: the guest tests on every target, the nightly matrix, daemons that are killed, coverage of
# everything, planted regressions; the results go into the store ($VHOSTLAB_DB, default: results/history.sqlite) and onto
# the site in $ARTIFACTS/site.
#
#   ci/nightly.sh
#
# KILLS, HANDOVERS (default: 200, 100) and FUZZ_SECONDS (default: 300) make it longer or shorter.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/pipeline.sh

results=$PWD/$artifacts/results
store=${VHOSTLAB_DB:-$PWD/results/history.sqlite}
# Only what is imported below is of the history: not the runs of tests, of daemons that count or are slowed down.
unset VHOSTLAB_DB

targets() { .venv/bin/python -c 'from vhostlab import target; print(*target.names(), sep="\n")'; }

pipeline_begin
step build make build venv

# Our own target must be there; which of the others are depends on the machine.
for target in $(targets); do
	do=$([ "$target" = vhostlab ] && echo step || echo attempt)
	$do "vmtest $target" $vhostlab vmtest --suite vmtest --target "$target" --results "$results"
	$do "bench $target" $vhostlab bench --target "$target" --results "$results"
done
step "matrix nightly" $vhostlab run --matrix nightly --results "$results"
step figures make bench-compare
step torture make torture KILLS="${KILLS:-200}" HANDOVERS="${HANDOVERS:-100}"
step fuzz make fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-300}"
step coverage make coverage
step planted make planted GATE_OUTPUT="$PWD/$artifacts/planted"

mapfile -t found < <(runs "$results")
step store env VHOSTLAB_DB="$store" $vhostlab db import "${found[@]}"
step trend env VHOSTLAB_DB="$store" $vhostlab db trend --fail-on-new
step publish $vhostlab publish --results "$results" --db "$store" -o "$PWD/$artifacts/site"
cp -r build/reports "$artifacts/reports"
finish
