# make run    simulate, fit, recover, score and report the small fly circuit; the report's path is printed last
# make test   run the tests; make test ARGS="-m slow" those that take minutes, ARGS="-m gpu" those for a GPU
# make lint   style, types, import law, file and function lengths
# make clean  remove what the targets above made, except runs/
#
# Each does its own set-up in .venv, once; it is repeated when pyproject.toml or constraints.txt change.
# Needs Python 3.11-3.13 (PYTHON=... chooses one). ARGS goes to lobula run or to pytest.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; print("$(p)" if (3, 11) <= sys.version_info < (3, 14) else "")' 2>/dev/null)))
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
SETTINGS := pyproject.toml constraints.txt
ARGS ?=

.PHONY: help run test lint clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#$$/q; s/^# \{0,1\}//p' Makefile

run: $(VENV)/.ready-run
	@$(BIN)/lobula run $(ARGS)

test: $(VENV)/.ready-test
	@$(BIN)/python -m pytest -n 3 $(ARGS)

lint: $(VENV)/.ready-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_lengths.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it with PYTHON=..." >&2; exit 2; }
	@echo "Setting up $(VENV) with $(PYTHON) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) cannot make virtual environments; install its venv package (python3-venv on Debian)" >&2; exit 2; }

$(VENV)/.ready-run: $(SETTINGS) | $(BIN)/python
	@$(INSTALL) .
	@touch $@

$(VENV)/.ready-test: $(SETTINGS) | $(BIN)/python
	@$(INSTALL) ".[test]"
	@touch $@ $(VENV)/.ready-run

$(VENV)/.ready-lint: $(SETTINGS) | $(BIN)/python
	@$(INSTALL) ".[test,lint]"
	@touch $@ $(VENV)/.ready-test $(VENV)/.ready-run
