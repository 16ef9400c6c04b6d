# `make demo` and `make test` work on a fresh clone. Everything is installed into .venv, except Java and
# Maven, which deploy/local/install.sh installs where it may.
VENV_PYTHON := .venv/bin/python
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help venv java charts prometheus chromium demo test deploy-check faults soak fuzz lint audit format bench lock clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(INSTALLED) ## Build the virtual environment .venv.
	@:

$(INSTALLED): pyproject.toml .ci/constraints.txt deploy/local/install.sh
	@deploy/local/install.sh venv
	@touch $@

java:
	@deploy/local/install.sh java

# On a developer's machine the tests that need them are skipped, and say so.
charts: $(INSTALLED) java
	@$(VENV_PYTHON) -m deploy.tools || [ "$(CI)" != true ]

chromium:
	@deploy/local/install.sh chromium

demo: $(INSTALLED) java ## Stream MovieLens-100K through real Kafka and Redis, and show what comes out.
	@.venv/bin/latentstream stack up
	@.venv/bin/latentstream demo movielens

prometheus: $(INSTALLED)
	@deploy/local/install.sh prometheus

test: $(INSTALLED) java charts prometheus chromium ## Run all tests, against real Kafka and Redis, two at a time.
	@$(VENV_PYTHON) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

deploy-check: $(INSTALLED) java prometheus ## Render and validate what deploy/ has for Kubernetes: chart, alerts, image.
	@$(VENV_PYTHON) -m deploy.tools
	@$(VENV_PYTHON) -m pytest tests/deploy

faults: $(INSTALLED) java ## Break a running system in every known way, a thousand times; writes faults.json.
	@$(VENV_PYTHON) -m tests.faults

soak: $(INSTALLED) java ## Load a system and break it for half an hour; writes soak.json. MINUTES=N for another time.
	@$(VENV_PYTHON) -m tests.faults.soak --minutes $(or $(MINUTES),30)

fuzz: $(INSTALLED) ## Try more than a million inputs on what reads bytes from outside.
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check atheris
	@$(VENV_PYTHON) -m tests.fuzz.fuzz

lint: $(INSTALLED) ## Check style and types.
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy

audit: $(INSTALLED) ## Check the dependencies against known vulnerabilities, where a service can be asked.
	@$(VENV_PYTHON) .ci/audit.py

format: $(INSTALLED) ## Bring the code into shape.
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

bench: $(INSTALLED) java chromium ## Measure speed, freshness and growth beside parts and peers: two hours; writes bench/*.json.
	@mkdir -p bench
	@.venv/bin/latentstream bench pipeline --json > bench/pipeline.json
	@.venv/bin/latentstream bench freshness --shares 10,50,80 --json > bench/freshness.json
	@.venv/bin/latentstream bench index --json > bench/index.json
	@.venv/bin/latentstream bench query --json > bench/query.json
	@.venv/bin/latentstream bench swap --json > bench/swap.json
	@$(VENV_PYTHON) -m tests.benchmarks.explorer > bench/explorer.jsonl
	@# Last, because it ends with an error where something grows more than it may.
	@.venv/bin/latentstream bench growth --plot bench/growth.png --json > bench/growth.json

lock: ## Take the newest versions that pyproject.toml allows into .ci/constraints.txt.
	@deploy/local/install.sh lock

clean: ## Remove the virtual environment and all caches.
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
