# SPDX-License-Identifier: GPL-3.0-or-later
# Every target makes or updates its own environment (.venv) first; see `make help` and CONTRIBUTING.md.

SHELL := /bin/sh
ROOT := $(CURDIR)
PYTHON ?= python3
PY := $(ROOT)/.venv/bin/python
KEEP ?=
LAB ?=
PARTS := lint sanity unit oracle tokens faults sandbox molecule uses

# Nothing of the caller's Ansible takes part: its home, its collections and its configuration stay out.
CALLER_PATH := $(PATH)
export PATH := $(ROOT)/.venv/bin:$(PATH)
export PYTHONPATH := $(ROOT)/tests
export ANSIBLE_HOME := $(ROOT)/.ansible
export ANSIBLE_COLLECTIONS_PATH := $(ROOT)/.ansible/collections
export ANSIBLE_CONFIG := $(ROOT)/.config/ansible.cfg
export LC_ALL := C.UTF-8
export KEEP LAB

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint sanity unit oracle tokens faults sandbox molecule uses bench lock build clean bootstrap

help: ## Show these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: bootstrap ## Provision a throwaway machine, publish and add a private package (KEEP=1 leaves it, LAB=sandbox needs no machine)
	@$(PY) -m lab.demo

test: bootstrap ## Run all tests but the slow ones: the parts below, and list their times
	@$(PY) .config/run_tests.py $(PARTS)

test-all: bootstrap ## Run all tests, also the slow ones (a thousand random kills and the like)
	@FAULTS=full $(PY) .config/run_tests.py $(PARTS)

$(PARTS): bootstrap
	@$(PY) .config/run_tests.py $@
lint: ## Check style and types: Ansible, YAML, Python, changelog, documentation
sanity: ## Run ansible-test sanity on a copy of the collection
unit: ## Run the unit tests
oracle: ## Let four releases of Poetry judge what the modules did
tokens: ## Keep tokens of every identity fresh for 48 hours in scaled time, and run the program on every Python
faults: ## Inject faults, attacks and races into the module poetry_config and the program gar-auth
sandbox: ## Run the demo in a scratch directory, without a machine
molecule: ## Run the molecule scenarios on throwaway machines
uses: ## Prove developer VMs, runner images and fleets on throwaway machines

bench: bootstrap ## Measure poetry_config, gar-auth and the keyring backend side by side with what they replace; JSON goes to .build/bench/
	@$(PY) -m bench

lock: bootstrap ## Resolve .config/requirements.in anew into requirements.txt, with hashes for every supported Python
	@$(PY) .config/lock.py

build: bootstrap ## Build the collection's tarball in .build/
	@ansible-galaxy collection build --force --output-path .build

clean: ## Remove everything that make made in the checkout
	rm -rf .venv .ansible .build .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output

bootstrap:
	@PATH='$(CALLER_PATH)' $(PYTHON) .config/bootstrap.py
