"""A configuration becomes a sampler: of a noise-conditional model, three, with one law."""

import jax
import numpy as np
import pytest

import energax as ex
from energax.config import RunConfig, replace
from energax.energies import GaussianMixture, Smoothings
from energax.options import OBJECTIVES, PAIRED
from energax.tasks import generate, way
from energax.tasks.way import SAMPLERS
from energax.testing import assert_mean

# Asymmetric, with a small mode that only a start from far away can weigh.
MIXTURE = GaussianMixture([0.7, 0.3], [[-1.0, 0.5], [2.0, -1.0]], 0.04 * np.eye(2))
CONFIG = replace(
    RunConfig(),
    {
        "objective": "noise-conditional",
        "objective.sigma_min": 0.05,
        "objective.sigma_max": 20.0,
        "objective.levels": 30,
        "sampler.hold": 100,
        "sampler.anneal": 300,
        "sampler.cool": 200,
    },
)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_of_a_noise_conditional_model_goes_down_its_ladder(sampler):
    the_way = way(CONFIG, sampler)
    name, levels = the_way.schedule
    assert name == "noise"
    assert len(levels) == the_way.horizon
    assert np.all(np.diff(levels) <= 0)
    np.testing.assert_allclose(levels[[0, -1]], [20.0, 0.05], rtol=1e-5)
    assert the_way.told
    # Steps are evaluations of the model, the last denoises.
    assert the_way.horizon == {"annealed": 601, "reverse-diffusion": 601, "probability-flow": 30}[sampler]


def test_correctors_share_the_evaluations_and_the_prior_knows_the_data():
    assert way(CONFIG, "reverse-diffusion", corrector_steps=2, snr=0.1).horizon == 601
    for sampler in ("reverse-diffusion", "probability-flow"):
        assert way(CONFIG, sampler, data_scale=15.0).start == pytest.approx(25.0)
    assert way(CONFIG).start == 20.0


@pytest.mark.parametrize("sampler", SAMPLERS[1:])
def test_the_law_is_the_models(sampler, key):
    the_way = way(CONFIG, sampler, data_scale=1.6)
    n = 64 * 100
    x = generate(
        Smoothings(MIXTURE), n, key=key, sampler=the_way.sampler, noise_max=the_way.start, center=0.0
    )
    truth = np.asarray(MIXTURE.sample(jax.random.fold_in(key, 1), 500_000))

    def moments(x):
        return np.stack([x[:, 0] > 0.5, x[:, 1], x[:, 0] * x[:, 1]], 1)

    got = moments(x).reshape(64, 100, 3).mean(1)
    assert_mean(got, moments(truth).mean(0), "weight of a mode, means, products", allowance=0.03)


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o != "noise-conditional"])
def test_other_objectives_refuse_what_must_be_told_the_noise(objective):
    pair = {objective: energy for energy, objective in PAIRED.items()}
    energy = {"energy": pair[objective]} if objective in pair else {}
    levels = {"energy.levels": 2} if pair.get(objective) == "multigrid" else {}
    config = replace(RunConfig(), {"objective": objective, **energy, **levels})
    assert way(config, "annealed").horizon > 0
    sentence = (
        f"sampler must be 'annealed' .* noise-conditional\\); got 'probability-flow' for {objective}\\."
    )
    with pytest.raises(ex.InputError, match=sentence):
        way(config, "probability-flow")
    with pytest.raises(ex.InputError, match=r"did you mean 'probability-flow'\?"):
        way(config, "probability-fow")
