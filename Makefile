# Two commands on a fresh machine: `make sweep`, `make test`. `make help` lists the rest.
#
# PYTHON=python3 uses an interpreter that already has torch, without a virtual environment; missing packages go into .site/.
# WHEELHOUSE=wheelhouse installs them from that folder, without a network; `make wheelhouse` fills it on another machine.

STUDY ?= lr
ARGS ?=
FOR_PYTHON ?= 3.12
FOR_ARCHITECTURE ?= x86_64

ifdef PYTHON
# One folder per interpreter, because each may lack different packages, or need different builds of them.
SITE := .site/$(shell $(PYTHON) -c "import sys, zlib; print(f'{sys.implementation.cache_tag}-{zlib.crc32(sys.prefix.encode()):x}')")
PY := PYTHONPATH="$(CURDIR)/src:$(CURDIR)/$(SITE)$${PYTHONPATH:+:$$PYTHONPATH}" $(PYTHON)
READY := $(SITE)/ready
READY_FOR_GPU := $(SITE)/ready-for-gpu
else
PY := .venv/bin/python
READY := .venv/ready
READY_FOR_GPU := .venv/ready
endif

.DEFAULT_GOAL := help
.PHONY: help demo sweep replicate confirm sensitivity studies plan audit report reference data test quick reliability fuzz lint vulnerabilities format bench gpu pins wheelhouse notebook clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: STUDY=lr SEEDS=3 ARGS='Hydra overrides or pytest options' PYTHON=python3 WHEELHOUSE=wheelhouse FOR_PYTHON=3.12"

# Shown after Ctrl-C: the command that continues the sweep.
demo sweep replicate confirm sensitivity studies: export LRSWEEP_COMMAND = $(strip make $(MAKECMDGOALS) $(foreach name,STUDY SEEDS PYTHON WHEELHOUSE ARGS,$(if \
	$(filter command,$(origin $(name))),$(name)='$($(name))')))

demo: $(READY) data ## a first look in three minutes: 6 rates, 3 seeds, short runs, and a report
	@$(PY) -m lrsweep study=demo $(ARGS)

sweep: $(READY) data ## train at the 46 learning rates and write the report; skips finished runs
	@$(PY) -m lrsweep study=$(STUDY) $(ARGS)

LAUNCHER = $(shell $(PY) -c "import torch; print('fused' if torch.cuda.is_available() else 'pool')")

replicate: $(READY) data ## the same grid with SEEDS seeds (default 3), in one program if there is a GPU
	@$(PY) -m lrsweep study=$(STUDY) seed="range($(or $(SEEDS),3))" hydra/launcher=$(LAUNCHER) $(ARGS)

confirm: $(READY) data ## train the best rates of STUDY again on SEEDS fresh seeds (default: as many as the study says)
	@$(PY) -m lrsweep.cli.confirm study=$(STUDY) $(if $(SEEDS),seeds=$(SEEDS)) $(ARGS)

sensitivity: $(READY) data ## the documents' grid without early stopping, for the report of STUDY
	@$(PY) -m lrsweep study=budget study.name=$(STUDY)/budget $(ARGS)
	@$(PY) -m lrsweep.cli.report study=$(STUDY) $(filter machine.results_dir=%,$(ARGS))

studies: $(READY) data ## run and confirm all studies that make audit uses; takes days on two cores
	@$(PY) scripts/studies.py $(ARGS)

plan: $(READY) ## show what every study costs and can detect, and write it into the study files
	@$(PY) scripts/plan.py

audit: $(READY) ## a verdict on every claim, from the stored runs
	@$(PY) -m lrsweep.cli.report study=all $(filter machine.results_dir=%,$(ARGS))

report: $(READY) ## rebuild the report of STUDY
	@$(PY) -m lrsweep.cli.report study=$(STUDY) $(filter machine.results_dir=% delta=%,$(ARGS))

reference: $(READY) ## pack results/reference, rebuild its report and audit, update the READMEs
	@$(PY) scripts/reference.py

data: $(READY) ## download MNIST into data/ and verify its checksums
	@$(PY) -m lrsweep.data.download data

# One process more than cores, because many tests wait for Slurm, Ray or a browser; at most four. The tests of a file stay together,
# because most share fixtures. tests/conftest.py puts the longest files first.
PYTEST = $(PY) -m pytest --numprocesses=$$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

test: $(READY) data ## all tests except those that need the network
	@$(PYTEST) -m "not network" $(ARGS)

quick: $(READY) data ## the same without the slow tests
	@$(PYTEST) -m "not network and not slow" $(ARGS)

reliability: $(READY) data ## test every fault and write docs/reliability.md
	@$(PYTEST) tests/faults --reliability=docs/reliability.md

fuzz: $(READY) data ## try new random commands and damaged files for MINUTES (default 5); SEED=N repeats those of seed N
	@$(PY) -m pytest tests/faults/test_random_commands.py tests/faults/test_odd_files.py --capture=sys \
		--fuzz-minutes=$(or $(MINUTES),5) $(if $(SEED),--fuzz-seed=$(SEED)) $(ARGS)

lint: $(READY) ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

vulnerabilities: $(READY) ## list known vulnerabilities in the pinned packages
	@$(PY) scripts/vulnerabilities.py

format: $(READY) ## fix and format the code with ruff
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

bench: $(READY) data ## speed compared with a plain PyTorch script, into results/bench/
	@$(PY) scripts/bench.py && $(PY) scripts/bench_fused.py && $(PY) scripts/bench_convolutions.py

gpu: $(READY_FOR_GPU) ## measure on a GPU for 8 minutes, the most important first, and fill docs/performance.md; continues when repeated; ARGS="--minutes 30"; OUT=folder to take home
	@$(PY) -m lrsweep.data.download data
	@$(PY) scripts/gpu.py $(if $(WHEELHOUSE),--wheelhouse $(WHEELHOUSE)) $(if $(OUT),--out $(OUT)) $(ARGS)

pins: .venv/ready ## update requirements.txt and constraints.txt after a change of pyproject.toml; ARGS=--upgrade for newer versions
	@.venv/bin/python scripts/pins.py $(ARGS)

wheelhouse: $(READY) ## download wheels for a machine that has torch but no network, for FOR_PYTHON; ARGS=--for-gpu: for make gpu
	@$(PY) scripts/wheelhouse.py $(or $(WHEELHOUSE),wheelhouse) $(FOR_PYTHON) $(FOR_ARCHITECTURE) $(ARGS)

notebook: .venv/notebook ## open the notebook of the results in JupyterLab
	@.venv/bin/python -m jupyter lab notebooks/explore.ipynb

clean: ## remove the environment; keep results and data
	rm -rf .venv .site

.venv/ready: pyproject.toml requirements.txt constraints.txt
	@echo "Installing the packages into .venv (3 GB; takes minutes, but only once)"
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.txt
	.venv/bin/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable .
	@touch $@

.venv/notebook: .venv/ready
	.venv/bin/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable ".[notebook]"
	@touch $@

ifdef PYTHON
$(SITE)/ready: pyproject.toml scripts/missing.py
	@mkdir -p $(@D)
	@$(PYTHON) scripts/missing.py $(@D) $(WHEELHOUSE)
	@touch $@

$(SITE)/ready-for-gpu: pyproject.toml scripts/missing.py
	@mkdir -p $(@D)
	@$(PYTHON) scripts/missing.py $(@D) $(WHEELHOUSE) --for-gpu
	@touch $@
endif
