# One environment serves all: make demo, make test, make check, make slow, make faults.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow faults check format clean

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

demo: .venv/installed
	$(BIN)/python runs/demo.py

test: .venv/installed
	$(BIN)/pytest -n 2 --dist loadscope
	$(BIN)/pytest -o addopts= -m 'compile and not slow' tests/test_compile.py

slow: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal -m 'slow and not compile and not gpu' --no-header -q || test $$? = 5
	$(BIN)/pytest -o addopts= -m 'compile and slow' tests/test_compile.py

faults: .venv/installed
	$(BIN)/python runs/faults.py --page docs/faults.md

check: .venv/installed
	$(BIN)/ruff format --check src tests runs examples
	$(BIN)/ruff check src tests runs examples
	$(BIN)/pyright

format: .venv/installed
	$(BIN)/ruff format src tests runs examples
	$(BIN)/ruff check --fix src tests runs examples

clean:
	rm -rf .venv out
