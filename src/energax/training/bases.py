"""What a network stands on: the one place that reads the option `energy.base`."""

from __future__ import annotations

import dataclasses
from typing import Any

from energax.checks import check
from energax.config import RunConfig
from energax.energies import WithRadialBase
from energax.energies.base import Energy
from energax.typing import ArrayLike

__all__ = ["network_options", "on_base"]


def network_options(config: RunConfig) -> dict[str, Any]:
    """Return the options of the energy that its network's constructor takes: all but the base.

    Raises
    ------
    InputError
        For a base that the objective does not learn with.
    """
    options = dataclasses.asdict(config.energy_options)
    options.pop("base", None)
    fits = not _radial(config) or config.objective == "multiscale"
    wanted = f"'none' for the objective {config.objective} ('radial' is of 'multiscale')"
    check(fits, "train", "energy.base", wanted, "'radial'")
    return options


def on_base(network: Energy, config: RunConfig, x: ArrayLike) -> Energy:
    """Return the network on the base that the configuration asks for.

    Parameters
    ----------
    network
        The network, made of `network_options`.
    config
        Names the base, and σ₀ in its objective's options.
    x
        Rows as the model sees them, shape (n, *event), that the base starts from; 1,000 will do: a pixel
        that none of them shows has a mean of its own to learn.
    """
    if not _radial(config):
        return network
    return WithRadialBase.from_data(network, x, sigma_0=config.objective_options.sigma_0)


def _radial(config: RunConfig) -> bool:
    return getattr(config.energy_options, "base", "none") == "radial"
