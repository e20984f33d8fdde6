# The commands that people and CI both run. `make` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development

.PHONY: help setup demo repro test test-all lint format lock readme clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

setup: $(RUNTIME)  ## .venv with the pinned requirements; nothing when up to date

demo: $(RUNTIME)  ## the whole pipeline on the embedded sample, in build/demo
	python -m samples.demo --out build/demo

repro: $(RUNTIME)  ## the whole pipeline on CIFAR-10, as params.yaml says
	python -m stages.validate --check-only
	dvc repro

test: $(DEVELOPMENT)  ## all tests but the slow ones
	python -m pytest

test-all: $(DEVELOPMENT)  ## all tests
	python -m pytest -m ""

lint: $(DEVELOPMENT)  ## ruff format check, ruff, mypy
	ruff format --check .
	ruff check .
	mypy

format: $(DEVELOPMENT)  ## format the code and mend what ruff can
	ruff format .
	ruff check --fix .

lock: $(DEVELOPMENT)  ## renew constraints.txt from the requirement files
	$(PIP) install --quiet uv
	@echo "# Everything that requirements.txt and requirements-dev.txt bring along, locked for Python 3.11 to 3.13." > constraints.txt
	@echo "# Made by \`make lock\`." >> constraints.txt
	uv pip compile requirements.txt requirements-dev.txt --universal --python-version 3.11 \
		--no-header --no-annotate --quiet >> constraints.txt

readme: $(RUNTIME)  ## renew the README's tables and its graph
	python -m tools.update_readme

clean:  ## remove the environment and build/
	rm -rf $(VENV) build

# A pip that fails half-way leaves no stamp, so the next run tries again.
$(RUNTIME): requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit( \
		"error: Python must be 3.11 to 3.13, got %d.%d (%s). " % (v[0], v[1], sys.executable) + \
		"Choose another with: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements.txt -c constraints.txt
	@touch $@

$(DEVELOPMENT): $(RUNTIME) requirements-dev.txt
	$(PIP) install --quiet -r requirements-dev.txt -c constraints.txt
	@touch $@
