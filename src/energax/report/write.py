"""The report: everything is measured, then drawn, then written, each in its own module.

    measure   numbers and rows, no drawing            →  `Measurements`
    figures   one figure per statement, no numbers    →  PNG
    page      words, tables and the template          →  one HTML file

The file stands alone: pictures and style are inside it and its own policy forbids the browser
to fetch anything. It is replaced only by a whole new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from energax.checks import InputError, check
from energax.config import RunConfig
from energax.data import Dataset, Pipeline
from energax.files import write_whole
from energax.report.findings import Finding
from energax.report.measure import measure
from energax.report.page import render
from energax.typing import Model

__all__ = ["build"]


def build(
    path: Path | str,
    *,
    config: RunConfig,
    model: Model,
    preprocessing: Pipeline | None,
    dataset: Dataset,
    history: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    seed: int,
    findings: Sequence[Finding] = (),
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Measure a trained energy and write what was found as one self-contained HTML file.

    Parameters
    ----------
    path
        The file to write; its folder must exist.
    config
        The configuration the model was trained with: its objective's noise levels and its
        sampler decide what is measured.
    model
        The energy, on events in model units.
    preprocessing
        The transform from the data's units to the model's; None for none.
    dataset
        The data; everything is judged on its held-out rows.
    history
        The records of `Fit.history`; may be empty.
    about
        Plain facts for the heading: `steps` made, `seconds` of training, and `environment`, a
        mapping of versions (those of this process if absent). Other entries are not shown.
    seed
        Decides the report's own draws: same seed, same file.
    findings
        What was found of the model before, by `energax evaluate`: a section each, after the report's own.
    progress
        Called with a line of text as the work goes on.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the model has no energy, does not fit the data, or the file cannot be written.
    """
    path = Path(path)
    check(path.parent.is_dir(), "report", "path", "a file in an existing folder", str(path))
    say = progress or (lambda text: None)
    found = measure(
        config=config,
        model=model,
        preprocessing=preprocessing,
        dataset=dataset,
        history=history,
        seed=seed,
        progress=say,
    )
    say("drawing")
    text = render(found, config=config, dataset=dataset, about=about, seed=seed, findings=findings)
    try:
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"report: cannot write {path}: {error.strerror or error}.") from error
    return path
