# One environment serves all: make demo, make test, make check, make slow, make faults, make docs, make dist.
PYTHON ?= python3
BIN := .venv/bin
OLDEST ?= .venv-oldest
CONTRACT := $(patsubst %,tests/%.py,test_submodel test_residual test_losses test_attach test_design twins/test_lean \
	architectures/test_models recipes/test_recipes data/test_loading evaluation/test_evaluation train/test_methods \
	train/test_optim train/test_checkpoint train/test_trainer)

.PHONY: demo test slow faults docs dist test-oldest check format clean

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

demo: .venv/installed
	$(BIN)/python scripts/demo.py

test: .venv/installed
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder
	$(BIN)/pytest -o addopts= -n 2 -m 'compile and not slow' tests/twins/test_compile.py

slow: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal -m 'slow and not compile and not gpu' --no-header -q || test $$? = 5
	$(BIN)/pytest -o addopts= -m 'compile and slow' tests/twins/test_compile.py

faults: .venv/installed
	$(BIN)/python tests/faults.py --page docs/faults.md

docs: .venv/installed
	$(BIN)/mkdocs build --strict

dist: .venv/installed
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# The contract tests on the oldest versions that pyproject.toml promises, in an environment of their own. Shapes are
# not checked there: jaxtyping 0.3.0 installs its check after conftest.py has been imported.
$(OLDEST)/installed: pyproject.toml constraints-oldest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -c constraints-oldest.txt -e '.[hub,segmentation]' hypothesis pytest
	touch $@

test-oldest: $(OLDEST)/installed
	$(OLDEST)/bin/pytest -q -o addopts= -m 'not slow and not gpu and not compile' $(CONTRACT)
	$(OLDEST)/bin/pytest -q -o addopts= -m 'compile and not slow' tests/twins/test_compile.py

check: .venv/installed
	$(BIN)/ruff format --check src tests scripts examples
	$(BIN)/ruff check src tests scripts examples
	$(BIN)/pyright

format: .venv/installed
	$(BIN)/ruff format src tests scripts examples
	$(BIN)/ruff check --fix src tests scripts examples

clean:
	rm -rf .venv .venv-oldest out dist
