"""The option `energy.base` puts a network on what it names, made of rows."""

import jax
import numpy as np
import pytest

from energax.checks import InputError
from energax.config import RunConfig, replace
from energax.energies import MLP, WithRadialBase
from energax.training.bases import network_options, on_base

ROWS = np.random.default_rng(0).normal(1.0, 2.0, (50, 3)).astype(np.float32)
PLAIN = replace(RunConfig(), {"energy.width": 4, "energy.depth": 1, "objective.sigma_0": 0.3})
RADIAL = replace(PLAIN, {"energy.base": "radial"})
FIELD = replace(PLAIN, {"energy": "mlp-field", "objective": "sliced"})


@pytest.mark.parametrize("config", [PLAIN, RADIAL, FIELD])
def test_the_network_is_made_of_all_options_but_the_base(config):
    options = network_options(config)
    assert {**vars(config.energy_options), **options} == vars(config.energy_options)
    assert set(vars(config.energy_options)) - set(options) == (set() if config is FIELD else {"base"})


def test_a_network_stands_on_what_is_asked_for():
    network = MLP((3,), **network_options(RADIAL), key=jax.random.key(0))
    assert on_base(network, PLAIN, ROWS) is network
    assert on_base(network, FIELD, ROWS) is network
    based = on_base(network, RADIAL, ROWS)
    assert isinstance(based, WithRadialBase)
    assert based.energy is network
    assert based.sigma_0 == 0.3
    np.testing.assert_allclose(based.mean, ROWS.mean(0), rtol=1e-6)
    np.testing.assert_allclose(np.exp(based.log_scale), np.sqrt(ROWS.var(0).mean()), rtol=1e-6)


def test_a_base_that_an_objective_does_not_learn_with_is_refused():
    wanted = r"energy.base must be 'none' for the objective denoising \('radial' is of 'multiscale'\)"
    with pytest.raises(InputError, match=wanted):
        network_options(replace(RADIAL, {"objective": "denoising"}))
