# You need Python 3.11 or later. Everything else goes into .venv.
# `make PYTHON=python3.12 …` chooses the Python for .venv.

.DEFAULT_GOAL := help
.PHONY: help demo test bench check format schemas update audit image clean

IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
READY := .venv/ready

# For every platform and every Python from 3.11, with hashes and without an address: the installer's settings say where from.
LOCK := pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## run made-up customers through all stages, and show what happened to each; KEEP=1 goes on until Ctrl-C
	@$(BIN)/connector demo $(if $(KEEP),--keep)

# Both start the connector many times, so compiled modules are kept even where the environment says otherwise.
test bench: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) ## run every test; ARGS="-k ledger" chooses, BROKER=local or BROKER=docker says where Kafka runs
	@$(BIN)/python -m pytest --numprocesses 5 --dist loadgroup $(ARGS)

bench: $(READY) ## run every benchmark in short form and write benchmarks/REPORT.md; ARGS=--full runs the long form
	@$(BIN)/python benchmarks/report.py $(ARGS)

check: $(READY) ## check a change before it is merged: style, types, imports, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/connector topics docs --check
	$(BIN)/python -m connector.config.reference --check
	$(BIN)/python -m connector.observe.reference --check
	$(BIN)/python -m connector.salesforce.proto.generate --check

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(READY) ## write the generated files: schemas, the pages of topics, settings and metrics, the Pub/Sub stubs
	$(BIN)/connector topics docs
	$(BIN)/python -m connector.config.reference
	$(BIN)/python -m connector.observe.reference
	$(BIN)/python -m connector.salesforce.proto.generate

update: $(READY) ## lock the newest versions that pyproject.toml allows, install them, and run the tests that they could break
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv $(LOCK) --all-extras --output-file requirements-dev.txt
	@$(BIN)/uv $(LOCK) --extra sandbox --extra otel --extra console --output-file requirements.txt
	@$(MAKE) --no-print-directory check test ARGS="tests/integration tests/chaos"

audit: $(READY) ## look for known vulnerabilities in what the image installs, and write its SBOM (CycloneDX) to dist/sbom.json
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv tool run --quiet pip-audit --disable-pip --require-hashes --requirement requirements.txt
	@mkdir -p dist
	@$(BIN)/uv tool run --quiet --from cyclonedx-bom cyclonedx-py requirements requirements.txt \
		--output-reproducible --output-file dist/sbom.json
	@echo "dist/sbom.json lists what the image installs"

LIST := cd /opt/connector && find . -type f -print0 | sort -z | xargs -0 sha256sum
image: ## build the image twice from nothing, and show that both have the same files
	@mkdir -p dist
	@for number in 1 2; do \
		docker build --quiet --no-cache --tag "connector-image:$$number" . \
		&& docker run --rm --entrypoint sh "connector-image:$$number" -c '$(LIST)' >"dist/image-$$number" || exit 2; done
	@if diff dist/image-1 dist/image-2; then echo "both images have the same $$(wc -l <dist/image-1) files"; \
		else echo "the two builds differ in these files" >&2; exit 1; fi

clean: ## remove .venv and the tools' caches and builds
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# Written last, so that `make` repeats an interrupted installation.
$(READY): pyproject.toml requirements-dev.txt
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(IS_NEW_ENOUGH)'; then \
		echo "Python 3.11 or later is needed. Install it, or name it: make PYTHON=/path/to/python3.11 …" >&2; exit 2; fi
	@echo "setting up .venv (half a minute, once)"
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
