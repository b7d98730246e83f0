"""What `energax evaluate` found of a run, kept beside it until the report shows it.

    evaluation/NAME.json         title, lines, caption, facts
    evaluation/NAME.png          the picture in ink for a light page
    evaluation/NAME-dark.png     the same for a dark one

The JSON file is written last: a finding is there whole or not at all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from energax.checks import InputError
from energax.files import write_whole
from energax.report.figures import Picture, encode
from energax.report.figures.style import Ink

__all__ = ["Finding", "drawn", "keep", "kept"]

PNG = "data:image/png;base64,"
THEMES = {"light": "", "dark": "-dark"}


@dataclass(frozen=True)
class Finding:
    """One thing that was found of a model.

    Parameters
    ----------
    name
        Of its files, and of its section on the page.
    title
        Of that section.
    lines
        A name and a text each: the numbers, with their errors and verdicts.
    picture
        See `drawn`; None for none.
    caption
        Of the picture.
    facts
        Everything measured, as JSON values.
    """

    name: str
    title: str
    lines: Sequence[tuple[str, str]]
    picture: Picture | None = None
    caption: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def drawn(draw: Callable[[Ink], Figure]) -> Picture:
    """Return the picture that `draw` makes in the ink it is given, in both of the report's themes."""
    return encode(lambda _, ink: draw(ink), None)


def keep(finding: Finding, folder: Path) -> Path:
    """Write a finding into a folder, which is made if need be; return its first file to look at.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    told = {
        "title": finding.title,
        "lines": [list(line) for line in finding.lines],
        "caption": finding.caption,
        "facts": dict(finding.facts),
        "size": None if finding.picture is None else [finding.picture.width, finding.picture.height],
    }
    text = json.dumps(told, indent=2, ensure_ascii=False, default=_plain) + "\n"
    path = folder / f"{finding.name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        for theme, ending in THEMES.items():
            picture = folder / f"{finding.name}{ending}.png"
            picture.unlink(missing_ok=True)
            if finding.picture is not None:
                data = base64.b64decode(getattr(finding.picture, theme).removeprefix(PNG))
                write_whole(picture, lambda part, data=data: part.write_bytes(data))
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"evaluate: cannot write into {folder}: {error.strerror or error}.") from error
    return path if finding.picture is None else folder / f"{finding.name}.png"


def kept(folder: Path) -> list[Finding]:
    """Return the findings in a folder, by name; none if there is no such folder.

    Raises
    ------
    InputError
        If one is damaged.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            picture = None
            if told["size"] is not None:
                themes = {
                    theme: PNG + base64.b64encode((folder / f"{path.stem}{ending}.png").read_bytes()).decode()
                    for theme, ending in THEMES.items()
                }
                width, height = told["size"]
                picture = Picture(**themes, width=width, height=height)
            lines = [(str(name), str(line)) for name, line in told["lines"]]
            found.append(
                Finding(path.stem, told["title"], lines, picture, told["caption"], told.get("facts", {}))
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "delete it, or evaluate again"
            raise InputError(f"report: {path} is damaged ({type(error).__name__}): {hint}.") from None
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
