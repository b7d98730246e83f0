"""What an evaluation found comes back as it was kept, picture and all; damage is told of."""

import numpy as np
import pytest

from energax.checks import InputError
from energax.report.figures.style import new_figure
from energax.report.findings import Finding, drawn, keep, kept


def curve(ink):
    figure = new_figure(1.0)
    figure.subplots().plot([0, 1], color=ink.accent)
    return figure


def test_it_comes_back_as_it_was_kept(tmp_path):
    lines = [("FID", "3.1 ± 0.2"), ("κ", "½")]
    finding = Finding("samples", "Samples", lines, drawn(curve), "A line.", {"fid": np.float64(3.1)})
    shown = keep(finding, tmp_path / "evaluation")
    assert shown.read_bytes().startswith(b"\x89PNG")
    (back,) = kept(tmp_path / "evaluation")
    assert back == finding
    again = Finding("samples", "Samples", lines)
    keep(again, tmp_path / "evaluation")  # of an older picture nothing is left
    assert kept(tmp_path / "evaluation") == [again]
    assert [p.name for p in (tmp_path / "evaluation").iterdir()] == ["samples.json"]
    assert kept(tmp_path / "nothing") == []


def test_damage_is_told_of(tmp_path):
    keep(Finding("samples", "Samples", [], drawn(curve)), tmp_path)
    (tmp_path / "samples-dark.png").unlink()
    with pytest.raises(InputError, match=r"samples\.json is damaged .*evaluate again"):
        kept(tmp_path)
    (tmp_path / "samples.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        kept(tmp_path)
