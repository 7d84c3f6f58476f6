# Every target does the set-up that it needs: a .venv beside this file, with the versions that CI
# proves. `make demo DATA=folder` tests on the scenes of a folder, `TRAIN=folder` trains on one.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

export MPLBACKEND := agg

.PHONY: demo test lint bench clean

demo: $(INSTALLED)
	$(BIN)/python examples/plot_first_pipeline.py $(if $(DATA),--data "$(DATA)") \
		$(if $(TRAIN),--train "$(TRAIN)") $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf .venv build results *.egg-info
