# The two commands are `make demo` and `make test`; each sets up all that it needs.
# `make PYTHON=/path/to/python3 …` when python3 on the PATH is not the one to start from.

PYTHON ?= python3

.PHONY: help demo test bench bench-pooler stories stories-grid setup docs clean django-suite psycopg-suite edge-suite protections

help:
	@echo "make demo   build, fill the demo site and serve it"
	@echo "make test   build and run every test"
	@echo "make bench  compare with other servers (about an hour and a half; see bench/README.md)"
	@echo "make bench-pooler   compare the pooler with PgBouncer (about half an hour)"
	@echo "make stories  which configuration a page wants, by canter tune, into docs/stories (ten minutes)"
	@echo "make stories-grid   likewise, compared with every configuration (half an hour)"
	@echo "make django-suite   Django's own tests through the pooler, compared with none (minutes)"
	@echo "make psycopg-suite  psycopg's own tests, likewise"
	@echo "make edge-suite     the httpwg tests of HTTP/2, sslyze, and h2spec where it is"
	@echo "make protections    takes each protection out of a copy and wants its test to fail (minutes)"
	@echo "make docs   write the reference pages anew"

demo:
	@$(PYTHON) tools/dev.py demo

test:
	@$(PYTHON) tools/dev.py test

django-suite:
	@$(PYTHON) tools/dev.py django-suite

psycopg-suite:
	@$(PYTHON) tools/dev.py psycopg-suite

edge-suite:
	@$(PYTHON) tools/dev.py edge-suite

protections: setup
	@.venv/bin/python tools/protections.py

setup:
	@$(PYTHON) tools/dev.py setup

bench:
	@$(PYTHON) bench/run.py

stories:
	@$(PYTHON) bench/stories.py

stories-grid:
	@$(PYTHON) bench/stories.py --grid

bench-pooler:
	@$(PYTHON) bench/pooler.py

docs:
	cargo xtask docs
	@.venv/bin/python tests/harness/manuals.py

clean:
	rm -rf target build .venv .venv-* bench/.work examples/reader/var
