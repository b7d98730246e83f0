"""The page stands alone, trusts no text, says what was found, and is written whole or not at all."""

import base64
import errno
import io
import os
import re
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from energax.checks import InputError
from energax.report import build
from energax.report.page import _verdict
from tests.report.conftest import COLUMNS, HOSTILE


class Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def sections(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


@pytest.fixture(scope="module")
def reports(table_report, image_report):
    return {"table": table_report.read_text("utf-8"), "images": image_report[0].read_text("utf-8")}


@pytest.mark.parametrize("name", ["table", "images"])
def test_nothing_is_fetched(name, reports):
    page = Page(reports[name])
    reached = [
        value
        for _, attrs in page.tags
        for key, value in attrs.items()
        if key in ("src", "href", "srcset", "action", "poster")
    ]
    assert len(reached) > 10
    assert [value for value in reached if not value.startswith(("data:", "#"))] == []
    assert not re.search(r"https?:|@import|url\(", reports[name])
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    anchors = {value[1:] for value in reached if value.startswith("#")}
    assert anchors == set(page.sections)


def test_text_from_outside_is_only_text(reports):
    page = Page(reports["table"])
    assert {tag for tag, _ in page.tags} & {"script", "iframe", "object"} == set()
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert HOSTILE in page.text  # shown for what it is: heading, configuration, environment
    assert COLUMNS[0] in page.text
    assert reports["table"].count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert "alert(1)</script>" not in reports["table"]


def test_every_section_is_there(reports):
    every = [
        "training",
        "samples",
        "annealing",
        "denoising",
        "inpainting",
        "neighbours",
        "energies",
        "configuration",
    ]
    assert Page(reports["images"]).sections == every
    assert Page(reports["table"]).sections == [name for name in every if name != "inpainting"]


def test_pictures_come_at_twice_their_size_in_both_themes(reports):
    tags = Page(reports["images"]).tags
    pictures = [attrs for tag, attrs in tags if tag == "img"]
    dark = [attrs["srcset"] for tag, attrs in tags if tag == "source"]
    assert len(pictures) == len(dark) == 10
    for light, other in zip(pictures, dark, strict=True):
        assert light["alt"]
        sizes = set()
        for address in (light["src"], other):
            image = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
            sizes.add(image.size)
        assert light["src"] != other
        ((width, height),) = sizes
        assert abs(width - 2 * int(light["width"])) <= 1
        assert abs(height - 2 * int(light["height"])) <= 1


def test_heading_says_what_and_how_good(reports):
    text = Page(reports["table"]).text
    assert "1,000 training rows, 500 held out, 3 columns" in text
    assert "3 s" in text
    assert "1 at the end, 1.5 on held-out rows" in text
    assert "level with it" in text or "level elsewhere" in text
    assert '"objective": "denoising"' in text


def test_progress_is_told(image_report):
    lines = image_report[1]
    assert any(line.startswith("sampling 64 chains: step") for line in lines)
    assert lines[-1] == "drawing"
    assert len(lines) < 30


def test_same_seed_same_file(table_arguments, table_report, tmp_path):
    again = build(tmp_path / "again.html", **table_arguments)
    assert again.read_bytes() == table_report.read_bytes()


def test_a_model_that_loses_every_chain_is_still_reported(table_arguments, tmp_path):
    arguments = {**table_arguments, "model": lambda x: -1e4 * jnp.sum(x**2), "history": []}
    page = Page(build(tmp_path / "report.html", **arguments).read_text("utf-8"))
    assert page.sections == ["denoising", "energies", "configuration"]
    assert "256 of 256 ran away" in page.text


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ([1, 1, 1, 1], "better than it at every σ measured"),
        ([-1, -1, -1, -1], "worse than it at every σ measured"),
        ([0, 0, 0, 0], "level with it at every σ measured"),
        ([0, 1, 1, -1], "better at σ 0.2 to 0.3, worse at σ 0.4, level elsewhere"),
        ([1, -1, -1, 1], "better at σ 0.1 and 0.4, worse at σ 0.2 to 0.3"),
    ],
)
def test_verdict_in_words(signs, said):
    assert _verdict(np.array([0.1, 0.2, 0.3, 0.4]), np.array(signs)) == said


def test_a_failed_write_leaves_the_old_file(table_arguments, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("energax.report.write.measure", lambda **given: None)
    monkeypatch.setattr("energax.report.write.render", lambda found, **given: "new")
    with pytest.raises(InputError, match="cannot write"):
        build(path, **table_arguments)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_folder_is_refused_before_any_work(table_arguments, tmp_path):
    with pytest.raises(InputError, match="existing folder"):
        build(tmp_path / "no" / "report.html", **table_arguments)
