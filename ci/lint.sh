#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# All checks that read the sources without running them. Each can be run alone:
#
#   ci/lint.sh [format|build|tidy|layers|ruff|mypy|shell|man|sources ...]
#   ci/lint.sh --fix     lay out the C and Python sources as the checks want them
#
# Goes through all of them even when one fails, and says at the end which did.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=.venv/bin
all=(sources format build tidy layers ruff mypy shell man)

c_sources() { find target harness -name build -prune -o -name '*.[ch]' -print; }
shell_sources() { find ci harness vm-images .ci -type f \( -name '*.sh' -o -path .ci/run \) -print; }
man_sources() { find docs/man -name '*.[1-8]' -print; }

# each COMMAND...: run it on the list of files on standard input; an empty list is an error, not a success.
each() {
	local files
	mapfile -t files
	[ ${#files[@]} -gt 0 ] || { echo "no file to check" >&2; return 1; }
	"$@" "${files[@]}"
}

# What no tool checks: the licence in the first two lines, and files that hold one idea.
lint_sources() {
	local file status=0
	while read -r file; do
		if ! grep -q 'SPDX-License-Identifier: BSD-3-Clause' <(head -n 2 "$file"); then
			echo "$file:1: no SPDX-License-Identifier"
			status=1
		fi
		if [ "$(wc -l <"$file")" -gt 800 ]; then
			echo "$file: over 800 lines"
			status=1
		fi
	done < <(c_sources; shell_sources; find ci harness perf target -name '*.py')
	return $status
}
lint_format() {
	c_sources | each $bin/clang-format --dry-run -Werror
	$bin/ruff format --check .
}
lint_build() {
	local flavour
	for flavour in release asan fuzz; do
		ci/build.sh $flavour
	done
}
tidy() {
	xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet -p "build/$1" \
		--extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-string-plus-int 2>&1
}
# The flags are those of the builds on the posix environment, which leave DPDK's headers out (env/dpdk*, rte_backend.c); nor are
# there those of fio, which source_layout.c needs.
lint_tidy() {
	local found status=0
	ci/build.sh asan
	ci/build.sh fuzz
	found=$(find target/lib target/app target/tests harness -name '*.c' ! -path '*/env/dpdk*' ! -name source_layout.c ! -name rte_backend.c -print0 |
		tidy asan) || status=1
	found+=$'\n'$(find target/fuzz -name '*.c' -print0 | tidy fuzz) || status=1
	[ $status -eq 0 ] || grep -vE '(warnings?|errors?) generated|^Error while processing' <<<"$found"
	return $status
}
lint_layers() { $bin/python ci/layers.py; }
lint_ruff() { $bin/ruff check --quiet .; }
lint_mypy() {
	# One run per area: each has a conftest.py and helpers of the same names.
	local area status=0
	for area in ci harness perf target/tests; do
		$bin/mypy --no-error-summary "$area" || status=1
	done
	return $status
}
lint_shell() { shell_sources | each shellcheck; }
lint_man() { man_sources | each mandoc -T lint -W warning; }

if [ "${1-}" = --fix ]; then
	c_sources | each $bin/clang-format -i
	$bin/ruff check --quiet --fix --select I .
	$bin/ruff format --quiet .
	exit
fi

[ $# -gt 0 ] || set -- "${all[@]}"
failed=()
for step in "$@"; do
	if [ "$(type -t "lint_$step")" != function ]; then
		echo "lint: unknown check '$step' (there are: ${all[*]})" >&2
		exit 2
	fi
	# A subshell of its own keeps `set -e` in force inside the step.
	set +e
	output=$(set -e; "lint_$step" 2>&1)
	status=$?
	set -e
	if [ $status -eq 0 ]; then
		printf 'lint: %-8s ok\n' "$step"
	else
		printf 'lint: %-8s FAILED\n%s\n' "$step" "$output"
		failed+=("$step")
		if [ "$step" = format ]; then
			echo "lint: 'make format' lays the sources out"
		fi
	fi
done

if [ ${#failed[@]} -gt 0 ]; then
	echo "lint: failed: ${failed[*]}" >&2
	exit 1
fi
