# Two commands do all the set-up, each in an environment of its own; see README.md.
PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check types docs clean

demo: .venv-demo/done
	.venv-demo/bin/energax demo

test: .venv-test/done
	.venv-test/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

# Everything CI asks for besides the tests.
check: .venv-test/done
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/lint-imports

# Apart from check, since pyright fetches its own engine when it first runs.
types: .venv-test/done
	.venv-test/bin/pyright --pythonpath .venv-test/bin/python

docs: .venv-docs/done
	.venv-docs/bin/mkdocs build --strict

.venv-demo/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python $(PIP) --constraint constraints.txt --editable .
	touch $@

.venv-test/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP) --constraint constraints.txt --editable '.[test]'
	touch $@

.venv-docs/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP) --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv-demo .venv-test .venv-docs .cache site
