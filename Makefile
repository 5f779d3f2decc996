# `make run` and `make test` need nothing but Python 3.11 or 3.12 and set the rest up themselves.
PYTHON ?= $(firstword $(foreach p,python3.12 python3.11 python3,$(shell $(p) -c '' 2>/dev/null && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup run test lint clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	rm -rf *.egg-info  # left by the build; in this folder it would hide the installed entry points
	touch $@

run: setup
	$(BIN)/harness run --suite coco

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
