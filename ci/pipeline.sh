# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What the pipelines have in common; sourced by merge_request.sh, nightly.sh and release.sh, from the root of the tree.
#
#   step NAME COMMAND...        run it, go on whatever becomes of it, remember how it ended
#   attempt NAME COMMAND...     the same; exit status 2, this machine lacks something, is no failure
#   runs DIRECTORY              the directories of all runs in there that came to a result, in order
#   finish                      the summary; exit 1 if a step failed

artifacts=${ARTIFACTS:-build/artifacts}
# shellcheck disable=SC2034  # for those who source this
vhostlab=.venv/bin/vhostlab
pipeline_failed=() pipeline_lines=()

pipeline_begin() {
	rm -rf "$artifacts"
	mkdir -p "$artifacts"
	# Everything else is set up by make itself.
	command -v make >/dev/null || ci/setup.sh
}

step() { carry_out - "$@"; }
attempt() { carry_out 2 "$@"; }

# carry_out STATUS NAME COMMAND...: STATUS is no failure either.
carry_out() {
	local harmless=$1 name=$2 status=0 start=$SECONDS said
	shift 2
	printf '\n######## %s: %s\n' "$name" "$*"
	"$@" </dev/null || status=$?
	case $status in
	0) said=ok ;;
	"$harmless") said="not done: this machine lacks something, see above" ;;
	*)
		said="FAILED ($status)"
		pipeline_failed+=("$name: $*")
		;;
	esac
	pipeline_lines+=("$(printf '%-24s %5d s  %s' "$name" $((SECONDS - start)) "$said")")
}

runs() { find "$1" -name result.json -type f -printf '%h\n' | sort; }

finish() {
	local line
	printf '\n######## summary\n'
	printf '%s\n' "${pipeline_lines[@]}"
	printf '%-24s %5d s\n' total $SECONDS
	for line in "${pipeline_failed[@]}"; do
		printf 'failed: %s\n' "$line"
	done
	[ ${#pipeline_failed[@]} -eq 0 ]
}
