#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The C unit tests under AddressSanitizer and UndefinedBehaviorSanitizer.
# Arguments go to `meson test`, for example the names of tests.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/build.sh asan

# An empty run must not look like success.
tests=$(meson test -C build/asan --no-rebuild --list)
[ -n "$tests" ] || { echo "check-c: build/asan defines no test" >&2; exit 1; }

export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
mkdir -p build/reports
rm -f build/reports/unit.xml
status=0
meson test -C build/asan --no-rebuild --print-errorlogs "$@" || status=$?
cp build/asan/meson-logs/testlog.junit.xml build/reports/unit.xml
exit $status
