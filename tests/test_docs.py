"""The documents say what is: the table is complete, its names and tests exist, the README's code runs."""

import importlib
import re

import pytest

import energax as ex
from tests.conftest import ROOT

TABLE = (ROOT / "docs" / "papers.md").read_text()
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ") and "tests/" in line]


def resolve(name):
    value = ex
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(f"{value.__name__}.{part}")
    return value


def public():
    """What must stand in the table: concrete things that implement somebody's equation."""
    for room, skip in {
        "objectives": {"Batch", "Biased", "Chains", "Density", "Objective", "Player", "Target"},
        "samplers": {"Masked", "Observer", "Run", "Sampler", "Schedule", "observers", "run", "schedules"},
        "energies": {"Energy", "Normalised"},
        "evaluation": set(),
        "tasks": {"named_mask"},
    }.items():
        for name in importlib.import_module(f"energax.{room}").__all__:
            if name not in skip:
                yield f"{room}.{name}"


@pytest.mark.parametrize("name", public())
def test_everything_public_stands_in_the_table(name):
    assert f"`{name}`" in TABLE or f"`{name}." in TABLE


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_things_that_exist(row):
    rooms = "objectives|samplers|energies|evaluation|tasks|derivatives|papers"
    names = re.findall(rf"`((?:{rooms})\.[A-Za-z_.0-9]+)`", row)
    for name in names:
        assert resolve(name) is not None
    for path, test in re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", row):
        assert f"def {test}(" in (ROOT / path).read_text()
    assert re.search(r"`tests/[a-z_/]+\.py::test_\w+`", row)


def test_every_study_stands_in_the_table():
    for study in ex.papers.STUDIES.values():
        assert f"`papers.{study.module}`" in TABLE


def test_the_readmes_python_runs(monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    small = re.sub(r"steps=\d+", "steps=20", code)
    assert small != code
    names = {}
    exec(compile(small, "README.md", "exec"), names)
    assert names["samples"].shape == (64, 64)


def quickstart():
    text = (ROOT / "docs" / "quickstart.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_quickstarts_python_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(quickstart()[0], "quickstart.md", "exec"), names)
    assert names["samples"].shape == (100, 3)


@pytest.mark.study  # half a minute of checkers that have tests of their own
def test_the_quickstarts_checkers_pass(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(quickstart()), "quickstart.md", "exec"), {})


def test_links_between_documents_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name} links to {link}"
