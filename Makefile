# The course's commands. `make` alone lists them. What is missing is made first: .venv, then its packages.

PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

# May be set on the command line or in the environment, as in `make lab PYTHON=/opt/python3.12/bin/python3`.
PYTHON ?=
TORCH_INDEX ?=
LAB_ARGS ?=
NOTEBOOK ?=
NAME ?=
AUDIT ?=
CHROMIUM ?= $(shell for name in chromium chromium-browser google-chrome \
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do command -v "$$name" && break; done)
export CHROMIUM
# Where figures become pictures (`make notebooks`), this is the name that is looked for.
export BROWSER_PATH := $(CHROMIUM)

# The settings of JupyterLab, nbconvert and each kernel for the course.
SETTINGS := $(addprefix binder/,overrides.json jupyter_nbconvert_config.json ipython_kernel_config.json)

.DEFAULT_GOAL := help
.PHONY: help setup lab test check notebooks studies audit bench lock clean chromium FORCE
.DELETE_ON_ERROR:

help:
	@echo "make lab        set up what is missing, then open the course in JupyterLab"
	@echo "make test       set up what is missing, then run every test (needs Chromium)"
	@echo "make check      the quick tests: style, and every module's tests"
	@echo "make notebooks  build notebooks/*.ipynb from notebooks/src (NOTEBOOK=01_pretraining builds one)"
	@echo "make studies    run the studies that are stale or missing, on all cores (NAME=schedule runs one of them;"
	@echo "                STUDIES_BACKEND=dask STUDIES_ADDRESS=tcp://host:8786 runs them on a cluster)"
	@echo "make audit      run a stored point of each study again and compare (AUDIT=3: of three; NAME=schedule: of one)"
	@echo "make bench      time the course against the usual tools"
	@echo "make setup      only set up, as 'make lab' does"
	@echo "make lock       write requirements.lock again after a change of pyproject.toml (UPGRADE=1 renews it)"
	@echo "make clean      remove .venv and caches; notebooks and your progress stay"
	@echo "Settings: PYTHON=path of a Python from 3.11 on; TORCH_INDEX=package index to take PyTorch from;"
	@echo "          CHROMIUM=path of a Chromium or Chrome; LAB_ARGS=options for JupyterLab"

setup: .venv/.lab
	@echo "The course is set up in .venv: 'make lab' opens it."

lab: .venv/.lab
	@echo "Opening JupyterLab at notebooks/00_start_here.ipynb. Stop it with Ctrl+C in this window."
	@root=; if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	exec $(PY) -m jupyterlab $$root --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(LAB_ARGS)

test: .venv/.test chromium
	@echo "== 1 of 4: style"
	$(PY) -m ruff check .
	@echo "== 2 of 4: the modules"
	$(PY) -m pytest tests --ignore=tests/browser
	@echo "== 3 of 4: each notebook, run and compared with what it stores"
	$(PY) -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks
	@echo "== 4 of 4: the widgets, in a browser"
	$(PY) -m pytest tests/browser --timeout=900 --timeout-method=thread

check: .venv/.test
	$(PY) -m ruff check .
	$(PY) -m pytest tests --ignore=tests/browser

notebooks: .venv/.test chromium
	$(PY) -m tools.build_notebooks $(NOTEBOOK)

studies: .venv/.test
	$(PY) -m tools.run_studies $(NAME)

audit: .venv/.test
	$(PY) -m tools.run_studies --audit $(if $(AUDIT),--count $(AUDIT)) $(NAME)

bench: .venv/.bench
	$(PY) -m benchmarks

lock: .venv/.test
	$(PY) -m tools.lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf .venv build out *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

chromium:
	@if [ -z "$$CHROMIUM" ]; then \
		echo "Chromium is missing: browser tests and pictures of figures need it."; \
		echo "Install it (Debian, Ubuntu: apt-get install chromium), or say where it is: make CHROMIUM=/path/to/chrome"; \
		exit 1; \
	fi

# --- set-up: each file named .venv/.* says that a step is done -------------------------------------------------

# A .venv that came along when this folder was renamed or copied has the old place in its scripts, and runs the code
# there. The file is new only where something is wrong, and then all that follows is done again.
.venv/.place: FORCE
	@if [ ! -L .venv ] && [ -f .venv/bin/activate ] && ! grep -qF "$(CURDIR)/.venv" .venv/bin/activate; then \
		echo "This .venv was made in another folder (the course was renamed or copied), so a new one is made."; \
		rm -rf .venv; \
	elif [ -e .venv/.lab ] && ! $(PY) -c "import sys; sys.path = [path for path in sys.path if path]; \
			from importlib.util import find_spec; from os.path import dirname, samefile; \
			sys.exit(not samefile(dirname(find_spec('course_utils').origin), 'course_utils'))" 2>/dev/null; then \
		echo "This .venv runs the course of another folder, so this one is installed again."; \
		rm -f $@ .venv/.made; \
	fi
	@mkdir -p .venv
	@if [ -e $@ ]; then :; elif [ -e .venv/.made ]; then touch -r .venv/.made $@; else touch $@; fi
FORCE:

.venv/.made: .venv/.place
	@if [ -x $(PY) ] && $(PY) -m pip --version >/dev/null 2>&1; then \
		echo "Using the .venv that is here."; \
	else \
		found=; for python in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3 python); do \
			"$$python" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))" 2>/dev/null \
				&& found="$$python" && break; \
		done; \
		if [ -z "$$found" ]; then \
			echo "No Python from 3.11 on was found $(if $(PYTHON),as $(PYTHON),on the path)."; \
			echo "Install one with its venv module (Debian, Ubuntu: apt-get install python3 python3-venv),"; \
			echo "or say where it is: make PYTHON=/path/to/python3"; \
			exit 1; \
		fi; \
		echo "Making .venv with $$("$$found" --version), a few seconds."; \
		"$$found" -m venv .venv; \
	fi
	@touch $@

.venv/.torch: .venv/.made requirements.lock
	@if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
		echo "No NVIDIA GPU here, and PyTorch's usual package for Linux brings gigabytes of CUDA:" \
			"TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small one."; \
	fi
	@echo "Installing PyTorch$(if $(TORCH_INDEX), from $(TORCH_INDEX)), one to several minutes."
ifneq ($(TORCH_INDEX),)
	@$(PIP) --no-deps --index-url "$(TORCH_INDEX)" "$$(grep '^torch==' requirements.lock)"
endif
	@$(PIP) --constraint requirements.lock torch
	@touch $@

.venv/.lab: .venv/.torch requirements.lock pyproject.toml $(SETTINGS)
	@echo "Installing JupyterLab and the course, about one minute."
	@$(PIP) --constraint requirements.lock --editable .
	@mkdir -p .venv/share/jupyter/lab/settings .venv/etc/jupyter .venv/etc/ipython
	@cp binder/jupyter_nbconvert_config.json .venv/etc/jupyter/
	@cp binder/ipython_kernel_config.json .venv/etc/ipython/
	@cp binder/overrides.json .venv/share/jupyter/lab/settings/overrides.json
	@touch $@

.venv/.test: .venv/.lab
	@echo "Installing what only tests and builds need, about one minute."
	@$(PIP) --constraint requirements.lock --editable ".[test]"
	@touch $@

.venv/.bench: .venv/.test
	@echo "Installing what only benchmarks need, about one minute."
	@$(PIP) --constraint requirements.lock --editable ".[test,bench]"
	@touch $@
