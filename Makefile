# Everything here sets up what it needs by itself. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt
# More for pytest, as in: make test PYTEST_ARGS="-k manifest"
PYTEST_ARGS ?=
# What precision="auto" stands for in tests, as in: make test PRECISION=float32
PRECISION ?= auto
# Processes that share the tests, each on one thread; 0 for none beside pytest's own.
JOBS ?= 2
# mkdocs-material announces its successor otherwise.
export NO_MKDOCS_2_WARNING := 1
# The byte code that Python keeps, also of the tests, saves every later process seconds.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --precision $(PRECISION)

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-long lint types docs notebooks dist env system clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.headless ## restore a sample image without napari and say where it is
	$(BIN)/python -m napari_dip.demo

test: system $(VENV)/.dev ## run the tests that are quick, with napari in a virtual display
	$(PYTEST) $(PYTEST_ARGS)

test-slow: system $(VENV)/.dev ## run the tests that take seconds each, mostly of restored images
	$(PYTEST) -m "slow and not long" $(PYTEST_ARGS)

test-long: system $(VENV)/.dev ## run the tests that take minutes each
	$(PYTEST) -m long $(PYTEST_ARGS)

lint: $(VENV)/.dev ## check style, formatting and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev ## check types
	$(BIN)/mypy

docs: $(VENV)/.docs ## build the documentation site; warnings are errors
	$(BIN)/mkdocs build --strict --quiet

notebooks: system $(VENV)/.docs ## run the tutorials and the gallery as notebooks
	$(PYTEST) -m long tests/test_notebooks.py

dist: $(VENV)/.dev ## build the source archive and, from it, the wheel
	$(BIN)/python -m build --no-isolation

env: $(VENV)/.dev ## make the development environment in .venv

system: ## install the system libraries that Qt needs (Debian or Ubuntu, as root)
	@scripts/system-packages gui

clean: ## remove the environment, caches and builds
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say which installs are done; they age with the files that decide them.
# A half-made environment has no stamp and is made anew.
$(VENV)/.made:
	scripts/system-packages venv
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/.headless: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP_INSTALL) -e ".[cluster,napari,zarr]" --group dev
	touch $(VENV)/.headless $@

$(VENV)/.docs: $(VENV)/.dev
	$(PIP_INSTALL) --group docs
	touch $@
