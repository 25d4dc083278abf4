# Nova's make targets. `make` or `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- On this machine

.PHONY: run
run: venv  ## All of Nova on this machine, without root and Docker, until Ctrl-C
	@exec $(BIN)/python -m scripts.local.stack $(RUN_OPTIONS)

# --- The lab fleet: three systemd hosts in Docker

# Real data where it stands beside the checkout, else the samples.
FLEET_DATA ?= $(wildcard ../shared/data)

.PHONY: fleet
fleet:  ## A three-host fleet in the lab, doing real work
	@scripts/bootstrap.sh --tools fleet
	@$(MAKE) --no-print-directory venv
	@$(BIN)/python -m scripts.fleet up $(FLEET_DATA)

.PHONY: fleet-down
fleet-down: venv  ## Remove the lab fleet, and what was started for it
	@$(BIN)/python -m scripts.fleet down
	@scripts/bootstrap.sh --stop-engine

# --- A fleet of yours: make status INVENTORY=ansible/inventories/production [JSON=1]

INVENTORY ?= ansible/inventories/production

.PHONY: status
status: venv  ## A fleet on one screen: INVENTORY=FOLDER, JSON=1 for programs
	@$(BIN)/python -m scripts.fleet_status -i $(INVENTORY) $(if $(JSON),--json) -- $(ANSIBLE_OPTIONS)

.PHONY: logs
logs: venv  ## Last lines of a unit from all hosts: UNIT=celery-beat, LINES=200, JSON=1
	@$(BIN)/python -m scripts.fleet_logs -i $(INVENTORY) $(if $(JSON),--json) $(if $(UNIT),--unit '$(UNIT)') \
	    $(if $(LINES),--lines $(LINES)) -- $(ANSIBLE_OPTIONS)

# Kinds of hosts instead of an inventory: make bundle TARGETS="debian-12-x86_64 debian-13-x86_64"
BUNDLE ?= .nova/bundle

.PHONY: bundle
bundle: venv  ## What hosts without a network need: INVENTORY=FOLDER or TARGETS=..., BUNDLE=FOLDER
	@$(BIN)/python -m scripts.bundle make $(if $(TARGETS),$(TARGETS:%=--target=%),-i $(INVENTORY)) \
	    --output $(BUNDLE) $(if $(RELEASE),--release $(RELEASE)) -- $(ANSIBLE_OPTIONS)

# --- Checks and tests

.PHONY: check
check: venv  ## Lint, types, unit and contract tests: seconds
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/shellcheck scripts/*.sh .ci/run molecule/resources/image/*.sh ansible/roles/*/files/*.sh \
		deployment/commands/nova
	@$(BIN)/yamllint --strict .
	@PATH=$(CURDIR)/$(BIN):$$PATH ANSIBLE_CONFIG=ansible/ansible.cfg ansible-lint --offline -q
	@$(BIN)/pytest --quiet -n 2 tests/unit tests/contract

.PHONY: integration
integration: venv  ## Tests on a real Redis with real processes
	@$(BIN)/pytest --quiet -n 3 --dist loadfile tests/protocol tests/integration

.PHONY: guide
guide: venv  ## Every command of docs/guide.md, typed on a machine of its own
	@$(BIN)/pytest --quiet tests/guide

.PHONY: fault-short
fault-short: venv  ## Kill, freeze and cut off what runs, and count: minutes
	@$(BIN)/pytest --quiet -n 2 tests/fault

.PHONY: fault
fault: venv  ## The same for hours, Nova and stock Celery; writes docs/reliability.md
	@$(BIN)/python -m tests.fault --page --long $(FAULT_OPTIONS)

SCENARIOS := default fleet

.PHONY: molecule
molecule: venv  ## The lab scenarios: one host, then three
	@$(BIN)/python -m scripts.scenarios $(SCENARIOS)

# A roll waits a quarter of its time, for drains and for what starts; the tests beside it use that.
# Those that only need more time then are a little nice: at nice's usual 10 a scenario can leave them
# a tenth of a processor, and a start that takes two seconds takes half a minute. The faults have
# bounds of seconds and are not nice.
.PHONY: test
test:  ## All tests but those of test-all, on a machine with nothing prepared
	@scripts/bootstrap.sh --tools test
	@trap 'scripts/bootstrap.sh --stop-engine' EXIT; \
	    $(MAKE) --no-print-directory check && \
	    $(MAKE) --no-print-directory --jobs=2 molecule beside-molecule

# What each prints is shown when it has ended, in one piece.
.PHONY: beside-molecule
beside-molecule: venv
	@mkdir -p .nova; for target in integration guide fault-short; do \
	    case $$target in fault-short) nice= ;; *) nice="nice -n 5" ;; esac; \
	    $$nice $(MAKE) --no-print-directory $$target >.nova/$$target.log 2>&1; code=$$?; \
	    cat .nova/$$target.log; [ $$code = 0 ] || exit $$code; \
	done

.PHONY: test-all
test-all:  ## What test leaves out: the other scenarios, and faults for hours; writes docs/
	@scripts/bootstrap.sh --tools test
	@$(MAKE) --no-print-directory venv
	@trap 'scripts/bootstrap.sh --stop-engine' EXIT; \
	    $(BIN)/python -m scripts.scenarios --page airgap frontend ha restore upgrade && \
	    $(MAKE) --no-print-directory fault

# --- Numbers

.PHONY: bench
bench: venv bench-venv  ## Measure, and write docs/benchmarks.md
	@$(BIN)/python -m bench

# What Nova is measured against wants an older redis-py: an environment of its own.
.venv-bench/.complete: bench/requirements.txt
	@rm -rf .venv-bench
	@$(PYTHON) -m venv .venv-bench
	@echo "making .venv-bench from bench/requirements.txt"
	@.venv-bench/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r bench/requirements.txt
	@touch $@

.PHONY: bench-venv
bench-venv: .venv-bench/.complete

.PHONY: bench-fleet
bench-fleet: venv mitogen  ## Playbooks on 1 to 20 lab hosts, for hours; BENCH_OPTIONS="--hosts 1,3"
	@scripts/bootstrap.sh --tools fleet
	@trap 'scripts/bootstrap.sh --stop-engine' EXIT; $(BIN)/python -m bench fleet --page $(BENCH_OPTIONS)

# A strategy for Ansible, opt-in: in a folder of its own, so that nothing else finds it.
.venv-mitogen/.complete: bench/mitogen.txt | venv
	@rm -rf .venv-mitogen
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes \
	    --target .venv-mitogen -r bench/mitogen.txt
	@touch $@

.PHONY: mitogen
mitogen: .venv-mitogen/.complete  ## Mitogen for Ansible, .venv-mitogen; docs/operations.md

# --- Upkeep

# The environment follows the lock: it is made anew when the lock changes.
.venv/.complete: requirements-dev.txt
	@rm -rf .venv
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "nova: python3 with its venv module is needed: apt install python3-venv" >&2; exit 1; }
	@echo "making .venv from requirements-dev.txt"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: venv
venv: .venv/.complete  ## The development environment, .venv

.PHONY: docs
docs: venv  ## Write the reference pages from the code
	@$(BIN)/python -m scripts.reference

.PHONY: format
format: venv  ## Format the Python code
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: venv  ## Resolve the dependencies into the lock files
	@$(BIN)/$(LOCK) pyproject.toml -o requirements.txt
	@$(BIN)/$(LOCK) pyproject.toml --extra dev -c requirements.txt -o requirements-dev.txt
	@$(BIN)/$(LOCK) bench/requirements.in --python-version 3.11 -o bench/requirements.txt
	@$(BIN)/$(LOCK) bench/mitogen.in -o bench/mitogen.txt

.PHONY: clean
clean:  ## Remove the environment and caches; state under .nova/ stays
	@rm -rf .venv .venv-bench .venv-mitogen .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
