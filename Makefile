# Every target works on a fresh machine: the first one that needs the virtual environment makes it.
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-slow check format docs

help:
	@echo "make install    into .venv; the command then is .venv/bin/multibox"
	@echo "make demo       install, then train, detect and evaluate on built-in pictures"
	@echo "make test       the fast tests"
	@echo "make test-slow  the tests that train models"
	@echo "make check      formatting, lint and types"
	@echo "make format     mend formatting and what lint can mend"
	@echo "make docs       the documentation as a site, in site/"

install: $(VENV)/.installed-demo

demo: $(VENV)/.installed-demo
	$(BIN)/multibox demo --out demo

# Two at a time, each on one core: tests are too small for several.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict --quiet -f .ci/mkdocs.yml

# The stamps are older than setup.py exactly when the requirements may have changed.
$(VENV)/.installed-demo: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.installed-dev: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev,demo]'
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-docs: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON) was not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ..." >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Install one, or name it: make PYTHON=python3.12 ..." >&2; \
	    exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
