# make demo   predict on the photos in examples/photos with the weights inside the package; pictures in demo/
# make test   lint, types and tests
# Each sets up .venv by itself; python 3.11 or newer is all that has to be there.

.DEFAULT_GOAL := help
.PHONY: help demo test

BIN := .venv/bin
STAMP := .venv/installed
EXTRAS := train,eval,detect,video,synthetic,exr,curate,export

help:
	@sed -n '1,3s/^# //p' Makefile

# One stamp for both commands: packages are installed once, and again only when one of these two files changes.
# A python3.11 that is found but does not start (a version manager's shim) is passed over.
$(STAMP): pyproject.toml constraints.txt
	@for python in python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then echo "error: Python 3.11 or newer is needed (python3.11 or python3)" >&2; exit 1; fi; \
	echo "setting up .venv with $$($$python --version)"; \
	$$python -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip setuptools
	$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --group test --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP)
	rm -rf demo
	$(BIN)/opensapiens predict examples/photos --output demo
	@echo && echo "written:" && find demo -type f | sort

# In three processes: with the native runtimes of Warp, Ray and OpenVINO in one, the suite crashed in the renderer once.
test: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/synthetic
	$(BIN)/python -m pytest tests/curation
	$(BIN)/python -m pytest --ignore=tests/synthetic --ignore=tests/curation
