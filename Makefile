# The front door. `make demo` and `make test` set up all they need and then do their job; a second
# run finds its stamp and sets up nothing.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
JOBS ?= 4
NAME ?=
SEEDS ?= 200
KILLS ?= 100
SEED ?=
ARGS ?=

# Modules are compiled when they are first imported, not all that there are when they are installed.
# Images for containers forbid to keep that: each process would compile all of Tegula again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup services lint mypy pyright types test deep unit year golden demo bench mutate simulate simulate-mutants \
    chaos constraints clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The folders at the top are the package `tegula`. Python finds them through the editable install
# (one import hook, whatever the checkout is called). Type checkers do not run hooks: for them a
# link named `tegula` lies in $(VENV)/src, where no tool that walks the tree looks.
$(BIN)/python:
	@.ci/venv $(VENV) $(PYTHON)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Tegula and the demo's data (about a minute, once) ..."
	@$(PIP) setuptools && $(PIP) --no-compile --no-build-isolation -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Tegula and what tests it (about a minute, once) ..."
	@$(PIP) setuptools && $(PIP) --no-compile --no-build-isolation -e '.[demo,dev]'
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/tegula
	@touch $@ $(VENV)/.installed-demo

setup: $(VENV)/.installed-dev  ## Make the virtual environment with everything in it

services:
	@.ci/services

lint: setup  ## Style, format and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache

mypy pyright: setup
	$(BIN)/$@

types: setup  ## mypy (strict) and pyright
	@$(MAKE) --no-print-directory --output-sync -j2 mypy pyright

test: setup services lint types  ## Everything: rules, types, and every kind of test
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS)

deep: setup services  ## The same with many more examples and seeds: hours
	TEGULA_ORACLE_EXAMPLES=1000 TEGULA_ORACLE_EVERY=1 TEGULA_SIMULATION_SEEDS=500 TEGULA_KILLS=25 \
	    $(BIN)/pytest -n $(JOBS) --dist loadgroup --hypothesis-profile=deep $(ARGS)

unit: setup  ## The quick part of the tests
	$(BIN)/pytest -q -m "not slow and not services" tests/unit $(ARGS)

year: setup  ## Every departure of 2013, 116 features: as served, and as a training set
	TEGULA_FLIGHTS_DAYS=366 $(BIN)/pytest -q tests/oracle/test_oracle_training.py -k served $(ARGS)

golden: setup  ## Write the golden files anew (then read the difference)
	$(BIN)/pytest -q tests/golden --update-golden $(ARGS); git --no-pager diff --stat tests/golden

demo: $(VENV)/.installed-demo  ## A year of flights, end to end, every value compared
	@$(BIN)/tegula demo $(ARGS)

bench: $(VENV)/.installed-dev  ## All benchmarks, or one: make bench NAME=ingest ARGS="--keys uniform"
	@$(BIN)/python -m benchmarks $(NAME) $(ARGS)

mutate: setup  ## Move every edge of every window by a microsecond, and see that a test notices
	@$(BIN)/python -m tests.mutants $(ARGS)

# Deaths are simulated, so nothing needs a disk: in memory a run takes a fifth of the time.
IN_MEMORY := $(if $(wildcard /dev/shm/.),TMPDIR=/dev/shm)

simulate: setup  ## Runs of the whole engine by chance: make simulate SEEDS=2000
	@$(IN_MEMORY) TEGULA_SIMULATION_SEEDS=$(SEEDS) \
	    $(BIN)/pytest -q -n $(JOBS) -o tmp_path_retention_policy=failed tests/simulation $(ARGS)

simulate-mutants: setup  ## Break a promise at a time, and see that the simulation notices
	@$(IN_MEMORY) $(BIN)/python -m tests.mutants.breaches $(ARGS)

chaos: setup services  ## A real broker and engine, killed again and again: make chaos KILLS=100 SEED=1
	@$(BIN)/python -m tests.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(ARGS)

constraints: setup  ## Write constraints.txt from what is installed
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude tegula \
	    --exclude pip --exclude-editable | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean:  ## Remove what was made: the environment, caches, build products
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
