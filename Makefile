# Every target creates .venv if it does not exist. PYTHON=python3.12 selects another Python.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXAMPLE ?= configs/quickstart.yaml

.PHONY: install demo test test-rest test-all unit sdk-table check bench fuzz soak approve clean

install: .venv/.local  ## install tuner and its local tuning service

demo: .venv/.local  ## tune, evaluate and share an example model; EXAMPLE=SPEC selects another spec
	$(BIN)/tuner validate $(EXAMPLE)
	$(BIN)/tuner run $(EXAMPLE)

TEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/.dev  ## run the tests that every commit must pass
	$(TEST) -m "not rest"

test-rest: .venv/.dev  ## the other tests: most seeds, oversized input, code in the docs, SDKs, PostgreSQL
	$(TEST) -m rest

test-all: test test-rest  ## run every test

unit: .venv/.dev  ## fast tests, which load no torch, start no process and open no socket
	$(BIN)/python -m pytest -n 2 -m "not slow and not model" --ignore tests/engine --ignore tests/sdk

sdk-table: .venv/.dev  ## run Google's clients against the service and write the table in docs/service.md
	-$(BIN)/python -m pytest -q tests/sdk/test_journeys.py
	$(BIN)/python -m tests.sdk.table

check: .venv/.dev  ## check style, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev  ## run every benchmark; each prints ratios to an alternative
	for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench; done

fuzz: .venv/.dev  ## send random and malformed requests over REST and gRPC for ten minutes
	$(BIN)/python -m tests.fuzz --minutes 10

approve: .venv/.dev  ## accept the current wording of help and messages in tests/messages.txt
	$(BIN)/python -m tests.test_messages > tests/messages.txt

soak: .venv/.dev  ## run 10,000 simulations with random crashes, faults and clocks
	$(BIN)/python -m tests.crash.soak --seeds 10000

clean:
	rm -rf .venv .venvs build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("tuner needs Python 3.11 or newer; run make PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.local: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install -c constraints.txt -e '.[local]'
	touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ .venv/.local
