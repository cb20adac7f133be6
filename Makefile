# The README's commands are `make demo`, `make dashboard` and `make test`; the rest is for contributors.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo dashboard test check fix unit docs bench wheel clean

demo: $(STAMP)
	@$(BIN)/secateur demo $(ARGS)

dashboard: $(STAMP)
	@$(BIN)/secateur demo --dashboard $(ARGS)

test: check unit

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/pytest --cov --cov-report=term $(ARGS)

fix: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python benchmarks/report.py $(ARGS)

wheel: $(STAMP)
	$(BIN)/python -m build --wheel

# Made again whenever the dependencies change. Ends with a clear word where venv is missing.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "secateur needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "on Debian: apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV), a minute or two"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
