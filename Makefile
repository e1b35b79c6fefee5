# `make train` and the test targets build a virtual environment from a lock first:
# .venv for Python 3.10, .venv-3.11 with PYTHON_VERSION=3.11 (no Launchpad there).
# PYTHON=/path/to/python names the interpreter; otherwise one is looked for.

PYTHON_VERSION ?= 3.10
VENV := .venv$(if $(filter 3.10,$(PYTHON_VERSION)),,-$(PYTHON_VERSION))
LOCK := requirements$(if $(filter 3.10,$(PYTHON_VERSION)),,-$(PYTHON_VERSION)).txt
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
$(STAMP): $(LOCK) setup.py
	@set -e; v=$(PYTHON_VERSION); \
	for python in "$(PYTHON)" python$$v python python3 \
	    "$$(uv python find $$v 2>/dev/null)" "$$HOME"/.pyenv/versions/$$v*/bin/python; do \
	  if [ -n "$$python" ] && "$$python" -c 'import sys, venv, ensurepip; \
	      sys.exit("%d.%d" % sys.version_info[:2] != "'$$v'")' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python $$v found: install it (pyenv install $$v, uv python install $$v) or give PYTHON=/path/to/python$$v."; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$found (a few minutes, once)"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  $$(grep -E '^(setuptools|wheel|packaging)==' $(LOCK))
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --no-build-isolation -r $(LOCK)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
	  --no-build-isolation -e .
	@touch $@
