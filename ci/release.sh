#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The pipeline of a release: all tests, the release matrix, the release edition of the report; then all of it is frozen:
# one archive with the checksums of what is in it, which no later run changes.
#
#   ci/release.sh VERSION       as 1.2.0; the tag vVERSION must be what is checked out, unless NO_TAG=1
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/pipeline.sh

version=${1-}
if [[ ! $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$ ]]; then
	echo "usage: ci/release.sh VERSION (as 1.2.0)" >&2
	exit 2
fi
if [ "${NO_TAG-}" != 1 ] && [ "$(git rev-parse --verify --quiet "v$version^{commit}")" != "$(git rev-parse HEAD)" ]; then
	echo "release: v$version is no tag of what is checked out (NO_TAG=1 for a rehearsal)" >&2
	exit 2
fi
frozen=$artifacts/vhostlab-$version-results

# freeze: what was found, and by which sources, in one archive.
freeze() {
	cp -r "$results" "$frozen/results"
	cp -r build/reports "$frozen/reports"
	git rev-parse HEAD >"$frozen/REVISION"
	git archive --format=tar.gz --prefix="vhostlab-$version/" -o "$frozen/vhostlab-$version.tar.gz" HEAD
	(cd "$frozen" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$frozen.sums"
	mv "$frozen.sums" "$frozen/SHA256SUMS"
	tar -C "$artifacts" --sort=name --owner=0 --group=0 --mtime="@$(git log -1 --format=%ct)" \
		-czf "$frozen.tar.gz" "$(basename "$frozen")"
	(cd "$artifacts" && sha256sum "$(basename "$frozen").tar.gz" >"$(basename "$frozen").tar.gz.sha256")
	chmod -R a-w "$frozen" "$frozen.tar.gz"
}

pipeline_begin
mkdir -p "$frozen"
results=$PWD/$artifacts/results
mkdir -p "$results"
step tests .ci/run
step "matrix release" $vhostlab run --matrix release --results "$results"
mapfile -t found < <(runs "$results")
step report $vhostlab report --edition release --title "vhostlab $version" --pdf --json --csv \
	-o "$PWD/$frozen/report.html" "${found[@]}"
step freeze freeze
finish
