# Everything for a machine without ROS: each target sets up .venv first, at once the second time.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup lint test gate demo docs bench gpu gpu-carry fuzz clean

# ROS=kilted: ROS 2 Kilted in an environment of its own, for every target.
ROS ?= jazzy
VENV := .venv$(if $(filter-out jazzy,$(ROS)),-$(ROS))
BIN := $(VENV)/bin

# The ROS wheels bring their own libraries: nothing of a sourced ROS installation may leak in.
unexport LD_LIBRARY_PATH PYTHONPATH CMAKE_PREFIX_PATH RMW_IMPLEMENTATION
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export HOME ?= $(CURDIR)/$(VENV)

help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

setup: ## build .venv with ROS 2 Jazzy from wheels (PYTHON=python3.12 picks another Python, ROS=kilted Kilted)
	@ROS=$(ROS) tools/setup_env.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

test: lint ## lint, types, contracts, all tests, then gate (ARGS='-k onset' goes to pytest, no gate)
	$(BIN)/python -m pytest $(or $(ARGS),-n 2 --dist worksteal)
	$(if $(ARGS),,$(MAKE) gate)

gate: setup ## do the rows of nano's table stand in their order on 300 synthetic scenes?
	$(BIN)/cs3-train evaluate --bundle nano --scenes 300 --gate orderings --device cpu

demo: setup ## masks of collisions over ROS 2 topics (CLIP=video.mp4 your video, BUNDLE=lite)
	$(BIN)/cs3 demo $${CLIP:+"$$CLIP"} $${BUNDLE:+--bundle "$$BUNDLE"}

docs: setup ## the documentation as a site in site/, built strictly (brings mkdocs into .venv, once)
	$(BIN)/python -c 'import mkdocs, material, mkdocstrings' 2>/dev/null || $(BIN)/python -m pip \
	  --disable-pip-version-check install -q -c requirements/constraints.txt \
	  mkdocs mkdocs-material mkdocstrings mkdocstrings-python
	$(BIN)/mkdocs build --strict

bench: setup ## measure (BENCH=onset only that one; lite and live need clips in ../shared)
	for bench in $(or $(BENCH),onset lite live node); do $(BIN)/cs3 bench $$bench; done

gpu: ## what needs a GPU, in 8 minutes, to OUT (gpu_out): no setup, no ROS (ARGS=--dry: on a CPU)
	$(or $(PYTHON),$(wildcard $(BIN)/python),python3) tools/gpu.py --out $(or $(OUT),gpu_out) $(ARGS)

gpu-carry: setup ## collect in .gpu_carry what a bare machine with torch lacks for make gpu
	$(BIN)/python tools/gpu.py --carry

fuzz: setup ## damaged files of every kind, N of each (default 300): is each read, told or refused?
	$(BIN)/python test/fuzz $(or $(N),300)

clean: ## remove what was built and cached, but not .venv (delete that by hand)
	rm -rf build install log demo site bench_out gpu_out .gpu_carry *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find cs3_ros test launch -name __pycache__ -prune -exec rm -rf {} +
