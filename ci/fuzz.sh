#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Run every fuzz target, or only those named: ci/fuzz.sh [fuzz_NAME...]
# FUZZ_JOBS of them run at a time (as many as there are processors).
#
# A smoke, without FUZZ_SECONDS, takes some ten seconds for each and tries the same inputs each time: their number and
# the seed (FUZZ_SEED, 1) are fixed, addresses are not random, and it starts from the checked-in inputs
# (target/fuzz/corpus/NAME, target/fuzz/regressions/NAME) alone. So it fails for a change of the code that it runs, or of
# these inputs, and never by chance.
#
# A search, of FUZZ_SECONDS for each, starts from a random seed (or FUZZ_SEED), and also from what earlier searches
# found: it keeps what is new to it in build/fuzz/corpus/NAME.
#
# An input that breaks a target is left in build/fuzz-findings/NAME; `build/fuzz/target/fuzz/fuzz_NAME FILE` repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
shopt -s nullglob

seconds=${FUZZ_SECONDS-}
jobs=${FUZZ_JOBS:-$(nproc)}
seed=${FUZZ_SEED:-1}
if [ -n "$seconds" ] && [ -z "${FUZZ_SEED-}" ]; then
	seed=$(((RANDOM << 15 | RANDOM) + 1))
fi
for number in "${seconds:-1}" "$jobs" "$seed"; do
	case $number in *[!0-9]* | 0) echo "fuzz: FUZZ_SECONDS, FUZZ_JOBS and FUZZ_SEED must be numbers above 0, not '$number'" >&2; exit 2 ;; esac
done

# The inputs of a smoke: what takes some ten seconds.
declare -A smoke_runs=(
	[codec]=150000 [config]=100000 [inflight]=60000 [scsi]=80000 [scsi_queues]=15000 [sequence]=2000 [session]=100000 [virtqueue_blk]=9000
)

ci/build.sh fuzz

# Where the addresses of libraries and stacks differ, so do words that the fuzzer learns from comparisons.
fixed_addresses=()
if setarch -R true 2>/dev/null; then
	fixed_addresses=(setarch -R)
fi

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
	[ -n "${smoke_runs[${name#fuzz_}]-}" ] || { echo "fuzz: how many inputs is a smoke of $name? Say so in ci/fuzz.sh" >&2; exit 2; }
done
if [ -n "$seconds" ]; then
	echo "fuzz: $seconds s of each, from seed $seed"
fi

report=build/reports/fuzz.xml
mkdir -p build/reports
rm -f "$report"

# The exit status of one target, its log in build/fuzz/NAME.log.
run() {
	local short=${1#fuzz_} program=$programs/$1 log=build/fuzz/$1.log
	local new=build/fuzz/corpus/$short bad=$findings/$short words=target/fuzz/dictionaries/$short
	local inputs=("target/fuzz/corpus/$short"/* "target/fuzz/regressions/$short"/*)
	mkdir -p "$new" "$bad"
	# Named one by one, so that their order is not that of the file system.
	set -- -seed="$seed" -seed_inputs="$(IFS=, && echo "${inputs[*]}")" -timeout=30 -rss_limit_mb=2048 -artifact_prefix="$bad/"
	if [ -f "$words" ]; then
		set -- "$@" -dict="$words"
	fi
	if [ -n "$seconds" ]; then
		set -- "$@" -max_total_time="$seconds" "$new"
	else
		set -- "$@" -runs="${smoke_runs[$short]}"
	fi
	UBSAN_OPTIONS=print_stacktrace=1 exec "${fixed_addresses[@]}" "$program" "$@" >"$log" 2>&1 </dev/null
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
		cases+="<testcase classname=\"fuzz\" name=\"$name\" time=\"${seconds:-10}\"/>"
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
