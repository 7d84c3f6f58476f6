# Every target does the set-up that it needs: a .venv beside this file, with the versions that CI
# proves. `make demo DATA=folder` tests on the scenes of a folder, `TRAIN=folder` trains on one.
# `make lowest` runs the tests on the lower bounds of setup.cfg, in a .venv-lowest of 6 GB, without
# those that no version of a dependency changes.
#
# `make test` leaves out the programs that run as a whole, the examples; `.ci/run` runs them too, and
# asks for a coverage of 95 %: `make test ARGS='-m "" --cov'`.
#
# `make docs` builds the documentation into docs/_build/html, without a network, and fails on a warning
# or a broken link. Examples that changed are run for it.
#
# `make gpu` is for a machine with a CUDA device: the nets' tests on it and on the CPU, then the
# benchmarks that compute on it. pip has to find torch's CUDA build, as it does by default on Linux.

PYTHON ?= python3
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := .venv/$(SCRIPTS)
INSTALLED := .venv/installed
LOWEST := .venv-lowest/installed
comma := ,

export MPLBACKEND := agg

# A process for each core, up to 8, with one thread each: small nets do not share their work well.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo test lowest lint types docs bench gpu clean

demo: $(INSTALLED)
	$(BIN)/python examples/plot_first_pipeline.py $(if $(DATA),--data "$(DATA)") \
		$(if $(TRAIN),--train "$(TRAIN)") $(ARGS)

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

lowest: $(LOWEST)
	OMP_NUM_THREADS=1 $(<D)/$(SCRIPTS)/python -m pytest $(SIDE_BY_SIDE) \
		-m "not slow and not any_version" $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED)
	$(BIN)/mypy $(ARGS)

docs: $(INSTALLED)
	rm -rf docs/generated docs/_build/html
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going --quiet -d docs/_build/doctrees \
		docs docs/_build/html $(ARGS)
	$(BIN)/python docs/check_site.py docs/_build/html

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(ARGS)

gpu: $(INSTALLED)
	$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit(f"torch {torch.__version__} sees no CUDA device: install the driver (nvidia-smi tells) and the CUDA build of torch")'
	$(BIN)/python -m pytest tests/test_devices.py $(ARGS)
	$(BIN)/python -m benchmarks fusion robustness uncertainty cost reprojection adversarial

$(INSTALLED): constraints.txt
$(LOWEST): constraints-lowest.txt

$(INSTALLED) $(LOWEST): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(@D)
	$(@D)/$(SCRIPTS)/pip install --quiet --constraint $(filter constraints%,$^) --editable ".[test$(if $(findstring lowest,$@),,$(comma)docs)]"
	touch $@

clean:
	rm -rf .venv .venv-lowest build results docs/_build docs/auto_examples docs/generated *.egg-info
