# `make train` and the test targets build .venv from the pinned versions first.
# PYTHON=/path/to/python3.10 names the interpreter; otherwise one is looked for.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -q --dist loadscope --no-loadscope-reorder --durations=10
ARGS ?=

.PHONY: train check test test-slow lint bench soak clean

train: $(STAMP)
	$(BIN)/python launchers/run_dsdpg.py --env=walker $(ARGS)

# Lint and the tests that start no process.
check: lint
	$(PYTEST) -n 2 -m "not process and not slow" $(ARGS)

# All but the slow ones. Three workers: those that wait leave their core to another.
test: lint
	$(PYTEST) -n 3 -m "not slow" $(ARGS)

# Injected faults, long trainings, every figure of the toy problem.
test-slow: $(STAMP)
	$(PYTEST) -n 3 -m slow $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(STAMP)
	$(BIN)/python benchmarks/benchmark.py $(ARGS)

soak: $(STAMP)
	$(BIN)/python -m tests.running.soak $(ARGS)

clean:
	rm -rf $(VENV)

# The lock is complete, so nothing is resolved (--no-deps), and packages without a
# wheel are built with the locked setuptools (--no-build-isolation).
$(STAMP): requirements.txt setup.py
	@set -e; \
	for python in "$(PYTHON)" python3.10 python python3 \
	    "$$(uv python find 3.10 2>/dev/null)" "$$HOME"/.pyenv/versions/3.10*/bin/python; do \
	  if [ -n "$$python" ] && "$$python" -c 'import sys, venv, ensurepip; \
	      sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.10 found: install it (pyenv install 3.10, uv python install 3.10) or give PYTHON=/path/to/python3.10."; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$found (a few minutes, once)"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  $$(grep -E '^(setuptools|wheel|packaging)==' requirements.txt)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --no-build-isolation -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --no-build-isolation -e .
	@touch $@
