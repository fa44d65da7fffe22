# `make help` lists the targets. Every target is safe to repeat.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# The package index for torch, such as pytorch.org has for each CUDA version; empty: the index that pip is configured for.
TORCH_INDEX ?=
NAME ?=
# The reader to fuzz (empty: all), and the seconds for each.
READER ?=
SECONDS ?= 600
# How pytest distributes the tests; all tests of a file run in one process.
SPREAD ?= -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# The markers of tests that `make test` leaves out, because they need more than `make setup` installs or take hours.
SKIPPED ?= slow or scale or ui or octave or channels
STUDY ?= study
SCENES ?= 1000
REVISION ?= HEAD

# PATH, the scripts of .venv and MLflow's URL of mlflow.db do not work with % ? # : $ " ' ` \ in a path.
UNFIT := $(shell pwd | tr -cd '%?\043:\044\042\047\140\134')
$(if $(UNFIT),$(error expected a folder without $(UNFIT) in its path; move or rename it (spaces are allowed)))

VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# The pip of this environment, never that of another Python.
PIP := $(VENV)/bin/python -m pip
# The environment is rebuilt only when pyproject.toml, constraints.txt or TORCH_INDEX changes.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)$(if $(TORCH_INDEX),-$(shell echo $(TORCH_INDEX) | cksum | cut -d' ' -f1))
READY := $(VENV)/.ready-$(KEY)
CHANNELS := $(VENV)/.channels-$(KEY)
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
LOCAL_SERVER := http://127.0.0.1:4200/api

.PHONY: help setup repro verify test test-scale test-ui test-octave test-channels screenshots postgresql chromium octave channels lint docs ui server worker deploy study peers ablations ship robustness echoes room preset dependencies fuzz wheel ci

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: $(READY) ## create .venv with the pinned packages (TORCH_INDEX=URL: install torch from there, e.g. a CUDA build)

$(READY):
	@echo "== setup: $(VENV) from constraints.txt"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else "needs Python 3.11 or 3.12, got %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) install --quiet --no-deps --force-reinstall --index-url $(TORCH_INDEX) $(TORCH))
	@echo '   installing (2 GB, some minutes)'
	$(PIP) install --quiet --no-compile -c constraints.txt -e '.[dev]'
	rm -f $(VENV)/.ready-*
	touch $@

repro: setup ## run all stages of the pipeline that are due (dvc repro)
	@echo "== dvc repro"
	dvc repro

verify: setup ## compare the metrics of this run with those of a commit, with tolerances (REVISION=HEAD)
	@python -m pipeline verify $(REVISION)

test: setup ## run the tests
	@echo "== pytest"
	pytest $(SPREAD) -m "not ($(SKIPPED))"

test-scale: postgresql ## run the tests with a real PostgreSQL and Dask (as root, installs postgresql if missing)
	@echo "== pytest -m scale"
	pytest $(SPREAD) -m scale

postgresql: setup ## check for Debian's postgresql, which test-scale needs (as root, installs it if missing)
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "PostgreSQL is missing: install Debian's package postgresql, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install postgresql"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; }

test-ui: chromium ## test the pages in a real Chromium (as root, installs it if missing)
	@echo "== pytest -m ui"
	pytest -m ui

screenshots: chromium ## take screenshots of the viewer, the evaluation page and MLflow, into docs/screenshots/
	@echo "== screenshots: into docs/screenshots/"
	python -m docs.build.screenshots

chromium: setup ## check for Debian's chromium, which test-ui and screenshots need (as root, installs it if missing)
	@command -v chromium >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "Chromium is missing: install Debian's package chromium, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install chromium"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

test-octave: octave ## run the tests with a real Octave (as root, installs it if missing)
	@echo "== pytest -m octave"
	pytest -m octave tests/octave

octave: setup ## check for Debian's octave, which test-octave needs (as root, installs it if missing)
	@command -v octave-cli >/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "Octave is missing: install Debian's package octave, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install octave"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends octave; }

$(CHANNELS): $(READY)
	@python -c 'from risloc.scenes.raytracer import find_llvm; find_llvm()' 2>/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "LLVM 19 is missing: install Debian's package libllvm19, or run this as root" >&2; exit 1; }; \
	  echo "== apt-get install libllvm19"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libllvm19; }
	$(PIP) install --quiet -c constraints.txt -e '.[channels]'
	touch $@

channels: $(CHANNELS) ## install the ray tracer sionna-rt (as root, installs libllvm19 if missing)

test-channels: channels ## run the tests that need the ray tracer
	@echo "== pytest -m channels"
	pytest -m channels tests/channels

lint: setup ## check style and types
	@echo "== ruff, mypy"
	ruff check
	ruff format --check
	mypy

docs: setup ## build the documentation into site/ (warnings are errors, works offline)
	@echo "== sphinx"
	sphinx-build --quiet --fail-on-warning --keep-going -b html -c docs . site
	@echo "   site/index.html"

ui: setup ## serve MLflow's pages on http://127.0.0.1:5000
	@echo "== mlflow ui: http://127.0.0.1:5000 (Ctrl-C ends it)"
	DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	  mlflow ui --host 127.0.0.1 --port 5000 --workers 1 --backend-store-uri sqlite:///mlflow.db

server: setup ## start a Prefect server on http://127.0.0.1:4200
	@echo "== prefect server: http://127.0.0.1:4200 (Ctrl-C ends it)"
	prefect server start --host 127.0.0.1 --port 4200

worker: setup ## start a worker for the deployments (needs make server)
	@echo "== prefect worker in the pool local (Ctrl-C ends it)"
	PREFECT_API_URL=$(LOCAL_SERVER) prefect work-pool create local --type process --overwrite
	PREFECT_API_URL=$(LOCAL_SERVER) prefect worker start --pool local

deploy: setup ## register the deployments of prefect.yaml (needs make server)
	@echo "== prefect deploy"
	PREFECT_API_URL=$(LOCAL_SERVER) prefect work-pool create local --type process --overwrite
	PREFECT_API_URL=$(LOCAL_SERVER) prefect --no-prompt deploy --all

study: setup ## evaluate the trained network on SCENES=1000 scenes for each SNR and K, into study/, without changing the workspace
	@echo "== study: $(SCENES) scenes for each SNR and K, into $(STUDY)/"
	@test -e models/checkpoint || { echo "models/checkpoint is missing: run make repro first" >&2; exit 1; }
	python -m pipeline simulate --into $(STUDY) --set data.test_per_cell=$(SCENES)
	python -m pipeline shard --into $(STUDY)
	python -m pipeline evaluate --into $(STUDY)
	python -m pipeline report --into $(STUDY)

peers: setup ## train and evaluate in the scenario of published work, with both waveforms, into peers/ and docs/peers.md
	@echo "== peers: into peers/, then docs/peers.md"
	python -m studies.peers

ablations: setup ## measure what each part of the hybrid contributes: 39 short trainings, about two hours, resumable; docs/ablations.md
	@echo "== ablations: DVC experiments in temporary copies, then docs/ablations.md"
	python -m studies.ablations

# To test the shipped network again and rewrite its card, without training: python -m studies.ship NAME --test
ship: setup ## train, test and package a network: make ship NAME=default (or robust); takes hours, resumable
	@test -n "$(NAME)" || { echo "NAME is missing: make ship NAME=default, or NAME=robust" >&2; exit 1; }
	@echo "== ship: into ship/$(NAME), then risloc/learning/shipped/$(NAME)"
	python -m studies.ship $(NAME)

robustness: setup ## measure the error against every mismatch, and in worlds not trained for: docs/robustness.md
	@echo "== robustness: the shipped networks and NOMP"
	python -m studies.robustness

echoes: setup ## measure how sources with echoes are located, beside the same scenes without: docs/echoes.md
	@echo "== echoes: cells that are in docs/echoes.json are kept"
	python -m studies.echoes

room: $(CHANNELS) ## compare the shipped networks with NOMP in a ray-traced room, by line of sight and with reflections: docs/room.md
	@echo "== room: traces into ship/room, then docs/room.md"
	python -m studies.room

preset: setup ## write the scenario of a preset into params.yaml: make preset NAME=room_3g5
	@test -n "$(NAME)" || { echo "NAME is missing: make preset NAME=, one of: $(basename $(notdir $(wildcard risloc/scenes/presets/*.yaml)))" >&2; exit 1; }
	python -m pipeline preset $(NAME)

dependencies: setup ## update the dependency lists of the stages in dvc.yaml from the imports of the code
	@python -m pipeline dependencies

fuzz: setup ## fuzz the readers of files (READER=measurements SECONDS=600), docs/fuzzing.md
	@echo "== fuzz: inputs and findings in fuzz/"
	$(PIP) install --quiet -c constraints.txt -e '.[fuzz]'
	python -m tests.fuzz.fuzzer $(READER) --seconds $(SECONDS)

wheel: setup ## build the wheel of risloc alone into dist/
	@echo "== wheel: into dist/"
	rm -rf build
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/risloc-*.whl

ci: ## run what continuous integration runs
	.ci/run
