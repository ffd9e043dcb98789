# Needs GNU make 3.81 or later (what macOS ships) and Python 3.11 or later.
PYTHON      ?= python3
VENV        ?= .venv
TORCH_INDEX ?=
LESSON      ?=
PARAMS      ?=
RECORD      ?=
BENCH       ?=
FILES       ?=
BIN         := $(VENV)/bin
STAMP       := $(VENV)/.installed
TEST_STAMP  := $(VENV)/.installed-for-tests
SLIDE_STAMP := $(VENV)/.installed-for-slides
LESSONS     := $(sort $(wildcard notebooks/[0-9][0-9]_*.ipynb))
SOLUTIONS   := $(sort $(wildcard notebooks/solutions/[0-9][0-9]_*.ipynb))
PIP         := $(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

ifdef DEVICE
export TINYGPT_DEVICE := $(DEVICE)
endif
ifdef CORPUS
export TINYGPT_CORPUS := $(CORPUS)
endif
ifdef THREADS
export OMP_NUM_THREADS := $(THREADS)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab test test-browser run slides html grade bench mutate execute clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'Settings, all optional, for instance  make run LESSON=07 PARAMS="preset=medium max_iters=100":'
	@echo '  LESSON=07          for run and execute: only these lessons ("03 07" for two)'
	@echo '  PARAMS="name=1"    for run: other values for the parameters of the lessons'
	@echo '  RECORD=yes         for run: write time and memory of all lessons into tests/budgets.json'
	@echo '  FILES="hand-ins/"  for grade: notebooks, or folders that hold them'
	@echo '  BENCH="step bpe"   for bench: only these parts of step, quality, writing, bpe'
	@echo '  DEVICE=cuda        for test and run: cpu or cuda or mps'
	@echo '  CORPUS=six_plays   for test, run and bench: tinyshakespeare, six_plays, letters or the path of a text'
	@echo '  THREADS=2          for test, run, bench and execute: the number of threads'
	@echo '  PYTHON=python3.12  the Python that .venv is made with'
	@echo '  TORCH_INDEX=...    the package index with the PyTorch of your choice, for instance the smaller one'
	@echo '                     for machines without a GPU: https://pytorch.org/get-started names its address'

$(STAMP): requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or later, or name yours, as in  make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: install a later one and name it, as in  make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the modules venv and ensurepip: install them (Debian and Ubuntu: the package python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the lessons need into $(VENV) (a few minutes, once) ..."
	@$(PIP) --requirement requirements.txt
	@touch $@

$(TEST_STAMP): $(STAMP) tests/requirements.txt
	@$(PIP) --requirement tests/requirements.txt
	@touch $@

# Of this package only the files of reveal.js are used: it is the way in which PyPI has them.
$(SLIDE_STAMP): $(STAMP)
	@$(PIP) --no-deps sphinx-revealjs==3.2.1
	@touch $@

lab: $(STAMP) ## open the lessons in JupyterLab
	$(BIN)/python -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_check_your_setup.ipynb

test: $(TEST_STAMP) $(SLIDE_STAMP) ## run all tests, and every lesson with its stored outputs compared
	PYTHONPATH=tests OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q --durations=15 -p no:cacheprovider -p budgets \
	    --ignore=tests/test_browser.py --nbval --nbval-current-env --nbval-cell-timeout=600 tests $(LESSONS) $(SOLUTIONS)

test-browser: $(TEST_STAMP) ## run every lesson in JupyterLab in a real browser: runs/browser/
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -p no:cacheprovider tests/test_browser.py

run: $(STAMP) ## run the lessons into runs/; one table of times, memory and losses
	@$(BIN)/python tests/run.py --lesson '$(LESSON)' --params '$(PARAMS)' --record '$(RECORD)'

slides: $(SLIDE_STAMP) ## one deck for each lesson, for a browser: runs/slides/
	@$(BIN)/python tests/pages.py decks

html: $(STAMP) ## all lessons and solutions as pages that need no kernel: runs/html/index.html
	@$(BIN)/python tests/pages.py site

grade: $(STAMP) ## mark handed-in lessons: runs/grades.csv says who passed which exercise
	@$(BIN)/python tests/grade.py $(FILES)

bench: $(TEST_STAMP) ## measure speed beside plain code and transformers: runs/bench.md, .json, .png
	@$(BIN)/python tests/bench.py --parts '$(BENCH)'

mutate: $(TEST_STAMP) ## break tinygpt.py in many small ways and see that the tests notice: runs/mutations.md
	@$(BIN)/python tests/mutate.py

execute: $(STAMP) ## run the lessons in place and store their outputs
	@$(BIN)/python tests/execute.py --lesson '$(LESSON)'

clean: ## remove .venv, runs/ and leftovers
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .hypothesis tests/__pycache__ notebooks/__pycache__ notebooks/.ipynb_checkpoints
