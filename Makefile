# Everything a person or CI does here. Each target sets up what it needs.
PYTHON ?= python3
PORT ?= 8080
BIN := .venv/bin
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := run

.PHONY: setup clients run test lint bench lock nightly mutants clean

setup: .venv/.installed
	@:

# Two stamps: a new lock reinstalls everything, a new pyproject.toml only the project itself.
.venv/.locked: requirements.lock .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup

.venv/.installed: .venv/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The real clients of tests/clients, each in an environment of its own at .clients/.
clients: setup
	@.ci/clients

run: setup
	@exec $(BIN)/weir serve --port $(PORT)

# The tools' own output comes first and pytest's closing line last. Two files of tests at a time:
# most of them wait for processes rather than compute.
test: clients
	@.ci/system-deps test
	@$(MAKE) lint
	@$(BIN)/python -m pytest -n 2 --dist loadfile

# The long versions; 'make nightly PARTS="kills workers"' runs some of them (docs/guarantees.md).
nightly: clients
	@.ci/system-deps test
	@.ci/nightly $(PARTS)

# Counts the changes to the ledger's rules and Lua scripts that no test would notice; PARTS as above.
mutants: setup
	@.ci/mutants $(PARTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	@.ci/system-deps bench
	@$(BIN)/python bench/run.py

# Keeps pins that still fit; 'make lock UPGRADE=--upgrade' takes the newest.
lock: setup
	@.ci/lock.sh $(UPGRADE)

# The ledger in data/ is not a cache and stays.
clean:
	rm -rf .venv .clients build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .mutants bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
