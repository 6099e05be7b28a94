# Each target makes .venv when it is missing. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: benchmark experiments test lint bench nightly clean

benchmark: $(STAMP)  ## the main job: train, measure, report; then the layers; six minutes cold on 2 cores
	$(BIN)/python -m experiments.benchmark
	$(BIN)/python -m experiments.layers

# Most of the time of the tests is compilation: without optimisation, with XLA's older code generator
# and in one piece it takes half as long. `make nightly` compiles as users do.
test: export JAX_DISABLE_MOST_OPTIMIZATIONS := 1
test: export XLA_FLAGS := --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
test: $(STAMP)  ## all tests but the slow ones, file by file in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=40

lint: $(STAMP)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

EXPERIMENTS = cross_validation bias_variance scaling_law regularisation optimisation adversarial double_descent \
  lottery_ticket ntk capacity transfer grokking information

experiments: $(STAMP)  ## every short experiment on digits; what is complete is left as it is
	for name in $(EXPERIMENTS); do $(BIN)/python -m experiments.$$name || exit 1; done

bench: $(STAMP)  ## side-by-side speed against peers; installs PyTorch
	$(BIN)/pip install -q -e '.[bench]'
	$(BIN)/python benchmarks/training.py --output=results/bench_training.json
	$(BIN)/python benchmarks/accuracy.py --output=results/bench_accuracy.json
	$(BIN)/python benchmarks/relations.py --output=results/bench_relations.json
	$(BIN)/python benchmarks/measures.py --output=results/bench_measures.json
	$(BIN)/python benchmarks/clustering.py --output=results/bench_clustering.json
	$(BIN)/python benchmarks/neighbours.py --output=results/bench_neighbours.json
	$(BIN)/python benchmarks/layers.py --output=results/bench_layers.json
	$(BIN)/python benchmarks/curvature.py --output=results/bench_curvature.json
	$(BIN)/python benchmarks/supersamples.py --output=results/bench_supersamples.json
	if [ -n "$$GENJAX_DATA_DIR" ]; then \
	  $(BIN)/python benchmarks/evaluation.py --output=results/bench_evaluation.json; fi

nightly: $(STAMP)  ## every test, slow ones and peers too; and on the newest jax where a Python >= 3.12 is found
	$(BIN)/pip install -q -c constraints.txt -e '.[peers]'
	$(BIN)/python -m pytest -m 'slow or not slow'
	@newest=$$(for v in 3.14 3.13 3.12; do command -v python$$v && break; done); \
	if [ -n "$$newest" ]; then \
	  $$newest -m venv .venv-newest && .venv-newest/bin/pip install -q -U -e '.[dev]' && \
	  .venv-newest/bin/python -m pytest; \
	else echo "no Python >= 3.12 found: the newest jax is not tried"; fi

# Installs the versions that the tests pass with; `make nightly` tries the newest ones.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "genjax needs Python 3.11 or newer; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-newest results
