# Each target does all the set-up that it needs, and does nothing twice.
#   make demo [SERVERS=40] [IMAGE=debian-12]   a cloud of its own: a real server, used and deleted, its bill
#   make setup | test | test-clients | test-debian | test-cuts | bench
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Where it is set, each of the hundred processes of a cloud and its tests would compile all of Freehold anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup setup-dev setup-bench system-packages system-packages-tests prefetch demo lint test test-clients test-debian test-cuts bench lock docs clean

SERVERS ?= 1
IMAGE ?= freehold-micro
# The first Python that is new enough; Freehold needs 3.11.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps

help:
	@sed -n '2,3s/^# *//p' Makefile

setup: .venv/.installed
	@echo "Ready: .venv/bin/freehold up"

setup-dev: .venv/.installed-dev

setup-bench: .venv/.installed-bench

# The doctor runs on the system's own Python: the virtual environment is made after it. It takes a moment when nothing lacks.
DOCTOR = PYTHONPATH=src python3 -m freehold.doctor --fix

system-packages: | python
	@$(DOCTOR)

system-packages-tests: | python
	@$(DOCTOR) --with-tests

.PHONY: python
python:
	@command -v python3 >/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "rights: run this as root, for example with sudo." >&2; exit 1; }; \
	  command -v apt-get >/dev/null || { echo "system: Freehold runs on Debian 12 or Ubuntu 22.04, or newer." >&2; exit 1; }; \
	  echo "  installing python3"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 >/dev/null; }

.venv/.created: | system-packages
	@echo "  making the virtual environment"
	@rm -rf .venv
	@$(or $(PYTHON),python3) -m venv .venv
	@touch $@

.venv/.build-tools: requirements-build.lock .venv/.created
	@$(PIP) --require-hashes -r requirements-build.lock
	@touch $@

# $(call install,LOCK): what LOCK pins and nothing else, then Freehold itself. --no-build-isolation: what builds is pinned too.
define install
	@echo "  installing Python packages ($(1))"
	@$(PIP) --no-build-isolation --require-hashes -r $(1)
	@$(PIP) --no-build-isolation --editable .
	@touch $@
endef

.venv/.installed: requirements.lock pyproject.toml .venv/.build-tools | system-packages
	$(call install,requirements.lock)

.venv/.installed-dev: requirements-dev.lock pyproject.toml .venv/.build-tools | system-packages-tests
	$(call install,requirements-dev.lock)

.venv/.installed-bench: requirements-bench.lock pyproject.toml .venv/.build-tools | system-packages
	$(call install,requirements-bench.lock)

demo: setup
	@.venv/bin/freehold demo --servers $(SERVERS) --image $(IMAGE)

lint: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# In a network of its own, without a way out: no packet of a test leaves the machine, and no cloud that is there, alive or
# dead, is in its way. What has to be fetched is fetched before.
ALONE = unshare --net --mount sh -c 'ip link set lo up && exec "$$@"' --

# One worker more than two cores: whoever has a guest waits for a good part of the time.
test: lint prefetch
	$(ALONE) .venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not clients and not debian"

prefetch: setup-dev
	@.venv/bin/python -m tests.prefetch

# Clients that would fill the other environment: Ansible alone is larger than all of it.
.venv-clients/.installed: requirements-clients.lock
	@echo "  installing clients"
	@rm -rf .venv-clients
	@$(or $(PYTHON),python3) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements-clients.lock
	@touch $@

test-clients: setup-dev .venv-clients/.installed
	FREEHOLD_CLIENTS=.venv-clients .venv/bin/pytest -m clients

test-debian: setup-dev
	.venv/bin/pytest -m debian

# Every cut of the tests that cut what is done: an hour.
test-cuts: prefetch
	FREEHOLD_CUTS=all $(ALONE) .venv/bin/pytest tests/host/test_cuts.py tests/host/test_snapshot_cuts.py tests/control/test_cuts.py

bench: setup-bench
	.venv/bin/python -m bench

docs: setup-dev
	.venv/bin/python -m freehold.docs

# Pin the newest releases that pyproject.toml allows.
PIP_COMPILE = .venv/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-header --no-annotate --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: setup-dev
	$(PIP_COMPILE) --only-build-deps --build-deps-for editable -o requirements-build.lock pyproject.toml
	$(PIP_COMPILE) -o requirements.lock pyproject.toml
	$(PIP_COMPILE) --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	$(PIP_COMPILE) -o requirements-clients.lock tests/clients/requirements.in
	$(PIP_COMPILE) --extra dev --extra bench -c requirements-dev.lock -o requirements-bench.lock pyproject.toml

clean:
	rm -rf .venv .venv-clients .mypy_cache .ruff_cache .pytest_cache .hypothesis build
