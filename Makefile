# People, pre-commit and .ci/run all use these targets. ARGS="..." passes further arguments on.
SHELL := /bin/bash
PYTHON ?=
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
CODE := training serving cluster tests benchmarks .ci

.DEFAULT_GOAL := help
.PHONY: help run serve test test-all check format benchmarks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt .ci/install.py
	@python=$$(.ci/find-python "$(PYTHON)") && "$$python" .ci/install.py

run: $(INSTALLED) ## the whole way on digits: search, train, compress, package, serve, ask over HTTP
	@$(BIN)/manta run configs/digits.yaml $(ARGS)

serve: $(INSTALLED) ## the same, and keep the endpoint up until Ctrl-C
	@$(BIN)/manta run configs/digits.yaml --keep-serving $(ARGS)

test: $(INSTALLED) ## the tests, without the slow ones
	@$(BIN)/python -m pytest $(ARGS)

test-all: $(INSTALLED) ## every test
	@$(BIN)/python -m pytest -m "" $(ARGS)

check: $(INSTALLED) ## format, lint, types and import arrows
	@$(BIN)/ruff format --check $(wildcard $(CODE)) || { echo "hint: make format" >&2; exit 1; }
	@$(BIN)/ruff check $(wildcard $(CODE))
	@$(BIN)/mypy --no-error-summary
	@arrows=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$arrows" >&2; exit 1; }

format: $(INSTALLED) ## rewrite the files in the house format, and fix what ruff can fix
	@$(BIN)/ruff format $(wildcard $(CODE))
	@$(BIN)/ruff check --fix $(wildcard $(CODE))

benchmarks: $(INSTALLED) ## peers side by side: loading, serving, search
	@$(BIN)/python -m benchmarks.loader $(ARGS)
	@$(BIN)/python -m benchmarks.serve $(ARGS)
	@$(BIN)/python -m benchmarks.search $(ARGS)

clean: ## remove what the tools left; runs/ and .venv/ stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
