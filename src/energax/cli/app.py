"""The program: importing the commands adds them to it."""

from __future__ import annotations

from energax.cli.commands import app, judge, make, see, use

__all__ = ["app", "judge", "make", "see", "use"]
