# SPDX-License-Identifier: BSD-3-Clause
#
# The front door. It holds no logic: set-up is ci/setup.sh and ci/venv.sh, building is meson and ninja,
# guests are the vhostlab command. Every step can be run by hand; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules --no-print-directory

# What a caller may set: make vmtest TARGET=qemu-storage-daemon RESULTS=/tmp/out
TARGET ?= vhostlab
RESULTS ?=
DRY_RUN ?=
ONLY ?=
RESULT ?=
REPORT_FLAGS ?=
SITE ?= $(BUILD)/site
DB ?=
BASE ?=
GATE_OUTPUT ?=
GATE ?=
KILLS ?= 200
HANDOVERS ?= 100
RUN_KILLS ?= 3

BIN := .venv/bin
BUILD := build
VHOST := target/app/vhost/vhost
VHOSTCTL := target/app/vhostctl/vhostctl
VENV := .venv/.stamp
REPORTS := $(BUILD)/reports

BENCH_FLAGS = --target $(TARGET) $(if $(RESULTS),--results $(RESULTS))
GATE_FLAGS = $(if $(GATE_OUTPUT),-o $(GATE_OUTPUT)) $(GATE)
VMTEST_FLAGS = --target $(TARGET) $(if $(filter-out 0,$(DRY_RUN)),--dry-run) $(if $(RESULTS),--results $(RESULTS))

.PHONY: all build test vmtest guest-shell bench ladder report publish bench-compare verify-4g gate coverage planted torture torture-runs lint format check-c check-py check-protocol check-engine check-frontend check-vm fuzz hostile \
	instructions-baseline selftest images-check docs setup venv lock clean distclean help

all: build ## same as build

##@ Use it

build: setup ## build the daemon and its client: target/app/vhost/vhost, target/app/vhostctl/vhostctl
	@ci/build.sh release
	@install -C -m 755 $(BUILD)/release/$(VHOST) $(VHOST)
	@install -C -m 755 $(BUILD)/release/$(VHOSTCTL) $(VHOSTCTL)

vmtest: build venv ## boot a guest on the target, run the fio matrix, write a report (TARGET= RESULTS= DRY_RUN=1)
	@$(BIN)/vhostlab vmtest $(VMTEST_FLAGS)

guest-shell: DRY_RUN = 1
guest-shell: vmtest ## boot the guest of vmtest and leave it up for a person

bench: build venv ## run the smoke matrix through the fio engine, no guest (TARGET= RESULTS=)
	@$(BIN)/vhostlab bench $(BENCH_FLAGS)

ladder: build venv ## what each layer between fio and a file costs: bare, QEMU, the target with and without a guest (TARGET= RESULTS=)
	@$(BIN)/vhostlab ladder $(BENCH_FLAGS)

report: venv ## page and PDF of results/latest (RESULT=DIR REPORT_FLAGS=--csv)
	@$(BIN)/vhostlab report $(RESULT) --pdf $(REPORT_FLAGS)

publish: venv ## bring the site of all results up to date (SITE=build/site RESULTS= DB=)
	@$(BIN)/vhostlab publish $(if $(RESULTS),--results $(RESULTS)) $(if $(DB),--db $(DB)) -o $(SITE)

bench-compare: build ## the figures of docs/BENCHMARKING.md, and which bars are met (7 minutes; ONLY=text of a name)
	@python3 harness/frontend/bench/figures.py --only '$(ONLY)' --json $(REPORTS)/figures.json

verify-4g: build venv ## write 4 GiB of each target's disks through the fio engine, read it back, compare checksums
	@for target in vhostlab qemu-storage-daemon; do \
		$(BIN)/vhostlab bench --target $$target --verify 4096 $(if $(RESULTS),--results $(RESULTS)); \
	done

gate: build venv ## judge a change: make gate BASE=HEAD~1 (GATE='--only work': further options of vhostlab gate)
	@$(if $(BASE),,echo "gate: name the revision to compare with: make gate BASE=origin/main" >&2; exit 2)
	@$(BIN)/vhostlab gate $(BASE) $(GATE_FLAGS)

coverage: build venv ## which lines of the target the tests run, guests included: build/reports/coverage (10 minutes)
	@$(BIN)/vhostlab coverage

planted: build venv ## slowness planted into the daemon must turn the gate red (GATE='--only work')
	@$(BIN)/python ci/planted.py $(if $(GATE_OUTPUT),-o $(GATE_OUTPUT)) $(GATE)

test: setup venv ## everything short: lint, unit, fuzz smoke, protocol, self-tests, one small guest
	@$(BIN)/python ci/steps.py

##@ Single steps of test

lint: build venv ## layout, warnings, layers, types, shell scripts and man pages (also: ci/lint.sh NAME)
	@ci/lint.sh

check-c: setup ## C unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@ci/check_c.sh

fuzz: setup ## the same inputs each time, 10 s for each target (FUZZ_SECONDS=600 FUZZ_SEED=N: a search)
	@ci/fuzz.sh

check-py: selftest check-protocol ## all Python tests

selftest: venv ## tests of the harness, of the judge and of ci, without a guest
	@$(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/selftest.xml ci/tests harness/selftests perf/tests

check-protocol: build venv ## drive a real daemon as a front-end would, message by message
	@ci/build.sh asan
	@echo "check-protocol: the build with sanitizers, on the posix environment"
	@VHOST_BINARY=$(CURDIR)/$(BUILD)/asan/$(VHOST) \
		$(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/protocol-asan.xml target/tests
	@echo "check-protocol: the release build, on DPDK"
	@VHOST_BINARY=$(CURDIR)/$(VHOST) \
		$(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/protocol.xml target/tests

check-engine: build venv ## fio with the engine on real targets, no guest
	@$(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/engine.xml harness/frontend/fio/engine_tests

hostile: venv ## everything that no honest driver does, to the builds with sanitizers (RACE_MS=10000: longer races)
	@ci/build.sh asan
	@ci/build.sh tsan $(VHOST)
	@$(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/hostile.xml harness/frontend/hostile

check-frontend: build venv ## the front-end library, vhost-bench, instructions per request, on real targets
	@ci/build.sh asan
	@$(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/frontend.xml harness/frontend/tests/interop

instructions-baseline: build ## count the instructions per request and keep them as the baseline of check-frontend
	@python3 harness/frontend/bench/instructions.py --update

torture: build venv ## kill the daemon 200 times under each kind of load, and under a guest; hand it over 100 times (KILLS=200 HANDOVERS=100)
	@FRONTEND_BIN=$(CURDIR)/$(BUILD)/release/harness/frontend TORTURE_KILLS=$(KILLS) TORTURE_HANDOVERS=$(HANDOVERS) \
		$(BIN)/python -m pytest -q -s --junit-xml=$(REPORTS)/torture.xml harness/frontend/tests/interop/test_torture.py \
		harness/frontend/tests/interop/test_handover.py
	@VHOSTLAB_KILLS=$(KILLS) VHOSTLAB_HANDOVERS=$(HANDOVERS) $(BIN)/vhostlab vmtest --scenario reconnect --scenario reconnect-packed --scenario handover --results $(REPORTS)/torture

check-vm: build venv ## small guests: boot, look at the disks, a little I/O; runs that are killed leave nothing
	@$(BIN)/vhostlab vmtest --suite quick --results $(REPORTS)/vm-quick
	@VHOSTLAB_RUN_KILLS=$(RUN_KILLS) $(BIN)/python -m pytest -q --junit-xml=$(REPORTS)/runs.xml harness/runtests

torture-runs: RUN_KILLS = 20
torture-runs: build venv ## kill the harness, its runner and its stages 20 times in the middle of runs (RUN_KILLS=20)
	@VHOSTLAB_RUN_KILLS=$(RUN_KILLS) $(BIN)/python -m pytest -q -s --junit-xml=$(REPORTS)/torture-runs.xml harness/runtests -k killed

images-check: build venv ## build big guest images and boot them: minutes, downloads, not part of test
	@$(BIN)/python -m pytest -q -s --junit-xml=$(REPORTS)/images.xml harness/images_check
	@$(BIN)/vhostlab vmtest --guest debian-12 --scenario boot --results $(REPORTS)/vm-debian-12

docs: setup ## check the man pages
	@ci/lint.sh man

format: venv ## lay out C and Python sources as lint wants them
	@ci/lint.sh --fix

##@ Set-up and tidying

setup: ## install the distribution's packages that are missing
	@ci/setup.sh

venv: $(VENV) ## make .venv with the Python packages of requirements.lock

$(VENV): requirements.lock pyproject.toml ci/venv.sh | setup
	@ci/venv.sh

lock: setup ## write requirements.lock anew from pyproject.toml
	@ci/venv.sh --lock

clean: ## remove what was built
	rm -rf $(BUILD) $(VHOST) $(VHOSTCTL)

distclean: clean ## remove .venv, caches and results too
	rm -rf .venv results .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name '*.egg-info' -prune -exec rm -rf {} +

help: ## list the targets
	@awk -f ci/help.awk $(MAKEFILE_LIST)
