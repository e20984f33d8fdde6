# The commands for people and CI. `make` lists them.

PYTHON ?= python3
SECONDS ?= 60
BASE ?=
SCHEDULER ?=
# Recipes read these from the environment, so neither make nor the shell expands their values.
override PYTHON := $(value PYTHON)
override SECONDS := $(value SECONDS)
override BASE := $(value BASE)
override SCHEDULER := $(value SCHEDULER)
export PYTHON SECONDS BASE SCHEDULER
VENV := .venv
BIN := $(VENV)/bin
# Stages call `python`, which must be the one in .venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)

RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
INSTALL_DEVELOPMENT := $(INSTALL) -c constraints-dev.txt

# Tools with their own environments, so that their dependencies do not mix with the locked packages.
UV_VERSION := 0.13.9
UV := build/uv-$(UV_VERSION)/bin/uv
CYCLONEDX_VERSION := 7.5.0
CYCLONEDX := build/cyclonedx-$(CYCLONEDX_VERSION)/bin/cyclonedx-py
INSTALL_ALONE = "$$PYTHON" -m venv --clear build/$(1) && \
	build/$(1)/bin/python -m pip install --disable-pip-version-check --quiet $(2)
COMPILE := $(UV) pip compile --universal --python-version 3.11 --no-header --no-annotate --quiet
REQUIREMENTS := requirements.txt requirements-dev.txt requirements-fuzz.txt

.PHONY: help setup demo repro recompute sweep metrics-diff gate verify-cache renew check-generated test test-faults test-cpus fuzz lint format lock lock-dev readme plots-page sbom clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(RUNTIME)  ## install the pinned requirements into .venv, if it is out of date

demo: $(RUNTIME)  ## run the pipeline on the embedded sample, in build/demo
	$(BIN)/python -m samples.demo --out build/demo

repro: $(RUNTIME)  ## run the pipeline on CIFAR-10 with params.yaml
	$(BIN)/python -m stages.validate --check-only
	@$(BIN)/python -m tools.verify_cache --quiet
	$(BIN)/python -m dvc repro

# --force and --no-run-cache, because DVC takes committed metrics for its own outputs.
recompute: $(RUNTIME)  ## rerun all stages; fail if dvc.lock or metrics/ differ from the commit
	@mkdir -p build && : > build/recompute.md
	$(BIN)/python -m stages.validate --check-only
	$(BIN)/python -m dvc repro --force --no-run-cache
	@git --no-pager diff --stat -- dvc.lock metrics
	@test -z "$$(git status --porcelain -- dvc.lock metrics)" || { echo "error: dvc.lock and" \
		"metrics/ must be what the code makes, got other bytes: what the gate says of them does" \
		"not count. Commit the new ones if they are meant; on this CPU or with these packages they" \
		"may differ otherwise (docs/reproducibility.md)." | tee build/recompute.md >&2; exit 1; }

sweep: $(RUNTIME)  ## run the grid of params.yaml on Dask: make sweep SCHEDULER=tcp://host:8786
	$(BIN)/python -m stages.validate --check-only
	@$(BIN)/python -m tools.verify_cache --quiet
	DASK_SCHEDULER_ADDRESS="$${SCHEDULER:-$$DASK_SCHEDULER_ADDRESS}" \
		$(BIN)/python -m dvc repro sweep/dvc.yaml
	$(BIN)/python -m dvc repro

verify-cache: $(RUNTIME)  ## remove damaged objects from DVC's cache, which DVC does not check
	$(BIN)/python -m tools.verify_cache

metrics-diff: $(RUNTIME)  ## show dvc metrics diff in Markdown: make metrics-diff BASE=origin/main
	@mkdir -p build
	@$(BIN)/dvc metrics diff --md -- "$$BASE" > build/metrics-diff.md
	@cat build/metrics-diff.md

gate: $(RUNTIME)  ## compare the metrics with those of a Git revision: make gate BASE=origin/main
	@mkdir -p build && rm -f build/gate.*
	@$(BIN)/python -m resnet8.gate --base="$$BASE" --json build/gate.json --markdown build/gate.md

test: $(DEVELOPMENT)  ## run all tests except the long ones
	$(BIN)/python -m pytest

# A third worker computes while others wait for a network or a process. The folders of the long tests
# are listed, because each worker imports all test modules that it collects.
test-faults: $(DEVELOPMENT)  ## run the long tests: kills, full disks, all layers, the reference, planted regressions
	$(BIN)/python -m pytest -m faults -n 3 tests/faults tests/pipeline tests/quantize/test_architectures.py \
		tests/sweep/test_cluster.py tests/sweep/test_tls.py tests/test_notebook.py

test-cpus: $(DEVELOPMENT)  ## run the long tests on emulated CPUs (need Debian's qemu-user)
	$(BIN)/python -m pytest -m cpus -n 0 tests/cpus

fuzz: $(DEVELOPMENT)  ## fuzz the readers of batches and parameters: make fuzz SECONDS=600
	@$(INSTALL_DEVELOPMENT) -r requirements-fuzz.txt
	$(BIN)/python -m tests.fuzz --target batches --seconds "$$SECONDS"
	$(BIN)/python -m tests.fuzz --target params --seconds "$$SECONDS"

lint: $(DEVELOPMENT)  ## check format, code, types and the CI workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/zizmor --offline --quiet .github/workflows

format: $(DEVELOPMENT)  ## format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Does not depend on .venv, because the old constraints may contradict each other. All requirements are
# resolved together, so that both files fit into one environment.
lock: $(UV)  ## renew constraints.txt and constraints-dev.txt from the requirement files
	$(COMPILE) $(REQUIREMENTS) > build/all.txt
	$(COMPILE) requirements.txt -c build/all.txt > build/runtime.txt
	@{ echo "# Everything that the pipeline runs with, locked for Python 3.11 to 3.13: requirements.txt and what"; \
		echo "# it brings along. Made by \`make lock\`."; cat build/runtime.txt; } > constraints.txt
	@$(MAKE) --no-print-directory lock-dev

lock-dev: $(UV)  ## renew only constraints-dev.txt, which reruns no stage
	$(COMPILE) $(REQUIREMENTS) -c constraints.txt > build/all.txt
	@{ echo "# What only requirements-dev.txt and requirements-fuzz.txt bring along, locked likewise; no stage"; \
		echo "# depends on it. Made by \`make lock\` and \`make lock-dev\`."; \
		awk -F == 'NR == FNR {runtime[$$1]; next} !($$1 in runtime)' constraints.txt build/all.txt; \
		} > constraints-dev.txt

renew: $(DEVELOPMENT)  ## renew results, README and pictures after a change; list what changed
	$(BIN)/python -m stages.validate --check-only
	$(BIN)/python -m tools.renew

check-generated: $(DEVELOPMENT)  ## fail if results or README do not match code and parameters
	$(BIN)/python -m tools.renew --check

readme: $(RUNTIME)  ## renew the generated parts of the README and docs
	$(BIN)/python -m tools.update_readme

plots-page: $(DEVELOPMENT)  ## renew the page template of DVC's plots
	$(BIN)/python -m tools.make_plots_page

sbom: $(RUNTIME) $(CYCLONEDX)  ## list the packages of .venv in build/sbom.json (CycloneDX)
	$(CYCLONEDX) environment --output-reproducible --output-file build/sbom.json $(BIN)/python

clean:  ## remove the environment and build/
	rm -rf $(VENV) build resnet8.egg-info

# If pip fails half-way, the stamp is missing and the next run tries again. An environment without a
# working pip is recreated.
$(RUNTIME): requirements.txt constraints.txt pyproject.toml
	@"$$PYTHON" -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit( \
		"error: Python must be 3.11 to 3.13, got %d.%d (%s). " % (v[0], v[1], sys.executable) + \
		"Choose another with: make PYTHON=python3.11 ...")'
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || "$$PYTHON" -m venv --clear $(VENV)
	@echo "Installing the requirements into $(VENV); the first time, this takes 3 to 4 minutes."
	@$(INSTALL) -r requirements.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME) requirements-dev.txt constraints-dev.txt
	@$(INSTALL_DEVELOPMENT) -r requirements-dev.txt
	@touch $@

$(UV):
	@$(call INSTALL_ALONE,uv-$(UV_VERSION),uv==$(UV_VERSION))

$(CYCLONEDX):
	@$(call INSTALL_ALONE,cyclonedx-$(CYCLONEDX_VERSION),cyclonedx-bom==$(CYCLONEDX_VERSION))
