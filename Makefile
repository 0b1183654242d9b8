# Two commands do all set-up on a fresh machine with Python >= 3.11 and a C compiler: make run, make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash

.PHONY: run test test-all lint bench build clean env env-test

run: $(VENV)/.stamp-run build
	$(BIN)/fastcache demo

test: $(VENV)/.stamp-dev build lint
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.stamp-dev build lint
	$(BIN)/python -m pytest

lint: $(VENV)/.stamp-dev build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.stamp-dev build
	$(BIN)/python -m bench

# The compiled modules, in place; make's own dependency check keeps a second run to a fraction of a second.
CORE_SOURCES := $(wildcard src/fastcache/_core/*.pyx src/fastcache/_core/*.pxd src/fastcache/_core/*.h)
build: .build-stamp
.build-stamp: $(CORE_SOURCES) setup.py | $(VENV)/.stamp-run
	flock .build.lock $(BIN)/python setup.py -q build_ext --inplace -j 2
	@touch $@

$(VENV)/bin/python:
	@./tools/make-environment $(PYTHON) $(VENV)

$(VENV)/.stamp-run: pyproject.toml setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]' --group build
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(VENV)/.stamp-run
	$(BIN)/python -m pip install -q --disable-pip-version-check --group dev
	@touch $@

clean:
	rm -rf build dist src/*.egg-info .build-stamp src/fastcache/_core/*.c src/fastcache/_core/*.so
