#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Run every fuzz target for FUZZ_SECONDS (10), or only those named: ci/fuzz.sh [fuzz_NAME...]
# FUZZ_JOBS of them run at a time (as many as there are processors).
#
# A run starts from target/fuzz/corpus/NAME and target/fuzz/regressions/NAME and keeps what it finds new in
# build/fuzz/corpus/NAME, so that a longer run later goes on from there. An input that breaks a target is left in
# build/fuzz-findings/NAME; `build/fuzz/target/fuzz/fuzz_NAME FILE` repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-10}
jobs=${FUZZ_JOBS:-$(nproc)}
for number in "$seconds" "$jobs"; do
	case $number in '' | *[!0-9]* | 0) echo "fuzz: FUZZ_SECONDS and FUZZ_JOBS must be numbers above 0, not '$number'" >&2; exit 2 ;; esac
done

ci/build.sh fuzz

programs=build/fuzz/target/fuzz
findings=build/fuzz-findings
if [ $# -eq 0 ]; then
	for program in "$programs"/fuzz_*; do
		if [ -f "$program" ] && [ -x "$program" ]; then
			set -- "$@" "${program##*/}"
		fi
	done
fi
[ $# -gt 0 ] || { echo "fuzz: $programs holds no fuzz target" >&2; exit 1; }
for name in "$@"; do
	[ -x "$programs/$name" ] || { echo "fuzz: no such fuzz target: $name" >&2; exit 2; }
done

report=build/reports/fuzz.xml
mkdir -p build/reports
rm -f "$report"

# The exit status of one target, its log in build/fuzz/NAME.log.
run() {
	local name=$1 short=${1#fuzz_} input
	local new=build/fuzz/corpus/$short bad=$findings/$short words=target/fuzz/dictionaries/$short
	mkdir -p "$new" "$bad"
	set -- "$new"
	for input in "target/fuzz/corpus/$short" "target/fuzz/regressions/$short"; do
		if [ -d "$input" ]; then
			set -- "$@" "$input"
		fi
	done
	if [ -f "$words" ]; then
		set -- "-dict=$words" "$@"
	fi
	UBSAN_OPTIONS=print_stacktrace=1 exec "$programs/$name" -max_total_time="$seconds" -timeout=10 \
		-rss_limit_mb=2048 -artifact_prefix="$bad/" "$@" >"build/fuzz/$name.log" 2>&1 </dev/null
}

# "#4711 DONE cov: 800 ft: 5000 corp: ... rss: 200Mb": the numbers behind cov, ft and rss, and the number of runs.
numbers() {
	local last
	last=$(grep -aE '^#[0-9]+.* ft: ' "build/fuzz/$1.log" | tail -n 1)
	sed -nE 's/^#([0-9]+).* cov: ([0-9]+) ft: ([0-9]+) .* rss: ([0-9]+)Mb.*/\1 runs, \2 blocks, \3 features, \4 MiB/p' <<<"$last"
}

declare -A name_of=()
count=0 failed=0 cases=

stop_all() {
	trap - EXIT
	[ ${#name_of[@]} -eq 0 ] || kill "${!name_of[@]}" 2>/dev/null || true
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# Waits for one of those that run, and says what became of it.
reap() {
	local pid='' status=0 name input
	wait -n -p pid || status=$?
	name=${name_of[$pid]}
	unset "name_of[$pid]"
	count=$((count + 1))
	if [ $status -eq 0 ]; then
		printf 'fuzz: %-19s ok      %s\n' "$name" "$(numbers "$name")"
		cases+="<testcase classname=\"fuzz\" name=\"$name\" time=\"$seconds\"/>"
		return
	fi
	failed=$((failed + 1))
	printf 'fuzz: %-19s FAILED  %s; the end of build/fuzz/%s.log:\n' "$name" "$(numbers "$name")" "$name"
	tail -n 60 "build/fuzz/$name.log"
	input=$(sed -nE 's/.*Test unit written to (.*)/\1/p' "build/fuzz/$name.log" | tail -n 1)
	if [ -n "$input" ]; then
		printf 'fuzz: repeat it: %s %s\n' "$programs/$name" "$input"
	fi
	cases+="<testcase classname=\"fuzz\" name=\"$name\"><failure message=\"see build/fuzz/$name.log\"/></testcase>"
}

for name in "$@"; do
	if [ ${#name_of[@]} -ge "$jobs" ]; then
		reap
	fi
	run "$name" &
	name_of[$!]=$name
done
while [ ${#name_of[@]} -gt 0 ]; do
	reap
done
printf '<?xml version="1.0"?>\n<testsuites><testsuite name="fuzz" tests="%d" failures="%d">%s</testsuite></testsuites>\n' \
	$count $failed "$cases" >"$report"
[ $failed -eq 0 ]
