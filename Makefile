# A fresh clone needs nothing but Python: each target sets up what it uses, once.

PYTHON ?= python3
BIN := .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Without a display the viewer's tests run on a virtual one, where there is one.
DISPLAYED = $(if $(DISPLAY),,$(if $(shell command -v xvfb-run),xvfb-run --auto-servernum --server-args="-screen 0 1920x1200x24"))
# Several workers, each of one thread; a window's tests don't wait for those of the engine.
PYTEST = $(DISPLAYED) $(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

# Modules are compiled once, not by each worker and each run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo check test test-all lint fuzz napari screenshots clean

help:
	@echo "make demo         denoise a synthetic sample, write the picture into out/"
	@echo "make check        lint, types and the quickest tests, in less than a minute"
	@echo "make test         lint, types and all tests but the slow ones"
	@echo "make test-all     the slow tests too"
	@echo "make lint         lint and types only"
	@echo "make fuzz         20 000 damaged inputs of every kind; COUNT=, SEED="
	@echo "make napari       open the viewer with a sample and the dock"
	@echo "make screenshots  make the documents' pictures anew"
	@echo "make clean        remove what these made"

demo: .venv/base.stamp
	$(BIN)/autostructn2v demo -o out

check: lint
	$(PYTEST) -m "quick and not slow" tests/engine

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

lint: .venv/all.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fuzz: .venv/all.stamp
	$(BIN)/python tests/fuzz/fuzz.py --count $(or $(COUNT),20000) --seed $(or $(SEED),0)

napari: .venv/all.stamp
	$(BIN)/python -c 'import napari; viewer = napari.Viewer(); \
		viewer.open_sample("napari-autostructn2v", "horizontal"); \
		viewer.window.add_plugin_dock_widget("napari-autostructn2v"); napari.run()'

screenshots: .venv/all.stamp
	$(DISPLAYED) $(BIN)/python docs/make_screenshots.py

clean:
	rm -rf .venv out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/base.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) "pip>=25.1"
	$(PIP) torch
	$(PIP) --editable .
	touch $@

.venv/all.stamp: .venv/base.stamp .ci/system-libraries
	.ci/system-libraries
	$(PIP) --editable ".[napari,tensorboard]" PyQt6 --group dev
	touch $@
