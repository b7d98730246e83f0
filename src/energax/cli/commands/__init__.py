"""The commands' words: their options and their help; the work is done in the modules they import.

    make     train, distil
    use      sample, denoise, inpaint, restore, compose, score, info, report
    judge    test, compare, evaluate, outliers
    see      reproduce, demo

Nothing heavier than the configuration's dataclasses is imported here, so that every `--help`
answers at once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter, Token, convert

from energax._version import __version__

__all__ = ["JUDGE", "MAKE", "SEE", "USE", "Run", "Seed", "app", "command"]


def _as_spelled(type_: Any, tokens: Sequence[Token]) -> Any:
    """Return an argument as its type; of a whole number digits alone, which nothing rounds."""
    if type_ is int:
        for token in tokens:
            if not re.fullmatch("[+-]?[0-9]+", token.value):
                raise ValueError(f'unable to convert "{token.value}" into int')
    return convert(type_, tokens)


app = App(
    name="energax",
    version=__version__,
    help="""Energy-based models, p(x) ∝ exp(−E(x)): train one, sample it, use it, judge it.

A first session, on data that comes with the program:

    energax train digits --out runs/digits
    energax sample runs/digits -n 64
    energax report runs/digits

or all of it at once: energax demo

Exit status: 0 all is well; 2 a mistake in what was asked, which one sentence
names; 3 a fit that diverged; 130 Ctrl-C; 1 a machine that would not go on.""",
    help_format="plaintext",
    default_parameter=Parameter(negative=(), converter=_as_spelled),
    suppress_keyboard_interrupt=False,
)
MAKE, USE, JUDGE, SEE = (
    Group.create_ordered(name) for name in ("Make a model", "Use a model", "Judge", "See it work")
)

app["--help"].group = app["--version"].group = Group.create_ordered("Options")

Run = Annotated[Path, Parameter(help="A run folder: what `energax train --out` made.")]
Seed = Annotated[int, Parameter(help="Decides everything random.")]


def command(group: Group, name: str | None = None) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add a function to the commands (by its own name if no other is given), its docstring being the help."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        text, rule, parameters = inspect.cleandoc(function.__doc__ or "").partition(
            "\nParameters\n----------\n"
        )
        # Paragraphs are laid out anew by the terminal's width; indented blocks stand as they are.
        text = re.sub(r"(?<=\S)\n(?=\S)", " ", text)
        parameters = re.sub(r"(?<=\S)\n {4}(?=\S)", " ", re.sub(r"(?m)^(\S+)\n {4}", r"\1\n\t", parameters))
        function.__doc__ = text + rule + parameters.replace("\t", " " * 4)
        return app.command(function, group=group, name=name)

    return register
