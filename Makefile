# Two commands do all set-up on a fresh machine with Python >= 3.11 and a C compiler: make run, make test.
PYTHON ?= python3
VENV   ?= .venv
# More arguments for pytest, for instance PYTEST_FLAGS="-k ranges -x".
PYTEST_FLAGS ?=
# Most tests wait for sockets, timeouts and child processes, so more of them than cores run side by side. One file stays
# in one process: its tests share a proxy (tests/harness/scheduling.py: some directories too). PARALLEL= runs everything
# in one.
PARALLEL     ?= -n 4 --dist loadfile
# What the short form of `make sanitize` runs; which targets `make fuzz` runs (all), and the seconds for each of them.
SANITIZED    ?= tests/core tests/protocol tests/storage tests/fuzz tests/harness/test_handles.py tests/engine tests/hits tests/reads
FUZZ_TARGETS ?=
FUZZ_SECONDS ?= 60

SHELL := /bin/bash
# A test run starts hundreds of processes; told to keep no bytecode, each of them would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip install -q --disable-pip-version-check
SWIFT := .cache/swift-venv

.PHONY: run test test-all lint bench bench-parquet bench-memory bench-gate bench-micro build clean sanitize sanitize-all fuzz
.DELETE_ON_ERROR:

run: $(VENV)/.stamp-run
	$(BIN)/fastcache demo

test: $(VENV)/.stamp-dev lint swift
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_FLAGS)

test-all: $(VENV)/.stamp-dev lint swift
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The core under AddressSanitizer and UndefinedBehaviorSanitizer, in a build directory of its own.
sanitize: $(VENV)/.stamp-dev
	tools/sanitize $(BIN)/python -m "not slow and not memory" $(PARALLEL) $(SANITIZED) $(PYTEST_FLAGS)

sanitize-all: $(VENV)/.stamp-dev swift
	tools/sanitize $(BIN)/python -m "not memory" $(PARALLEL) \
	    --ignore tests/demo --ignore tests/bench --ignore tests/crash tests $(PYTEST_FLAGS)

# What a stranger's bytes reach, with inputs led by coverage. make test runs a short form.
fuzz: $(VENV)/.stamp-fuzz
	tools/fuzz $(BIN)/python --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

bench: $(VENV)/.stamp-dev
	@tools/need-programs nginx
	$(BIN)/python -m bench

# Queries over Parquet files through a gateway, before an origin that is 20 ms away.
bench-parquet: $(VENV)/.stamp-dev
	$(BIN)/python -m bench.parquet

# Memory of the processes that know a directory of a million small extents, on a file system in memory.
bench-memory: $(VENV)/.stamp-dev
	$(BIN)/python -m bench.index_memory --directory /dev/shm

# Instructions of a hit against those of BASE (default: where this branch left main).
BASE ?=
bench-gate: $(VENV)/.stamp-dev
	@tools/need-programs valgrind strace
	$(BIN)/python -m bench.gate $(if $(BASE),--base $(BASE))

bench-micro: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest bench --benchmark-enable $(PYTEST_FLAGS)

# The compiled modules, in place. The stamp belongs to the environment, because a module is built for one Python.
CORE_SOURCES := $(wildcard src/fastcache/_core/*.pyx src/fastcache/_core/*.pxd src/fastcache/_core/*.h)
build: $(VENV)/.stamp-core

$(BIN)/python:
	@tools/make-environment "$(PYTHON)" "$(VENV)"

$(VENV)/.stamp-tools: pyproject.toml | $(BIN)/python
	@echo "environment: installing the build tools"
	@$(PIP) --group build
	@touch $@

$(VENV)/.stamp-core: $(CORE_SOURCES) setup.py $(VENV)/.stamp-tools
	@echo "environment: compiling fastcache._core"
	@flock .build.lock $(BIN)/python setup.py -q build_ext --inplace -j $(shell nproc)
	@touch $@

# FASTCACHE_BUILD=none: the modules were compiled by the rule above, pip would compile them all once more.
$(VENV)/.stamp-installed: pyproject.toml setup.py $(VENV)/.stamp-tools
	@echo "environment: installing fastcache and what it needs"
	@FASTCACHE_BUILD=none $(PIP) --no-build-isolation -e '.[demo]'
	@touch $@

$(VENV)/.stamp-run: $(VENV)/.stamp-core $(VENV)/.stamp-installed
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(VENV)/.stamp-run
	@echo "environment: installing what lint and tests need"
	@$(PIP) --group dev
	@touch $@

$(VENV)/.stamp-fuzz: pyproject.toml $(VENV)/.stamp-dev
	@echo "environment: installing the fuzzer"
	@$(PIP) --group fuzz
	@touch $@

# The tests' verifying S3 server. Without it the tests that need it are skipped visibly, or fail where
# FASTCACHE_TEST_REQUIRE names it.
.PHONY: swift
swift: | $(VENV)/.stamp-dev
	@$(MAKE) --no-print-directory -s $(SWIFT)/.stamp || echo "swift: not installed; the tests against it will be skipped"

$(SWIFT)/.stamp: tests/harness/swift-requirements.txt
	@tools/make-swift-environment $(BIN)/python $(SWIFT) $<
	@touch $@

clean:
	rm -rf build dist src/*.egg-info $(VENV)/.stamp-core src/fastcache/_core/*.c src/fastcache/_core/*.so
