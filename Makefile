# Two commands do all the set-up on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
ASSETS := src/molt/apps/console
VENDOR := .venv/.console
BROWSER := .venv/.browser
ARGS ?=
SEEDS ?= 100
# One test process more than there are cores: the end-to-end tests mostly wait.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

.DEFAULT_GOAL := help
.PHONY: scenario-pages screenshots help setup console run test explore check lint format types layers docs bench bench-decisions lock clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) $(VENDOR)  ## a virtual environment with everything in it; .venv/bin/molt is the command

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Molt needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ echo "$(PYTHON) cannot make virtual environments. On Debian: apt install python3-venv"; exit 1; }
	@echo "Installing the locked dependencies into .venv (once, about a minute) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Setting up goes on without the console's assets: its pages then say what is missing.
$(VENDOR): $(STAMP) $(ASSETS)/assets/package-lock.json
	@$(BIN)/python -m molt.apps.console.build && touch $@ || true

console: $(STAMP)  ## fetch what the console's pages load (setup does, where it can)
	@$(BIN)/python -m molt.apps.console.build

run: setup  ## the demo: a bar, an agent, guests, and Molt in front (ARGS="--fault errors")
	@$(BIN)/molt demo $(ARGS)

$(BROWSER): $(STAMP) tests/e2e/browser.py
	@$(BIN)/python tests/e2e/browser.py && touch $@ || true

test: setup $(BROWSER)  ## all tests; installs the browser that the console's tests need, where it can
	@$(BIN)/pytest -n $(WORKERS) $(ARGS)

explore: setup  ## look for new counterexamples to what the property tests state (hours; ARGS="tests/wire")
	@$(BIN)/pytest -n $(WORKERS) -m hypothesis --hypothesis-profile=explore --timeout 0 $(ARGS)

check: lint types layers docs test  ## everything CI checks

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup  ## format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: setup
	@$(BIN)/pyright

layers: setup
	@$(BIN)/lint-imports --no-logo

docs: setup  ## check that the generated reference pages are current (UPDATE=1 rewrites them)
	@$(BIN)/python -m molt.apps.docs $(if $(UPDATE),--write,--check)

scenario-pages: setup  ## play the shipped scenarios and write their pages and pictures (ARGS="healthy": only that)
	@$(BIN)/python -m molt.apps.simulate.pages docs $(ARGS)

screenshots: setup $(BROWSER)  ## take the documentation's screenshots anew, from a demo (5 minutes)
	@$(BIN)/python -m docs.screenshots

bench: setup  ## the gateway against nginx and no proxy, one flag decision, and the egress
	@$(BIN)/python benchmarks/decision.py
	@PYTHONPATH=. $(BIN)/python benchmarks/simulate.py
	@$(BIN)/python benchmarks/gateway.py $(ARGS)
	@$(BIN)/python benchmarks/egress.py

bench-decisions: setup  ## how often rules are wrong, how soon right; Molt's and others' (SEEDS=1000: full)
	@PYTHONPATH=. $(BIN)/python -m benchmarks.decisions --seeds $(SEEDS) $(ARGS)

lock:  ## refresh requirements.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --all-extras --group dev \
		--no-header --quiet pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
