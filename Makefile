# Commands for operators and developers. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LIBRARY := $(VENV)/lib/librobotoff-ann.so
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
COMPOSE := docker compose
DEV := $(COMPOSE) -f docker-compose.yml -f docker/dev.yml
MONITOR := $(COMPOSE) -f docker-compose.yml -f docker/monitor/docker-compose.yml
MILVUS := $(COMPOSE) -f docker-compose.yml -f docker/milvus.yml
unexport PYTHONDONTWRITEBYTECODE # the tests start hundreds of processes, and each would compile all modules
export REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null)
BASE ?= http://127.0.0.1:$(or $(PORT),5501)

.DEFAULT_GOAL := help
.PHONY: help run install test coverage test-fast torture soak demo explore bench bench-rivals bench-full train retrieval lint types checks tests quality vendor-docs format dev up monitor milvus down restart status livecheck log health clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# --- on this machine ---------------------------------------------------------------------------------------
$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "robotoff-ann needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip uninstall --quiet --yes setuptools # 3.11 brings it; pip builds with its own
	touch $@

$(LIBRARY): $(VENV)/.made index/lists/ranking.c
	$(CC) -O3 -shared -fPIC -o $@ index/lists/ranking.c

$(VENV)/.run: $(VENV)/.made $(LIBRARY) requirements-serve.txt constraints.txt
	$(PIP) -r requirements-serve.txt
	touch $@

$(VENV)/.demo: $(VENV)/.run
	$(PIP) -c constraints.txt requests
	touch $@

$(VENV)/.full: $(VENV)/.made $(LIBRARY) $(addprefix requirements,.txt -serve.txt -parquet.txt) constraints.txt
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.train: $(VENV)/.full requirements-train.txt
	$(PIP) -r requirements-train.txt
	touch $@

$(VENV)/.dev: $(VENV)/.made $(LIBRARY) $(addprefix requirements,.txt -serve.txt -parquet.txt -train.txt -milvus.txt -dev.txt) constraints.txt
	$(PIP) -r requirements-dev.txt
	touch $@

$(VENV)/.bench: $(VENV)/.dev requirements-bench.txt
	$(PIP) -r requirements-bench.txt
	touch $@

run: $(VENV)/.run ## Install what serving needs and start the service on port PORT (5501)
	$(if $(PORT),ANN_BIND=:$(PORT)) $(BIN)/gunicorn --config gunicorn_conf.py

install: $(VENV)/.full ## Install everything: also TensorFlow to convert weights, and pyarrow for Parquet files

test: $(VENV)/.dev ## Run the whole test suite, in 3 PROCESSES
	$(BIN)/python -m pytest --numprocesses $(or $(PROCESSES),3) --dist loadfile --no-loadscope-reorder $(COVERAGE)

coverage: COVERAGE = --cov --cov-report=term
coverage: test ## Run the whole test suite, and refuse less than 95 % of the code; half as slow again

test-fast: $(VENV)/.dev ## Run the quick tests: without Milvus, a browser, whole services, networks and torture
	$(BIN)/python -m pytest --numprocesses $(or $(PROCESSES),3) --dist loadfile -m "not slow and not milvus and not browser" \
	    $(addprefix --ignore=tests/,browser milvus training)

torture: $(VENV)/.dev ## Try for about two hours to break the store: kills, power cuts, damaged files
	failed=; for test in kills processes power-loss fuzz-store fuzz-images fuzz-index; do \
	    nice $(BIN)/python -m torture $$test || failed="$$failed $$test"; \
	done; \
	if [ "$$(id -u)" = 0 ]; then nice $(BIN)/python -m torture ext4 || failed="$$failed ext4"; \
	else echo "the power cuts on a real ext4 need root: sudo $(BIN)/python -m torture ext4"; fi; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

soak: $(VENV)/.dev ## Load the service for MINUTES (60) while workers are killed and indexes are built
	nice $(BIN)/python -m torture soak --minutes $(or $(MINUTES),60)

demo: $(VENV)/.demo ## Draw photos with logos, add them, build the index, and draw the neighbours (no network)
	$(BIN)/python -m demo

explore: $(VENV)/.demo ## The same, then keep serving on port PORT (5501), to explore in a browser
	$(BIN)/python -m demo --serve --port $(or $(PORT),5501)

bench: $(VENV)/.dev ## Measure the figures of the README
	$(BIN)/python -m benchmarks --output docs/benchmarks/rows.md
	$(BIN)/python -m benchmarks.page --no-plots

bench-rivals: $(VENV)/.bench ## Measure every engine on LOGOS drawn logos, and write the tables and plots of docs/benchmarks
	$(BIN)/python -m benchmarks.rivals --require-all --logos $(or $(LOGOS),62400)
	$(BIN)/python -m benchmarks.page

bench-full: $(VENV)/.bench ## Measure the engines at growing sizes up to LARGEST logos (4371343, as many as Robotoff has): hours
	$(BIN)/python -m benchmarks.rivals --require-all --up-to $(or $(LARGEST),4371343)
	$(BIN)/python -m benchmarks.page

train: $(VENV)/.train ## Train the bundled weights, on photographs in GROUNDS if given; a stopped run resumes
	$(BIN)/python -m training $(if $(GROUNDS),--grounds $(GROUNDS))

retrieval: $(VENV)/.dev ## Measure retrieval on PHOTOS, a folder of labelled photos
	$(BIN)/python -m benchmarks.retrieval $(or $(PHOTOS),$(error name the folder: make retrieval PHOTOS=...))

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

vendor-docs: ## Download the Swagger UI of /docs from npm, at VERSION, and print its checksums
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && page=$$PWD/api/pages/docs && cd "$$folder" && \
	npm pack --silent swagger-ui-dist@$(or $(VERSION),5.35.0) >/dev/null && tar -xzf *.tgz && cd package && \
	for file in swagger-ui-bundle.js swagger-ui.css; do \
	    gzip -9 --no-name < "$$file" > "$$page/$$file.gz"; \
	    echo "| \`$$file\` | \`$$(sha256sum < "$$file" | cut -d' ' -f1)\` |"; \
	done && \
	cp swagger-ui-bundle.js.LICENSE.txt "$$page" && \
	for file in LICENSE NOTICE; do cp "$$file" "$$page/swagger-ui-$$file.txt"; done

format: $(VENV)/.dev ## Fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

checks: lint types ## Linters and types
tests: test
quality: checks tests ## Linters, types and tests

# --- the Docker stack --------------------------------------------------------------------------------------
dev: ## Build the image and start the development stack
	$(DEV) build
	$(DEV) up --detach
	@echo "The service answers on $(BASE)/api/v1/ann/count"

up: ## Start the stack in the background
	@if [ -d ann_data ] && [ -z "$$ANN_DATA_MOUNT_POINT" ] && ! grep -qs '^ANN_DATA_MOUNT_POINT=' .env; then \
	    echo "warning: ann_data/ is not used: set ANN_DATA_MOUNT_POINT=./ann_data in .env to run on it (docs/upgrading.md)" >&2; \
	fi
	$(COMPOSE) up --detach

monitor: ## Start the stack with Prometheus, its alerts, and Grafana on http://127.0.0.1:3000
	$(MONITOR) up --detach

milvus: ## Start the stack with Milvus as the engine, on this host
	$(MILVUS) up --detach

down: ## Stop the stack; the data are kept
	$(MONITOR) -f docker/milvus.yml down

restart: ## Restart the service
	$(COMPOSE) restart api

status: ## Show which containers run
	$(COMPOSE) ps

log: ## Follow the log
	$(COMPOSE) logs --follow --tail=100

livecheck: ## Check that queries succeed, and show why not
	@curl --fail-with-body --silent --show-error --max-time 10 "$(BASE)/readyz" && echo

health: status ## Show the containers, and check the store, index, model and adds
	@curl --fail-with-body --silent --show-error --max-time 10 "$(BASE)/api/v1/health" && echo

clean: ## Remove the virtual environment, the caches and the demo's picture; data and images are kept
	rm -rf $(VENV) demo-output .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.* htmlcov
