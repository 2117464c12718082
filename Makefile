# Two commands on a fresh machine: `make sweep`, `make test`. `make help` lists the rest.
#
# PYTHON=python3 uses an interpreter that has torch already, without a virtual environment: what it lacks goes into .site/.
# WHEELHOUSE=wheelhouse takes it from that folder, which `make wheelhouse` fills elsewhere, and needs no network.

STUDY ?= lr
ARGS ?=
FOR_PYTHON ?= 3.12
FOR_ARCHITECTURE ?= x86_64

ifdef PYTHON
# A folder for each interpreter: what another lacks, or made for another version, is of no use to this one.
SITE := .site/$(shell $(PYTHON) -c "import sys, zlib; print(f'{sys.implementation.cache_tag}-{zlib.crc32(sys.prefix.encode()):x}')")
PY := PYTHONPATH="$(CURDIR)/src:$(CURDIR)/$(SITE)$${PYTHONPATH:+:$$PYTHONPATH}" $(PYTHON)
READY := $(SITE)/ready
else
PY := .venv/bin/python
READY := .venv/ready
endif

.DEFAULT_GOAL := help
.PHONY: help sweep replicate confirm sensitivity studies audit report reference data test quick reliability lint format bench pins wheelhouse notebook clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: STUDY=lr SEEDS=3 SIZE=small ARGS='Hydra overrides, or words for pytest' PYTHON=python3 WHEELHOUSE=wheelhouse FOR_PYTHON=3.12"

# What to say after Ctrl-C: the command that the person gave.
sweep replicate confirm sensitivity studies: export LRSWEEP_COMMAND = $(strip make $(MAKECMDGOALS) $(foreach name,STUDY SEEDS SIZE PYTHON WHEELHOUSE ARGS,$(if \
	$(filter command,$(origin $(name))),$(name)='$($(name))')))

sweep: $(READY) data ## the environment, MNIST, the 46 learning rates, the report; goes on where it stopped
	@$(PY) -m lrsweep study=$(STUDY) $(ARGS)

LAUNCHER = $(shell $(PY) -c "import torch; print('fused' if torch.cuda.is_available() else 'pool')")

replicate: $(READY) data ## the same grid on SEEDS seeds (3); in one program where there is a GPU
	@$(PY) -m lrsweep study=$(STUDY) seed="range($(or $(SEEDS),3))" hydra/launcher=$(LAUNCHER) $(ARGS)

confirm: $(READY) data ## the best rates of STUDY on SEEDS fresh seeds (5): the best of many flatters
	@$(PY) -m lrsweep.cli.confirm study=$(STUDY) seeds=$(or $(SEEDS),5) $(ARGS)

sensitivity: $(READY) data ## the documents' grid without early stopping, in STUDY: what does that decide?
	@$(PY) -m lrsweep study=budget study.name=$(STUDY)/budget $(ARGS)
	@$(PY) -m lrsweep.cli.report study=$(STUDY) $(filter machine.results_dir=%,$(ARGS))

STUDIES = optimizers techniques pretrain finetune schedules layerwise batch_size warmup grow_batch schedules_sgd mixed_precision

studies: $(READY) data ## every study of the documents' other claims, at SIZE small or full
	@for study in $(STUDIES); do $(PY) -m lrsweep study=$$study study.size=$(or $(SIZE),small) $(ARGS) || exit; done

audit: $(READY) ## a verdict on every claim, from the runs that are there
	@$(PY) -m lrsweep.cli.report study=all $(filter machine.results_dir=%,$(ARGS))

report: $(READY) ## the report alone, of STUDY
	@$(PY) -m lrsweep.cli.report study=$(STUDY) $(filter machine.results_dir=% delta=%,$(ARGS))

reference: $(READY) ## pack the records in results/reference, rebuild its report and audit, show them in the READMEs
	@$(PY) scripts/reference.py

data: $(READY) ## MNIST, checksums verified, into data/
	@$(PY) -m lrsweep.data.download data

# A process a core, four at most; a file's tests stay together, because most share what they make.
PYTEST = $(PY) -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile

test: $(READY) data ## all tests but those that ask the network
	@$(PYTEST) -m "not network" $(ARGS)

quick: $(READY) data ## those of them that take no more than a few seconds each
	@$(PYTEST) -m "not network and not slow" $(ARGS)

reliability: $(READY) data ## try every fault, and write docs/reliability.md
	@$(PY) -m pytest tests/faults --reliability=docs/reliability.md

lint: $(READY) ## ruff and mypy; no key in a file; no known vulnerability in what is pinned
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
	@$(PY) scripts/find_keys.py && $(PY) scripts/vulnerabilities.py

format: $(READY) ## ruff's formatter and fixes
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

bench: $(READY) data ## speed against the plain PyTorch script, into results/bench/
	@$(PY) scripts/bench.py && $(PY) scripts/bench_fused.py && $(PY) scripts/bench_convolutions.py

pins: .venv/ready ## renew requirements.txt and constraints.txt after a change of pyproject.toml; ARGS=--upgrade for newer versions
	@.venv/bin/python scripts/pins.py $(ARGS)

wheelhouse: $(READY) ## wheels for a machine without a network that has torch, for FOR_PYTHON
	@$(PY) scripts/wheelhouse.py $(or $(WHEELHOUSE),wheelhouse) $(FOR_PYTHON) $(FOR_ARCHITECTURE)

notebook: .venv/notebook ## the notebook of the results, in JupyterLab
	@.venv/bin/python -m jupyter lab notebooks/explore.ipynb

clean: ## remove the environment; results and data stay
	rm -rf .venv .site

.venv/ready: pyproject.toml requirements.txt constraints.txt
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.txt
	.venv/bin/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable ".[dev]"
	@touch $@

.venv/notebook: .venv/ready
	.venv/bin/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable ".[notebook]"
	@touch $@

ifdef PYTHON
$(SITE)/ready: pyproject.toml scripts/missing.py
	@mkdir -p $(@D)
	@$(PYTHON) scripts/missing.py $(@D) $(WHEELHOUSE)
	@touch $@
endif
