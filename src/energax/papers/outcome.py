"""What a study ends with: a table, a picture, and a verdict in words, written into one folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Outcome", "bulleted", "write"]


@dataclass(frozen=True)
class Outcome:
    """What a study found.

    Parameters
    ----------
    columns, rows
        The table: a heading and one row per case; numbers are shown to three digits.
    verdict
        One sentence, or a few, computed from the numbers: what held and what did not.
    figure
        A matplotlib figure.
    facts
        Everything measured, as JSON values.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    verdict: str
    figure: Any
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The table in Markdown."""
        lines = [
            list(self.columns),
            ["---"] * len(self.columns),
            *[[_shown(v) for v in r] for r in self.rows],
        ]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bulleted(lines: Iterable[str]) -> str:
    """Return the sentences of a verdict as a list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def write(outcome: Outcome, out: Path) -> Path:
    """Write figure.png, table.md and result.json into `out`; return the figure's path."""
    (out / "table.md").write_text(f"{outcome.table}\n\n{outcome.verdict}\n", encoding="utf-8")
    facts = {
        "columns": list(outcome.columns),
        "rows": [[_plain(v) for v in row] for row in outcome.rows],
        "verdict": outcome.verdict,
        **outcome.facts,
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False, default=_plain)
    (out / "result.json").write_text(text + "\n", encoding="utf-8")
    path = out / "figure.png"
    outcome.figure.savefig(path, dpi=150)
    return path


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _shown(value: Any) -> str:
    value = _plain(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
