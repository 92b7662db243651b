# Everything runs in .venv, which is made on first use and kept until pyproject.toml or
# constraints.txt changes. PYTHON picks the interpreter that makes it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
PAGE   := deployments/page

.PHONY: help demo test test-all check setup page constraints clean

help:
	@echo "make demo    real portraits -> demo/index.html (installs what it needs first)"
	@echo "make test    the whole test suite"
	@echo "make test-all  also what takes minutes a test"
	@echo "make check   formatting, lint, types, import rules"
	@echo "make setup   everything for development, nothing run"
	@echo "make page    the libraries of the web page's 3D viewer, by npm"

demo: $(VENV)/.installed
	$(BIN)/python -m jobs.demo demo

test: $(VENV)/.installed-test page
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed-test page
	$(BIN)/python -m pytest -m ""

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed-test page

# The page shows turntables without them, so no npm is no failure.
page:
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory $(PAGE)/node_modules/.package-lock.json; \
	else echo "no npm, so the web page shows turntables instead of its 3D viewer"; fi

$(PAGE)/node_modules/.package-lock.json: $(PAGE)/package-lock.json
	npm ci --prefix $(PAGE) --ignore-scripts --no-audit --no-fund
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "headsplat needs Python 3.11 or newer; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --no-compile --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --no-compile --constraint constraints.txt --editable ".[test]"
	touch $(VENV)/.installed $@

# The versions in .venv become the tested ones; review the diff before committing it.
constraints: $(VENV)/.installed-test
	sed -n '/^#/p' constraints.txt > $(VENV)/constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' | sed 's/+cpu$$//' \
		>> $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) $(PAGE)/node_modules demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
