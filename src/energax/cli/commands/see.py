"""`energax reproduce`, `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from energax.cli.commands import SEE, command


@command(SEE)
def reproduce(
    name: str | None = None,
    /,
    *,
    list_: Annotated[bool, Parameter(name="--list", show_default=False)] = False,
    out: Path | None = None,
    scale: Literal["smoke", "cpu", "paper"] = "cpu",
) -> int:
    """Reproduce a table or a figure of a paper.

    For example:

        energax reproduce --list
        energax reproduce mdsm-single-noise --scale smoke

    Parameters
    ----------
    name
        Which study.
    list_
        List the studies, with their sources and costs.
    out
        The folder to write to, which must not be in use. [default: runs/<name>]
    scale
        smoke (under a minute, shows only that it works), cpu (what two cores answer in minutes)
        or paper (the paper's own data and sizes).
    """
    from energax.cli.study import list_studies, run_study

    return list_studies() if list_ or name is None else run_study(name, out=out, scale=scale)


@command(SEE)
def demo(*, out: Path | None = None) -> int:
    """Train on the bundled digits, then sample, denoise, inpaint, score and report.

    About a minute on two cores. The last line says what to open.

    For example:

        energax demo

    Parameters
    ----------
    out
        The run folder to make. [default: the first free one of runs/demo, runs/demo-2, …]
    """
    from energax.cli.demo import demo

    return demo(out)
