"""How long a call takes, by processor and by clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

__all__ = ["seconds_of"]


def seconds_of(call: Callable[[], Any], least: float) -> tuple[float, float]:
    """Return the seconds of one call by processor and by clock, over as many calls as last `least`."""
    calls, worked, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - began < least or not calls:
        jax.block_until_ready(call())
        calls += 1
    return (time.process_time() - worked) / calls, (time.perf_counter() - began) / calls
