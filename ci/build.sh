#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Configure (once, and anew when the options below change) and build one flavour of the C tree into build/NAME:
#   release   gcc, optimised, on DPDK: what users run
#   asan      gcc, AddressSanitizer and UndefinedBehaviorSanitizer, on the posix environment: unit tests
#   tsan      gcc, ThreadSanitizer, on the posix environment: races provoked by hostile guests
#   fuzz      clang, libFuzzer and the same sanitizers, on the posix environment
# Warnings are errors in all of them.
#
#   ci/build.sh NAME [NINJA-TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1-}
shift || true
dir=build/$name
sanitize=(-Ddebug=true -Doptimization=1 -Denv=posix "-Db_sanitize=address,undefined" -Db_lundef=false
	-Dc_args=-fno-sanitize-recover=all)

case $name in
release) flavour=(-Ddebug=true -Doptimization=3 -Denv=dpdk) ;;
asan) flavour=("${sanitize[@]}") ;;
tsan)
	# gcc warns that the sanitizer does not know fences; a false report of a race would be the worst of it.
	flavour=(-Ddebug=true -Doptimization=1 -Denv=posix -Db_sanitize=thread -Db_lundef=false -Dc_args=-Wno-tsan)
	;;
fuzz)
	flavour=("${sanitize[@]}" -Dfuzzing=true)
	export CC=clang
	;;
*)
	echo "usage: ci/build.sh release|asan|tsan|fuzz [NINJA-TARGET...]" >&2
	exit 2
	;;
esac

options="${CC-} ${flavour[*]}"
if [ ! -f "$dir/build.ninja" ] || [ "$options" != "$(cat "$dir/.options" 2>/dev/null)" ]; then
	rm -rf "$dir"
	log=build/$name-setup.log
	mkdir -p build
	if ! meson setup "$dir" "${flavour[@]}" >"$log" 2>&1; then
		cat "$log" >&2
		echo "build: meson could not configure $name (its message is above, also in $log)" >&2
		exit 1
	fi
	printf '%s\n' "$options" >"$dir/.options"
fi

if [ -n "${JOBS-}" ]; then
	set -- -j "$JOBS" "$@"
fi
exec ninja --quiet -C "$dir" "$@"
