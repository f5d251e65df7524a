# `make run` and `make test` are all that a new machine needs: both set up first if that has not been done.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup run test test-slow test-brokers test-engines test-gpu images bench-photo bench-opinions bench-serving bench-overload bench-fill bench-connections bench-chaos bench-many-jobs bench-sizing bench-memory bench-simclr bench-training detection train-gpu pause-training resume-training lecture check docs format lock clean

help:       ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/ready  ## the virtual environment, with everything that the lock pins

# PyTorch's own index has a build for CPUs, without CUDA's gigabytes; where pip knows of none, PyPI's comes with what it needs.
$(VENV)/ready: requirements.lock requirements-torch-cpu.lock requirements-torch-cuda.lock
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; try make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements-torch-cpu.lock 2>/dev/null \
		|| $(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements-torch-cuda.lock
	$(BIN)/pip check --quiet
	@touch $@

run: setup  ## everything on this machine: http://127.0.0.1:8000
	$(BIN)/python -m service

# Processes share the files of tests: each has servers, ports and folders of its own. Three share the second part, which waits more than it
# works. A service under load, and one that is killed at random, are held to seconds of the real clock: they run alone.
ALONE = integration/test_chaos.py integration/test_load.py
# Tests start some hundreds of processes of ours; where the environment forbids bytecode, as in containers, each would compile our sources anew.
test: export PYTHONDONTWRITEBYTECODE =
test: setup  ## all tests
	@failed=0; \
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile tests/model || failed=1; \
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile $(foreach part,model e2e brokers gpu $(ALONE),--ignore=tests/$(part)) || failed=1; \
	$(BIN)/pytest -n 2 --dist loadfile tests/e2e || failed=1; \
	$(BIN)/pytest $(addprefix tests/,$(ALONE)) || failed=1; \
	exit $$failed

test-slow: setup  ## the long tests that `make test` leaves out
	$(BIN)/pytest -m slow --timeout 1800

# Each test of many jobs sends so many; JOBS=2000 is what docs/scaling.md tells of.
JOBS ?= 200
test-brokers: setup  ## two APIs and two workers on RabbitMQ and on Redis with Sentinels, killed in the middle; needs Debian's packages
	AUTOCHROME_TEST_JOBS=$(JOBS) OMP_NUM_THREADS=1 $(BIN)/pytest -m brokers tests/brokers --timeout 900 -rs -s

test-engines: setup  ## the page in Firefox and in WebKit, which is Safari's engine; needs Debian's packages
	$(BIN)/pytest -m engines tests/engines -rs

# What is measured is written to out/gpu/report.md. REHEARSE=1 runs it on a CPU, with tiny numbers, to see that it works.
test-gpu: setup  ## what only a GPU can show, within eight minutes on a bare CUDA machine
	@$(if $(REHEARSE),true,$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make test-gpu: there is no CUDA device here")')
	AUTOCHROME_REHEARSE=$(REHEARSE) $(BIN)/pytest -m gpu tests/gpu --timeout 240

# With Docker, else as root with buildah and debootstrap (Debian's packages of these names). BASE names another base for all of them.
images: setup  ## build the three images, start each, color a photo by them, and say their sizes: some minutes
	$(BIN)/pytest -s -m images tests/docker/test_images.py

# Benchmarks: run each alone on the machine. Results come into out/benchmarks.

bench-photo: setup  ## one photograph, and a folder, beside a plain twin: speed, memory, about 3 minutes
	$(BIN)/python -m tests.benchmarks photo $(PHOTO)

bench-opinions: setup  ## a changed hint, other pictures and how sure the net is, through the API, about 3 minutes
	$(BIN)/python -m tests.benchmarks opinions

bench-serving: setup out/litserve/ready  ## the service beside the bare pipeline and LitServe, about 15 minutes
	$(BIN)/python -m tests.benchmarks serving --litserve out/litserve/bin/python

out/litserve/ready: requirements.lock
	$(PYTHON) -m venv out/litserve
	sed -n 's/ \\$$//; /==/p' requirements.lock > out/litserve/versions.txt
	out/litserve/bin/pip install --quiet --constraint out/litserve/versions.txt '.[worker]' litserve==0.2.19
	out/litserve/bin/pip uninstall --quiet --yes autochrome && rm -rf build *.egg-info
	@touch $@

bench-overload: setup  ## four times what the service can do, for two minutes
	$(BIN)/python -m tests.benchmarks overload

bench-fill: setup  ## a small disk and a small Redis filled at four times what the service can do, for two minutes each
	$(BIN)/python -m tests.benchmarks fill

bench-connections: setup  ## half requests, endless headers and slow clients, for a minute
	$(BIN)/python -m tests.benchmarks connections

bench-chaos: setup  ## kill -9 of worker, API and Valkey at random, for five minutes
	$(BIN)/python -m tests.benchmarks chaos

bench-many-jobs: setup  ## 10,000 small jobs while workers come and go
	$(BIN)/python -m tests.benchmarks many-jobs

bench-sizing: setup  ## what a photo costs in CPU, Redis and store, and what so many a day need, about 3 minutes
	$(BIN)/python -m tests.benchmarks sizing

bench-memory: setup  ## what photos of each kind take in a worker, about 3 minutes
	$(BIN)/python -m tests.benchmarks memory

bench-simclr: setup out/lightly/ready  ## SimCLR's views, steps and loss beside lightly's, about 10 minutes
	$(BIN)/python -m tests.benchmarks simclr --lightly out/lightly/bin/python $(SIMCLR)

# torchvision, which lightly wants, comes with a torch of its own: both sides run on it.
out/lightly/ready:
	$(PYTHON) -m venv out/lightly
	out/lightly/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 lightly==1.6.0 numpy pillow
	@touch $@

# BASE is a commit from before what is to be measured, PHOTOS a folder of some hundred color photographs.
bench-training: setup  ## crops a second of training beside those of the commit BASE, on PHOTOS
	@test -n "$(BASE)" -a -n "$(PHOTOS)" || { echo "make bench-training BASE=a-commit PHOTOS=a-folder"; exit 1; }
	$(BIN)/python -m tests.benchmarks training --base $(BASE) --photos $(PHOTOS) $(TRAINING)

detection:  ## fine-tune the backbones of RUNS to detect VOC's objects, with torchvision's Faster R-CNN
	@test -n "$(RUNS)" -a -n "$(VOC)" || { echo "make detection RUNS=… VOC=…: folders of trained runs, and VOC2007 in its layout"; exit 1; }
	@$(MAKE) --no-print-directory out/detection/ready
	out/detection/bin/python -m model evaluate detection --runs $(RUNS) --voc $(VOC) $(DETECTION)

out/detection/ready: requirements-detection.txt
	$(PYTHON) -m venv out/detection
	out/detection/bin/pip install --quiet --requirement requirements-detection.txt
	@touch $@

# On a machine with a GPU: cache, training, validation and weights within SECONDS; a second time it goes on where it was stopped. START is
# what to begin from, a net's name, weights or a run's folder; empty, ImageNet's backbone.
SECONDS ?= 480
START ?= lite
train-gpu: setup  ## train the product's net on PHOTOS on a GPU, for SECONDS in all, and export runs/gpu/gpu.safetensors
	@test -n "$(PHOTOS)" || { echo "make train-gpu PHOTOS='DIR…': folders of color photographs"; exit 1; }
	$(BIN)/python -m model train colorize --recipe lite --device cuda --seconds $(SECONDS) --save-every 60 --photos $(PHOTOS) \
		--run runs/gpu --set batch=256 lr=2e-3 backbone_lr=8e-4 frozen_blocks=0 start=$(START)
	$(BIN)/python -m model weights export runs/gpu -o runs/gpu/gpu.safetensors --terms "those of the photographs" --data "$(PHOTOS)"

RUN ?= runs/colorize
pause-training: setup  ## stop the training in RUN where it stands, for a clean timing
	$(BIN)/python -m model training pause $(RUN)

resume-training: setup  ## let it go on
	$(BIN)/python -m model training resume $(RUN)

# Imagenette (https://github.com/fastai/imagenette, the 160-pixel set) or any folder with train and val, each with a folder a class. GALLERY
# (classes in folders, such as Caltech-101), VOC (VOC2007) and CAMVID are for transfer, and may be left out.
lecture: setup  ## compare the ways of learning without labels on PHOTOS, hours long; goes on where it was stopped
	@test -n "$(PHOTOS)" || { echo "make lecture PHOTOS=…: a folder with train and val, each with a folder a class"; exit 1; }
	$(BIN)/python -m model lecture --photos $(PHOTOS) $(if $(GALLERY),--gallery $(GALLERY)) $(if $(VOC),--voc $(VOC)) $(if $(CAMVID),--camvid $(CAMVID)) $(LECTURE)

# OSV's advisories; where they cannot be reached, that is said, and all else is checked.
OSV = https://api.osv.dev/v1
check: setup  ## lint, format, types, who may import whom, and known vulnerabilities of what the lock pins
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if $(BIN)/python -c 'from urllib.request import urlopen; urlopen("$(OSV)/vulns/OSV-2020-111", timeout=3)' 2>/dev/null; then \
		$(BIN)/pip-audit --service osv --osv-url $(OSV)/query --progress-spinner off --disable-pip --require-hashes \
			--requirement requirements.lock --requirement requirements-torch-cuda.lock; \
	else echo "pip-audit is left out: $(OSV) cannot be reached"; fi

docs: setup  ## the documentation as a site, in out/site
	$(BIN)/mkdocs build --strict --clean

format: setup  ## let ruff lay out the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What is pinned stays as it is where it still fits; UPGRADE=--upgrade takes the newest.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
COMPILE = $(VENV)-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock'
TORCH   = $(shell grep -om1 'torch==[0-9.]*' pyproject.toml)
lock:  ## resolve pyproject.toml into requirements*.lock and docker/*.lock, with hashes for every system
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv==0.13.9
	$(COMPILE) $(UPGRADE) --extra dev --no-emit-package torch pyproject.toml -o requirements.lock
	echo '$(TORCH)' | $(COMPILE) --no-config --python-version 3.11 - -c requirements.lock -o requirements-torch-cuda.lock
	for part in api bot worker gpu; do \
		$(COMPILE) --no-config --extra $$part pyproject.toml -c requirements.lock -o docker/$$part.lock || exit 1; done
	printf '%s ; sys_platform == "darwin"\n%s+cpu ; sys_platform == "linux"\n' '$(TORCH)' '$(TORCH)' \
		| $(COMPILE) --no-config --python-version 3.11 --no-deps --default-index $(TORCH_INDEX) - -o requirements-torch-cpu.lock \
		|| echo "$(TORCH_INDEX) cannot be read: requirements-torch-cpu.lock stays as it is"
	rm -rf $(VENV)-lock

clean:  ## remove what setup and the tests made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
