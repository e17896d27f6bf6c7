# The same targets for people and for CI. Only Python 3.11+ is needed, but for the targets that say otherwise.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Which real control plane: KUBE=1.36 names one that make kube-assets builds, and wins over KUBEBUILDER_ASSETS.
KUBE ?=
ifneq ($(KUBE),)
override KUBEBUILDER_ASSETS := $(shell tools/kube/build --folder $(KUBE))
else
KUBEBUILDER_ASSETS ?= $(shell tools/kube/build --folder 1.34)
endif
$(if $(KUBEBUILDER_ASSETS),,$(error no such Kubernetes: KUBE=$(KUBE)))
export KUBEBUILDER_ASSETS
SERVER ?= embedded
# The tests start hundreds of processes: without bytecode each would compile the whole program.
unexport PYTHONDONTWRITEBYTECODE
# On two cores: half of the time of an end-to-end test is waiting for processes, leases and grace periods.
WORKERS ?= 4
WITH_KUBECTL := $(wildcard tests/embedded/controllers/test_real_*.py)
RECORDINGS := tests/embedded/schema/test_recordings.py

.PHONY: help demo install dev format lint style types generated docs test test-contract test-real test-real-newest test-kill test-kill-mixed test-examples test-long kube-assets bench bench-real generate clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

# What an installation compiles; where no C compiler is, it works without.
KERNEL := tools/build_kernel.py $(wildcard src/tensorfusion/scheduling/*.c)

$(VENV)/.installed: pyproject.toml constraints.txt $(KERNEL)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(KERNEL)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed ## Install the program into .venv

dev: $(VENV)/.dev ## Install the program and the development tools into .venv

demo: ## Start a simulated cluster, apply examples/, say what happened and why (KEEP=1 leaves it running)
	@test -e $(VENV)/.dev || $(MAKE) -s $(VENV)/.installed
	@$(BIN)/python tools/demo.py

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format src tests tools benchmarks
	$(BIN)/ruff check --fix src tests tools benchmarks

lint: style types generated ## Format check, lint, strict types, import contracts, generated files

style: $(VENV)/.dev
	$(BIN)/ruff format --check -q src tests tools benchmarks
	$(BIN)/ruff check -q src tests tools benchmarks

types: $(VENV)/.dev
	$(BIN)/mypy

generated: $(VENV)/.dev
	$(BIN)/lint-imports
	$(BIN)/python tools/generate_crds.py --check
	$(BIN)/python tools/guide_table.py --check

docs: $(VENV)/.dev ## Build the documentation into site/; a broken link fails it
	@$(BIN)/python tools/docs/build.py

# Once a clone: both workers of the tests would otherwise compile every test for themselves.
$(VENV)/.collected: $(VENV)/.dev
	@found=$$($(BIN)/pytest --collect-only -q) || { echo "$$found"; exit 1; }
	@touch $@

test: $(VENV)/.dev ## Everything that has to hold before a commit
	@$(MAKE) --no-print-directory -j2 -Otarget style types $(VENV)/.collected generated docs
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

test-contract: $(VENV)/.dev ## What a Kubernetes API server does, on the embedded one (SERVER=real: on a real one)
	$(BIN)/pytest tests/contract --server $(SERVER)

test-real: $(VENV)/.dev ## The end-to-end tests again on a real control plane (after make kube-assets); KUBE=1.36 for another
	@test -x $(KUBEBUILDER_ASSETS)/kube-apiserver || { echo "no control plane in $(KUBEBUILDER_ASSETS): run make kube-assets" >&2; exit 1; }
	$(BIN)/pytest tests/e2e tests/kube tests/model tests/webhook tests/operator $(WITH_KUBECTL) $(RECORDINGS) --real -m 'not long'
	$(BIN)/pytest tests/contract --server real
	$(BIN)/pytest tests/e2e/test_kubectl.py tests/embedded/api/test_kubectl.py $(WITH_KUBECTL)

test-real-newest: ## The same on the newest control plane
	$(MAKE) test-real KUBE=$$(tools/kube/build --minors | tail -1)

test-kill: $(VENV)/.dev ## A hundred kills of each process and of all, under load (about 6 minutes)
	TENSORFUSION_KILLS=100 $(BIN)/pytest tests/e2e/test_kill.py -m 'not long' -s --timeout 1800

test-kill-mixed: $(VENV)/.dev ## Two hundred kills while gangs, preemptors, partitions and quotas are under way (about an hour)
	TENSORFUSION_KILLS=67 $(BIN)/pytest tests/e2e/test_kill_mixed.py -m long -s

test-examples: $(VENV)/.dev ## Every property by all of its examples; make test looks at half of them (about 5 minutes)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m 'hypothesis and not long' --hypothesis-profile all

test-long: $(VENV)/.dev ## A thousand kills, long fuzzing
	$(BIN)/pytest -m long --hypothesis-profile all

kube-assets: ## Build the real control planes for tests, or one: KUBE=1.36 (needs go; about 6 minutes each, cached)
	tools/kube/build $(KUBE)

generate: $(VENV)/.dev ## Write the generated files anew
	$(BIN)/python tools/generate_crds.py
	$(BIN)/python tools/guide_table.py

bench: $(VENV)/.dev ## Run the benchmarks that take under a minute each
	for script in decision placements sync startup apply; do $(BIN)/python benchmarks/$$script.py || exit 1; done

bench-real: $(VENV)/.dev ## The benchmarks beside a real API server (after make kube-assets; some minutes each)
	for script in apiserver bindrate kube_scheduler; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean: ## Remove what the targets above made in this folder
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo site
	rm -f src/tensorfusion/scheduling/*.abi3.so
	find src tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} +
