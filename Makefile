# make demo   predict on the photos in examples/photos with the weights inside the package; pictures in demo/
# make test   lint, types and tests
# make docs   the documentation as a site; open site/index.html
# Each sets up .venv by itself; python 3.11 or newer is all that has to be there.

.DEFAULT_GOAL := help
.PHONY: help demo test docs

PYTHONS := python3.11 python3
BIN := .venv/bin
STAMP := .venv/installed
EXTRAS := train,eval,detect,video,synthetic,exr,formats,curate,export

help:
	@sed -n '1,4s/^# //p' Makefile

# One stamp for all commands: packages are installed once, and again only when one of these two files changes.
# A python3.11 that is found but does not start (a version manager's shim) is passed over.
$(STAMP): pyproject.toml constraints.txt
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then echo "error: Python 3.11 or newer is needed (python3.11 or python3)" >&2; exit 1; fi; \
	echo "setting up .venv with $$($$python --version)"; \
	$$python -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip setuptools
	$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --group test --group docs --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP)
	rm -rf demo
	$(BIN)/opensapiens predict examples/photos --output demo
	@echo && echo "written:" && find demo -type f | sort

# In four processes: after OpenVINO and ONNX Runtime have run in one, starting worker processes from it has crashed, and
# what Ray leaves in one can end it.
WITH_WORKERS := tests/recipes tests/training tests/docs tests/synthetic
WITH_PROGRAMS := tests/checkpoints tests/cli tests/inference
WITH_RAY := tests/curation

test: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest $(WITH_WORKERS) tests/test_*.py
	$(BIN)/python -m pytest $(WITH_PROGRAMS)
	$(BIN)/python -m pytest $(WITH_RAY)
	$(BIN)/python -m pytest $(addprefix --ignore=,$(WITH_WORKERS) $(WITH_PROGRAMS) $(WITH_RAY) $(wildcard tests/test_*.py))

# Broken links, anchors and names in the API reference are errors.
docs: $(STAMP)
	$(BIN)/zensical build --clean --strict
