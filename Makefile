# `make demo` and `make test` need nothing but python3 (3.11 or later); each makes .venv when it is missing.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test test-nightly test-all lint bench clean

demo: $(READY)
	$(VENV)/bin/python jobs/cv_heatmap.py

# Everything but the nightly tier: what is slow and rarely breaks (nodes, job submission, benchmarks, flaky storage).
test: $(READY)
	$(VENV)/bin/python -m pytest -m "not nightly"

test-nightly: $(READY)
	$(VENV)/bin/python -m pytest -m nightly

test-all: $(READY)
	$(VENV)/bin/python -m pytest

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY)
	$(VENV)/bin/python benchmarks/start.py
	$(VENV)/bin/python benchmarks/render.py
	$(VENV)/bin/python benchmarks/ingest.py
	$(VENV)/bin/python benchmarks/cross_validation.py
	$(VENV)/bin/python benchmarks/emotion.py
	$(VENV)/bin/python benchmarks/units.py
	$(VENV)/bin/python benchmarks/ingest_vendor.py
	$(VENV)/bin/python benchmarks/scaling.py
	$(VENV)/bin/python benchmarks/page_faults.py
	$(VENV)/bin/python benchmarks/many_recordings.py
	$(VENV)/bin/python benchmarks/saliency_metrics.py
	$(VENV)/bin/python benchmarks/ridge.py
	$(VENV)/bin/python benchmarks/salicon.py
	$(VENV)/bin/python benchmarks/probe_features.py
	$(VENV)/bin/python benchmarks/large_report.py

# The constraints pin every package to the version that was tested; without them the lower bounds of pyproject.toml hold.
$(READY): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
