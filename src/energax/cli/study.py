"""`energax reproduce`: the papers' tables and figures, listed and run."""

from __future__ import annotations

import sys
from pathlib import Path

from energax.checks import check_choice
from energax.cli.run_folder import check_free
from energax.cli.show import print_table

__all__ = ["list_studies", "run_study"]


def list_studies() -> int:
    """Print the studies; JAX stays asleep."""
    from energax.papers import STUDIES

    rows = [(name, study.title, study.source, str(study.cost)) for name, study in STUDIES.items()]
    print_table(("name", "what", "source", "cost"), rows)
    return 0


def run_study(name: str, *, out: Path | None, scale: str) -> int:
    """Run a study into a folder of its own."""
    from energax.cli.device import prepare
    from energax.papers import STUDIES

    study = STUDIES[check_choice("reproduce", "NAME", name, STUDIES)]
    folder = Path("runs") / name if out is None else out
    if study.kept is None or not (folder / study.kept).is_file():
        check_free("reproduce", folder)
    prepare()
    folder.mkdir(parents=True, exist_ok=True)
    path = study.run(folder, scale, lambda text: print(text, file=sys.stderr, flush=True))
    table = folder / "table.md"
    if table.exists():
        print(table.read_text(encoding="utf-8"))
    print(f"Open {path}")
    return 0
