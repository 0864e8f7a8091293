# make plan SPEC=specs/70b.yaml   sets everything up and plans
# make test                       sets everything up, then lint, types and every test without account or GPU
PYTHON ?= python3
SPEC ?= specs/70b.yaml
BIN := .venv/bin

.PHONY: install plan test lint bench picture clean
.DEFAULT_GOAL := test

install: $(BIN)/gpuplan

$(BIN)/gpuplan: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q planner
	@touch $@

.venv/.dev: pyproject.toml $(BIN)/gpuplan
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

plan: install
	$(BIN)/gpuplan plan "$(SPEC)"

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n auto --dist loadfile

bench: .venv/.dev
	$(BIN)/python benchmarks/speed.py

picture: .venv/.dev
	$(BIN)/python docs/picture.py

clean:
	rm -rf .venv dist build
