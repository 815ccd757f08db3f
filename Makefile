# make setup | demo | test | soak | check | format
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test soak check format clean

setup: $(STAMP)

$(STAMP): constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Vigil and what it needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/crm lab demo

test: check
	$(BIN)/python -m pytest -q -n 2 tests/unit tests/scenarios tests/properties tests/simulation
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m "not undisturbed" tests/integration
	$(BIN)/python -m pytest -q -m undisturbed tests/integration

# Further seeds of both scopes on all cores, each for half of MINUTES, from SEED on; fails when a checker did.
MINUTES ?= 10
SEED ?= 1000001
soak: setup
	@minutes=$$(echo "$(MINUTES)" | awk '{ print $$1 / 2 }'); failed=0; \
	for scope in membership cluster; do \
		echo "$$scope: $$minutes minutes, from seed $(SEED) on"; \
		$(BIN)/python -m crm.simulator --scope $$scope --minutes $$minutes --jobs 0 --seeds $(SEED) || failed=1; \
	done; exit $$failed

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=tests/scenarios/policy $(BIN)/mypy --explicit-package-bases tests/scenarios/policy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
