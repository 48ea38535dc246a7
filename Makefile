# The two commands are `make demo` and `make test`; each sets up all that it needs.
# `make PYTHON=/path/to/python3 …` when python3 on the PATH is not the one to start from.

PYTHON ?= python3

.PHONY: help demo test bench setup docs clean

help:
	@echo "make demo   build, fill the demo site and serve it"
	@echo "make test   build and run every test"
	@echo "make bench  compare with other servers (about an hour; see bench/README.md)"
	@echo "make docs   write the reference pages anew"

demo:
	@$(PYTHON) tools/dev.py demo

test:
	@$(PYTHON) tools/dev.py test

setup:
	@$(PYTHON) tools/dev.py setup

bench:
	@$(PYTHON) bench/run.py

docs:
	cargo xtask docs

clean:
	rm -rf target build .venv .venv-* bench/.work examples/reader/var
