# make help says what there is. Every target is safe to repeat.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# An index of torch builds, such as pytorch.org names for each CUDA version; empty: whatever pip is set up to use.
TORCH_INDEX ?=
NAME ?=
# What is fuzzed (empty: every reader), and for how long each.
READER ?=
SECONDS ?= 600
# The processes of the tests; a file's tests run in one of them.
SPREAD ?= -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
STUDY ?= study
SCENES ?= 1000
REVISION ?= HEAD

# PATH, the scripts of .venv and MLflow's address of mlflow.db cannot hold % ? # : $ " ' ` \ in a path.
UNFIT := $(shell pwd | tr -cd '%?\043:\044\042\047\140\134')
$(if $(UNFIT),$(error expected a folder without $(UNFIT) in its path; move or rename it, spaces are no trouble))

VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Never the pip of another Python.
PIP := $(VENV)/bin/python -m pip
# The environment is rebuilt when what it is made of changes, and only then.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)$(if $(TORCH_INDEX),-$(shell echo $(TORCH_INDEX) | cksum | cut -d' ' -f1))
READY := $(VENV)/.ready-$(KEY)
CHANNELS := $(VENV)/.channels-$(KEY)
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
LOCAL_SERVER := http://127.0.0.1:4200/api

.PHONY: help setup repro verify test test-scale test-ui test-channels screenshots chromium channels lint docs ui server worker deploy study peers ablations ship robustness room preset dependencies fuzz wheel ci

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(READY) ## .venv with the pinned stack (TORCH_INDEX=URL takes torch from there: a CUDA build)

$(READY):
	@echo "== setup: $(VENV) from constraints.txt"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else "needs Python 3.11 or 3.12, got %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) install --quiet --no-deps --force-reinstall --index-url $(TORCH_INDEX) $(TORCH))
	@echo '   installing (2 GB, some minutes)'
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	rm -f $(VENV)/.ready-*
	touch $@

repro: setup ## the whole pipeline, as far as anything is due (dvc repro)
	@echo "== dvc repro"
	dvc repro

verify: setup ## the metrics of this run beside those of the commit, with tolerances (REVISION=HEAD)
	@python -m pipeline verify $(REVISION)

test: setup ## the tests
	@echo "== pytest"
	pytest $(SPREAD) -m "not slow and not scale and not ui and not channels"

test-scale: setup ## the tests with a real PostgreSQL and Dask (root installs postgresql where it is missing)
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "no PostgreSQL here: install Debian's package postgresql, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install postgresql"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; }
	@echo "== pytest -m scale"
	pytest $(SPREAD) -m scale

test-ui: chromium ## the pages in a real Chromium (root installs it where it is missing)
	@echo "== pytest -m ui"
	pytest -m ui

screenshots: chromium ## pictures of the viewer, the evaluation's page and MLflow, into docs/screenshots/
	@echo "== screenshots: into docs/screenshots/"
	python -m docs.build.screenshots

chromium: setup ## Debian's chromium, by which the pages are tested and drawn (root installs it where it is missing)
	@command -v chromium >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "no Chromium here: install Debian's package chromium, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install chromium"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

$(CHANNELS): $(READY)
	@python -c 'from risloc.scenes.raytracer import find_llvm; find_llvm()' 2>/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "no LLVM 19 here: install Debian's package libllvm19, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install libllvm19"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libllvm19; }
	$(PIP) install --quiet -c constraints.txt -e '.[channels]'
	touch $@

channels: $(CHANNELS) ## the ray tracer (installs sionna-rt; root installs libllvm19 where it is missing)

test-channels: channels ## the tests with a ray tracer
	@echo "== pytest -m channels"
	pytest -m channels tests/channels

lint: setup ## style and types
	@echo "== ruff, mypy"
	ruff check
	ruff format --check
	mypy

docs: setup ## the documentation, into site/ (warnings are errors, nothing is fetched)
	@echo "== sphinx"
	sphinx-build --quiet --fail-on-warning --keep-going -b html -c docs . site
	@echo "   site/index.html"

ui: setup ## MLflow on http://127.0.0.1:5000
	@echo "== mlflow ui: http://127.0.0.1:5000 (Ctrl-C ends it)"
	DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	  mlflow ui --host 127.0.0.1 --port 5000 --workers 1 --backend-store-uri sqlite:///mlflow.db

server: setup ## a Prefect server on http://127.0.0.1:4200
	@echo "== prefect server: http://127.0.0.1:4200 (Ctrl-C ends it)"
	prefect server start --host 127.0.0.1 --port 4200

worker: setup ## a worker for the deployments, or one more (needs make server)
	@echo "== prefect worker of the pool local (Ctrl-C ends it)"
	PREFECT_API_URL=$(LOCAL_SERVER) prefect work-pool create local --type process --overwrite
	PREFECT_API_URL=$(LOCAL_SERVER) prefect worker start --pool local

deploy: setup ## register the deployments of prefect.yaml (needs make server)
	@echo "== prefect deploy"
	PREFECT_API_URL=$(LOCAL_SERVER) prefect work-pool create local --type process --overwrite
	PREFECT_API_URL=$(LOCAL_SERVER) prefect --no-prompt deploy --all

study: setup ## evaluate the trained network on SCENES=1000 scenes a cell, results in study/, the workspace's left alone
	@echo "== study: $(SCENES) scenes for each SNR and K, into $(STUDY)/"
	@test -e models/checkpoint || { echo "no models/checkpoint yet: make repro first" >&2; exit 1; }
	python -m pipeline simulate --into $(STUDY) --set data.test_per_cell=$(SCENES)
	python -m pipeline shard --into $(STUDY)
	python -m pipeline evaluate --into $(STUDY)

peers: setup ## train and evaluate in the scenario of published work, both waveforms, results in peers/ and docs/peers.md
	@echo "== peers: into peers/, then docs/peers.md"
	python -m studies.peers

ablations: setup ## what each part of the idea is worth: 39 short trainings, about two hours, resumable; docs/ablations.md
	@echo "== ablations: DVC experiments in temporary copies, then docs/ablations.md"
	python -m studies.ablations

# The test and the card alone, of what is shipped: python -m studies.ship NAME --test
ship: setup ## train, test and ship a network: make ship NAME=default (or robust); hours, goes on where it was stopped
	@test -n "$(NAME)" || { echo "which one? make ship NAME=default, or NAME=robust" >&2; exit 1; }
	@echo "== ship: into ship/$(NAME), then risloc/learning/shipped/$(NAME)"
	python -m studies.ship $(NAME)

robustness: setup ## error against every mismatch, and in worlds not trained for: docs/robustness.md
	@echo "== robustness: the shipped networks beside NOMP"
	python -m studies.robustness

room: $(CHANNELS) ## shipped networks beside NOMP in a ray-traced room, by line of sight and with reflections: docs/room.md
	@echo "== room: traces into ship/room, then docs/room.md"
	python -m studies.room

preset: setup ## write a preset's scenario into params.yaml: make preset NAME=room_3g5
	@test -n "$(NAME)" || { echo "which one? make preset NAME=, one of: $(basename $(notdir $(wildcard risloc/scenes/presets/*.yaml)))" >&2; exit 1; }
	python -m pipeline preset $(NAME)

dependencies: setup ## write what each stage depends on into dvc.yaml, from the code
	@python -m pipeline dependencies

fuzz: setup ## fuzz the readers of files (READER=measurements SECONDS=600), docs/fuzzing.md
	@echo "== fuzz: inputs and findings in fuzz/"
	$(PIP) install --quiet -c constraints.txt -e '.[fuzz]'
	python -m tests.fuzz.fuzzer $(READER) --seconds $(SECONDS)

wheel: setup ## the wheel of risloc alone, into dist/
	@echo "== wheel: into dist/"
	rm -rf build
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/risloc-*.whl

ci: ## what continuous integration runs
	.ci/run
