# make demo: a stylized sample.   make test: the tests.   Both set up .venv first; make PYTHON=python3.12 chooses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint setup python clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed
	$(BIN)/python scripts/stylize.py --backbone=kmeans --content=samples/coast.jpg --style=samples/swirls.jpg \
		--size=384 --output=out/demo.png --run=demo --overwrite

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-test
	$(BIN)/python -m flake8
	$(BIN)/python -m mypy

setup: $(VENV)/.installed

python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo "nst_tf needs Python 3.11 to 3.13, and '$(PYTHON)' is none: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "'$(PYTHON)' has no venv: apt install python3-venv, or make PYTHON=python3.12" >&2; exit 1; }

$(VENV)/.installed: setup.cfg constraints.txt | python
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) out
