"""The one place where the command line sets JAX up: its device, and its cache of programs."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

from energax.checks import InputError
from energax.devices import cores

__all__ = ["cache_folder", "prepare"]


def cache_folder() -> Path:
    """Return where compiled programs are kept."""
    from energax.data import sources

    return sources.cache_folder() / "xla"


def prepare(device: str = "auto", owner: str = "train") -> None:
    """Choose the device, let each core of a CPU be one, and turn on the persistent cache; call this first.

    Parameters
    ----------
    device
        "auto", "cpu", "gpu" or "tpu".
    owner
        Who asks, for the refusing sentence.

    Raises
    ------
    InputError
        If this machine has no such device.
    """
    import jax

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if usable:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Small programs too: a command compiles dozens of them before it is at work.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        # The cache is a convenience: that it is full or damaged costs time and no words.
        warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        # Chains are split over them (`energax.devices`). Once JAX has started, its devices are what they are.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores())
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{owner}: --device must be one that JAX can use here; got {reason}.") from None
    if device not in ("auto", found):
        raise InputError(
            f"{owner}: --device must be one that JAX can use here, which is {found!r}; got {device!r}."
        )
