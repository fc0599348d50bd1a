# Each target installs what it needs into .venv; Python 3.11 and PyPI are all that has to be there.
PYTHON ?= $(shell .ci/quickest-python || echo false)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
OPENSTACK := .venv-openstack
OPENSTACK_READY := $(OPENSTACK)/.installed

# Compiled modules are kept, even where the shell says otherwise: the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test tests seeds test-system test-openstack lint simulate chaos mutants bench clean

help:
	@echo "make demo      a whole life of an example on this machine: built, healed, detached, torn down"
	@echo "make test      all tests, against SQLite, PostgreSQL and a real broker (PyPI only, no root): make tests seeds"
	@echo "make test-system  tests against real dockerd, MariaDB, cloud-init; root, and Debian packages, which it installs"
	@echo "make test-openstack  tests against a real OpenStack; root, and Debian packages, which it installs"
	@echo "make lint      ruff, mypy and the contracts between packages"
	@echo "make simulate  the real core under simulated trouble: fresh seeds, or SEED=n; RUNS=n of them"
	@echo "make chaos     real processes, killed and stopped; SECONDS=n of trouble, SEED=n"
	@echo "make mutants   takes each guard out of a copy of the code and names the test that finds it; ONLY='1 breaker'"
	@echo "make bench     what it costs, beside others, into benchmarks/results.json; QUICK=1: only whether it works"
	@echo "make clean     remove what the others made"

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $(READY)

$(OPENSTACK_READY): tests/openstack/requirements.txt
	$(PYTHON) -m venv $(OPENSTACK)
	$(OPENSTACK)/bin/python -m pip install --quiet --upgrade "pip>=24"
	$(OPENSTACK)/bin/python -m pip install --quiet --requirement tests/openstack/requirements.txt
	@touch $(OPENSTACK_READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

# The seeds compute, most other tests wait: together they take little longer than either.
test: $(READY)
	$(MAKE) --jobs=2 tests seeds

# Half of them wait for processes: more at a time than there are cores.
tests: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not seeds and not system and not openstack"

# At the lowest priority: those that wait with a time limit go first.
seeds: $(READY)
	nice -n 19 $(BIN)/python -m pytest -m seeds -s

# Each process has daemons of its own.
test-system: $(READY)
	.ci/install-for-system-tests
	$(BIN)/python -m pytest -n 3 --dist worksteal -m system

# One process, so one cloud, in a network of its own: its services take their usual ports, and nothing gets out.
test-openstack: $(READY) $(OPENSTACK_READY)
	.ci/install-for-openstack-tests
	unshare --net sh -c 'ip link set lo up; exec $(BIN)/python -m pytest -m openstack'

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

RUNS ?= 200
simulate: $(READY)
	$(BIN)/python -m occo_celery.simulation --runs $(RUNS) $(if $(SEED),--seed $(SEED))

SECONDS ?= 180
chaos: $(READY)
	$(BIN)/python -W ignore -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

mutants: $(READY)
	$(BIN)/python -m tests.mutants $(ONLY)

bench: $(READY)
	$(BIN)/python -W ignore -m benchmarks $(if $(QUICK),--quick)

clean:
	rm -rf $(VENV) $(OPENSTACK) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
