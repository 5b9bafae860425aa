#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Run every fuzz target for FUZZ_SECONDS (20), or only those named: ci/fuzz.sh [fuzz_NAME...]
#
# A run starts from the inputs in target/fuzz/corpus/NAME and keeps what it finds in build/fuzz/corpus/NAME,
# so that a longer run later goes on from there. An input that breaks a target is left in
# build/fuzz/artifacts/NAME; `build/fuzz/target/fuzz/fuzz_NAME FILE` repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-20}
case $seconds in '' | *[!0-9]* | 0) echo "fuzz: FUZZ_SECONDS must be a number above 0, not '$seconds'" >&2; exit 2 ;; esac

ci/build.sh fuzz

if [ $# -eq 0 ]; then
	for program in build/fuzz/target/fuzz/fuzz_*; do
		if [ -f "$program" ] && [ -x "$program" ]; then
			set -- "$@" "${program##*/}"
		fi
	done
fi
[ $# -gt 0 ] || { echo "fuzz: build/fuzz/target/fuzz holds no fuzz target" >&2; exit 1; }

report=build/reports/fuzz.xml
mkdir -p build/reports
rm -f "$report"

# libFuzzer prints one "Done N runs in S second(s)" line when nothing was found.
run() {
	local name=$1 short=${1#fuzz_} log
	local new=build/fuzz/corpus/$short bad=build/fuzz/artifacts/$short seeds=target/fuzz/corpus/$short
	log=build/fuzz/$name.log
	mkdir -p "$new" "$bad"
	set -- "$new"
	if [ -d "$seeds" ]; then
		set -- "$@" "$seeds"
	fi
	UBSAN_OPTIONS=print_stacktrace=1 "build/fuzz/target/fuzz/$name" -max_total_time="$seconds" \
		-timeout=10 -rss_limit_mb=2048 -artifact_prefix="$bad/" "$@" >"$log" 2>&1 </dev/null
}

count=0 failed=0 cases=
for name in "$@"; do
	[ -x "build/fuzz/target/fuzz/$name" ] || { echo "fuzz: no such fuzz target: $name" >&2; exit 2; }
	count=$((count + 1))
	if run "$name"; then
		printf 'fuzz: %-24s ok      %s\n' "$name" "$(grep -a '^Done ' "build/fuzz/$name.log" || true)"
		cases+="<testcase classname=\"fuzz\" name=\"$name\" time=\"$seconds\"/>"
	else
		failed=$((failed + 1))
		printf 'fuzz: %-24s FAILED  the end of build/fuzz/%s.log:\n' "$name" "$name"
		tail -n 60 "build/fuzz/$name.log"
		cases+="<testcase classname=\"fuzz\" name=\"$name\"><failure message=\"see build/fuzz/$name.log\"/></testcase>"
	fi
done
printf '<?xml version="1.0"?>\n<testsuites><testsuite name="fuzz" tests="%d" failures="%d">%s</testsuite></testsuites>\n' \
	$count $failed "$cases" >"$report"
[ $failed -eq 0 ]
