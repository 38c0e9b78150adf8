# Three verbs to work with: check, test, bench. Two for users: train, test. All make what they need.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=
# Modules are byte-compiled when they are first imported, not all of them now.
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
# And kept, whatever the shell says: hundreds of processes of the tests would compile them once more each.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup dev train checkpoints test check bench peers tutorials gallery docs wheel long clean

# What running needs. While the large packages come, the other core compiles what the first step of an environment needs.
setup: $(VENV)/.run
$(VENV)/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed, $(PYTHON) is %s; make PYTHON=... names another." % sys.version.split()[0])'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) 'gymnasium<2' numba pydantic
	@$(PY) -m qframe_rl.gym.ahead & ahead=$$!; $(PIP) --editable . && wait $$ahead
	@touch $@

# What working on it needs besides.
dev: $(VENV)/.dev
$(VENV)/.dev: pyproject.toml $(VENV)/.run
	@echo "installing the tools of the tests into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@

train: setup
	@$(PY) -m experiments.train $(ARGS)

# The trained agents that ship, from the market data in QFRAME_DATA.
checkpoints: setup
	@$(PY) -m experiments.checkpoints $(ARGS)

# Three at a time on two cores: tests of processes, servers and browsers wait for half of their time.
test: dev
	@$(PY) -m pytest -n 3 --dist loadfile $(ARGS)

check: dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

# How fast it is; `make bench ARGS="env --peers .venv-peers/bin/python"` beside peers.
bench: setup
	@$(PY) -m experiments.benchmark $(ARGS)

# Peers in an environment of their own: gym-trading-env asks for a CCXT of 2023; freqtrade for one of today.
peers: .venv-peers/.done
.venv-peers/.done:
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check 'torch>=2.6,<2.14' torchtrade vectorbt backtesting gymnasium gplearn vaderSentiment
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check --no-deps gym-trading-env
	@test -x .venv-peers/freqtrade/bin/python || $(PYTHON) -m venv .venv-peers/freqtrade
	@.venv-peers/freqtrade/bin/pip install --quiet --disable-pip-version-check freqtrade
	@test -x .venv-peers/books/bin/python || $(PYTHON) -m venv .venv-peers/books
	@.venv-peers/books/bin/pip install --quiet --disable-pip-version-check hftbacktest bourse
	@touch $@

# The tutorials, all cells of them; what they print stands on their pages in the site.
tutorials: dev
	@$(PY) -m docs.generate.tutorials $(ARGS)

# Pictures of the gallery, but for those that need market data or hours.
gallery: dev
	@$(PY) -m docs.generate.gallery $(ARGS)

# The documents as a site, for `qframe docs`; a link that leads nowhere ends it.
docs: dev
	@$(PY) -m docs.generate

# The wheel with the documents in it, tutorials with what they print.
wheel: dev
	@$(PY) -m docs.generate.tutorials
	@$(PY) -m docs.generate
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# What takes long, each job by its name or all: `make long ARGS="fuzz deletions"`; those of foreign clients and of the wheel need the
# registries of pip and npm.
long: dev
	@$(PY) -m tests.long $(ARGS)

clean:
	rm -rf $(VENV) .venv-clients .venv-conformance .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist experiments/site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
