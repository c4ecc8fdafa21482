# `make` alone prints the targets. Each sets up what it needs: uv, a virtual environment, the locked packages.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
READY := .venv/.ready
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .uv/bin/uv)
KEEP ?=
ARGS ?=

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## Run the main job on a server of its own: train, track, register, deploy, score (KEEP=1: leave it up)
	@KEEP=$(KEEP) scripts/demo.sh

.PHONY: test
test: $(READY) ## Run every test (ARGS='-k name' for some)
	$(BIN)/python -m pytest $(ARGS)

.PHONY: yardstick
yardstick: $(READY) ## MLflow's own tests against this server (MLFLOW=its checkout, PYTHON=one with its requirements; ARGS=…)
	$(BIN)/python -m tests.yardstick.run $(MLFLOW) $(PYTHON) $(ARGS)

.PHONY: matrix
matrix: $(READY) ## Autologging with every MLflow client and tracking URI, PyTorch too (5 GB of packages)
	ZAFFRE_MATRIX=1 $(BIN)/python -m pytest tests/clients/test_mlflow_autolog.py $(ARGS)

.PHONY: check
check: $(READY) ## Format, lint, types, import graph
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit/test_import_graph.py

.PHONY: bench
bench: $(READY) ## Measure (ARGS=--write: into benchmarks/RESULTS.md)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: format
format: $(READY) ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(READY) ## Generate docs/coverage.md
	$(BIN)/python scripts/make_coverage.py

.PHONY: lock
lock: | $(UV) ## Resolve pyproject.toml anew into requirements.lock (name the reason in the commit)
	$(UV) pip compile --quiet --universal --generate-hashes --all-extras --group dev --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --python-version 3.11 pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Remove the demo's server, caches and built files; the virtual environment stays
	@if [ -x $(BIN)/zaffre ] && [ -d .demo ]; then $(BIN)/zaffre down --home .demo --jobs; fi
	@if [ -d .demo ]; then chmod -R u+w .demo; fi
	rm -rf .demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests scripts examples -name __pycache__ -prune -exec rm -rf {} +

# Made again only when the lock or the package's own description has changed.
$(READY): requirements.lock pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11,<3.14' .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

# Where there is no uv: one in a folder of its own, as a system's Python must not be installed into (PEP 668).
.uv/bin/uv:
	@echo "uv is not there; it is put into .uv"
	@python3 -m venv .uv || { echo "Python has no venv module; install python3-venv, or uv itself: https://docs.astral.sh/uv" >&2; exit 1; }
	@.uv/bin/pip install --quiet uv
