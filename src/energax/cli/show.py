"""`energax info`: a run in a page; plain lines when the output is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from energax.cli.distilled import Distilled
from energax.cli.run_folder import RunFolder
from energax.config import to_dict

__all__ = ["counted", "describe_log_z", "info", "print_table"]

TRUSTED = 100  # effective draws: with fewer, a few weights decide and the error is too small itself


def info(path: Path) -> int:
    """Say what a run is; see the help of `energax info`."""
    run = RunFolder.open(path, "info")
    config, facts = run.config, run.facts
    data, environment = facts.get("data", {}), facts.get("environment", {})
    records = _records(run)
    steps = run.steps

    status = facts.get("status", "unknown")
    if status in ("running", "created"):
        status = "running, or killed"
    if status != "finished":
        status += f" ({run.onward})"
    losses = [
        f"{name.replace('_', ' ')} {next(r[name] for r in reversed(records) if name in r):.4g}"
        for name in ("loss", "validation_loss")
        if any(name in r for r in records)
    ]
    event = "×".join(map(str, data.get("event_shape", [])))
    # A generator is told of by how it was made; its configuration is that of the run it was made from.
    distilled = Distilled.of(facts, str(path / "run.json"))
    made = {
        "objective": f"{config.objective} ({_options(config.objective_options)})",
        "steps": f"{steps:,} of {config.fit.steps:,}, batches of {config.fit.batch_size}, "
        f"learning rate {config.fit.learning_rate:g}",
    }
    lines = {
        "run": str(run.path),
        "status": status,
        **({} if distilled is None else {"generator": f"of the law of {distilled.run}"}),
        "data": f"{config.data}: {data.get('kind')}, {data.get('rows', 0):,} rows of {event} to train on, "
        f"{data.get('held_out', 0):,} held out",
        "preprocess": config.preprocess,
        "energy": f"{config.energy} ({_options(config.energy_options)})",
        "parameters": f"{facts.get('parameters', 0):,}",
        **(made if distilled is None else distilled.told()),
        "losses": ", ".join(losses) or "none yet",
        **_composed(run),
        **_log_z(run),
        **_health(records, facts),
        "time": f"started {facts.get('started')}, trained for {facts.get('seconds', 0):.0f} s",
        "with": ", ".join(f"{name} {value}" for name, value in environment.items()),
        "seed": str(config.seed if distilled is None else distilled.seed),
        "files": ", ".join(_files(run.path)),
    }
    print_table(("", ""), list(lines.items()))
    return 0


def _composed(run: RunFolder) -> dict[str, str]:
    """Return what the energy was made of, if it was composed."""
    found = run.facts.get("composed")
    if not found:
        return {}
    parts = [f"{w:g} × {path}" for w, path in zip(found["weights"], found["runs"], strict=True)]
    return {"composed": f"{' + '.join(parts)}, at temperature {found['temperature']:g}"}


def _log_z(run: RunFolder) -> dict[str, str]:
    """Return log Z as it was estimated after the training, if it was."""
    found = run.facts.get("log_normalizer")
    return {"log Z": describe_log_z(found)} if found else {}


def describe_log_z(found: dict[str, float]) -> str:
    """Say what an estimate of log Z is, and what it is worth."""
    worth = f"{found['effective']:,.0f} effective draws"
    doubt = ", too few to trust" if found["effective"] < TRUSTED else ""
    return f"{found['value']:.4f} ± {found['standard_error']:.2g} ({worth}{doubt})"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return how many there are, as in "1 row" and "2 rows"."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def _health(records: Sequence[dict[str, Any]], facts: dict[str, Any]) -> dict[str, str]:
    """Return what went wrong and what was done about it, if anything was."""
    from energax.training.rollback import told

    lines = {}
    back = [r for r in records if "rollback" in r]
    if back:
        lines["rollbacks"] = "; ".join(f"to step {r['step']:,}: {r['diagnosis']} ({told(r)})" for r in back)
    if facts.get("status") == "diverged" and "diagnosis" in facts:
        lines["diagnosis"] = facts["diagnosis"]
    return lines


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of words: a table on a terminal, aligned lines elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(show_header=any(header), box=None, padding=(0, 2, 0, 0))
        for i, name in enumerate(header):
            table.add_column(name, style="bold" if i == 0 else None, no_wrap=i == 0)
        for row in rows:
            table.add_row(*row)
        Console(markup=False, highlight=False).print(table)
        return
    lines = [header, *rows] if any(header) else list(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(header) - 1)]
    for line in lines:
        print("  ".join([*(word.ljust(w) for word, w in zip(line, widths, strict=False)), line[-1]]))


def _options(options: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in to_dict(options).items() if value is not None)


def _records(run: RunFolder) -> list[dict[str, Any]]:
    from energax.training.log import read_metrics

    return read_metrics(run.metrics) if run.metrics.is_file() else []


def _files(folder: Path) -> list[str]:
    """Return the files of the run with their sizes."""
    named = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        size = (
            sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
            if path.is_dir()
            else path.stat().st_size
        )
        unit = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
        named.append(f"{path.name}{'/' if path.is_dir() else ''} ({unit})")
    return named
