# make run    create .venv, install, open the dashboard on port 8501 (PORT=... overrides)
# make test   install what the tests need and run them, but those that are long by nature; what continuous integration runs
# make test-all   those too
# make lint   ruff, mypy, import-linter
# make wheel-check   build the wheel and use it in fresh environments elsewhere (downloads, some minutes)

PORT ?= 8501
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: run test test-all lint format train cached-runs bench wheel-check chromium clean

run: .venv/ready
	$(if $(CI),STREAMLIT_SERVER_HEADLESS=true )$(BIN)/tdq dashboard --port $(PORT) $(if $(ARGS),-- $(ARGS))

# Two processes at a time, as most machines have two cores; a test file stays in one as long as both have work. One
# thread each (tests/conftest.py).
PYTEST = $(BIN)/pytest -n 2 --dist worksteal

test: .venv/ready-test chromium
	$(PYTEST) -m 'not long' $(ARGS)

test-all: .venv/ready-test chromium
	$(PYTEST) $(ARGS)

lint: .venv/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The embedded default model, anew from its recipe (under a minute); with one thread the very same bits.
train: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/tdq train

# The shipped runs, anew; what is there already is kept. MODELS="resnet20_cifar10 ...": of these models only.
cached-runs: .venv/ready
	$(BIN)/python -m cached_runs $(MODELS)

bench: .venv/ready
	$(BIN)/python -m benchmarks

wheel-check:
	$(PYTHON) .ci/bare_install.py

# The browser tests need Chromium: installed from Debian's packages where that is possible, skipped where it is not.
chromium:
	@.ci/chromium

.venv/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "TDQ needs Python 3.11 or newer, this is %d.%d: set PYTHON=" % v[:2])'
	$(PYTHON) -m venv .venv

# torch first: its constraint decides which build of the others fits.
.venv/ready: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing TDQ into .venv (some minutes the first time)"
	$(PIP) install -c constraints.txt torch torchvision
	$(PIP) install -c constraints.txt -e '.[dashboard,pt2e,sweep]'
	@touch $@

.venv/ready-test: .venv/ready
	$(PIP) install -c constraints.txt -e '.[test,lint]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
