"""One page that shows what a model learned, measured on rows it never saw."""

from energax.report.build import build

__all__ = ["build"]
