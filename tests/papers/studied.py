"""A study run whole, in small."""

import json

from energax.papers import STUDIES


def studied(name, out):
    """Run a study in small; return its facts, its files being there and agreeing."""
    told = []
    figure = STUDIES[name].run(out, "smoke", told.append)
    assert told
    assert figure.stat().st_size > 10_000
    facts = json.loads((out / "result.json").read_text())
    assert all(len(row) == len(facts["columns"]) for row in facts["rows"])
    assert facts["verdict"] in (out / "table.md").read_text()
    return facts
