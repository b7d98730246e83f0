"""One page that shows what a model learned, measured on rows it never saw."""

from energax.report.write import build

__all__ = ["build"]
