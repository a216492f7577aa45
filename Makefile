# make demo: a stylized sample.   make test: the tests.   make bench: a step's time relative to an older commit's.
# All set up .venv first; make PYTHON=python3.12 chooses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow coverage lint setup bench docs-pictures clean
.DEFAULT_GOAL := demo

# Status 2: the trained weights are neither here nor on the package index, as one line has said. Then kmeans paints.
DEMO := --content=samples/coast.jpg --style=samples/swirls.jpg --size=384 --output=out/demo.png --run=demo --overwrite
demo: $(VENV)/.installed
	$(BIN)/python scripts/stylize.py --backbone=squeezenet1_1 $(DEMO) || \
		{ [ $$? -eq 2 ] && $(BIN)/python scripts/stylize.py --backbone=kmeans $(DEMO); }

# Tests run in one process for each core, up to four: TensorFlow takes 1 to 2 GB of memory in each.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses=4 --durations=20

# A file at a time, since its tests share what they build.
test: $(VENV)/.installed-test
	$(PYTEST) --dist=loadfile

# One by one, the free process next: few of these share anything, and some take a minute.
test-slow: $(VENV)/.installed-test
	$(PYTEST) -m slow --dist=worksteal -rs

coverage: $(VENV)/.installed-test
	$(PYTEST) --dist=loadfile --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

lint: $(VENV)/.installed-test
	$(BIN)/python -m flake8
	$(BIN)/python -m mypy

setup: $(VENV)/.installed
	@$(BIN)/python scripts/get_weights.py --backbone=squeezenet1_1 || true

# Ratios of a step to that of another commit, by default where this branch began, or the commit before on main itself:
# make bench COMMIT=b9e35a7 BENCH='--networks=vgg19 --precisions=float32,bfloat16 --isa=AVX2'
COMMIT ?=
BENCH ?=
bench: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.step_ratio $(BENCH) -- $(COMMIT)

# All pictures and tables of README and docs, by the commands beside them; the next call goes on where this one was stopped.
# make docs-pictures PAGES='dream controls' makes those of two pages.
PAGES ?=
docs-pictures: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[benchmarks]'
	$(BIN)/python docs/make_pictures.py $(PAGES)

# Commas and quotes may not stand inside $(if ...). $(error) prints one line; a failing recipe would add make's own.
IS_SUPPORTED = $(shell $(PYTHON) -c 'import sys; print((3, 11) <= sys.version_info < (3, 14) or "")' 2>/dev/null)
HAS_VENV = $(shell $(PYTHON) -c 'import venv, ensurepip; print(True)' 2>/dev/null)
NOT_SUPPORTED = nst_tf needs Python 3.11 to 3.13 and '$(PYTHON)' is none: make PYTHON=python3.12
NO_VENV = '$(PYTHON)' has no venv: apt install python3-venv, or make PYTHON=python3.12

$(VENV)/.installed: setup.cfg constraints.txt
	$(if $(IS_SUPPORTED),,$(error $(NOT_SUPPORTED)))
	$(if $(HAS_VENV),,$(error $(NO_VENV)))
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
