"""A configuration becomes a sampler: of a noise-conditional model, three, with one law."""

import jax
import numpy as np
import pytest

import energax as ex
from energax.config import RunConfig, replace
from energax.energies import Gaussian, GaussianMixture, Smoothings
from energax.options import OBJECTIVES, PAIRED
from energax.samplers import HMC
from energax.tasks import anneal, generate, warm_up, way
from energax.tasks.way import CORRECTED, OF_NOISE
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


@pytest.mark.parametrize("sampler", ["annealed", *OF_NOISE])
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


@pytest.mark.parametrize("sampler", OF_NOISE)
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


NARROW = Gaussian([3.0, -1.0], [[0.01, 0.09], [0.09, 1.0]])  # Langevin steps of 0.2 fly off it
SHORT = {"objective": "score-matching", "sampler.hold": 100, "sampler.anneal": 200, "sampler.cool": 100}


@pytest.mark.parametrize("sampler", CORRECTED)
def test_a_corrected_sampler_finds_its_step_and_the_law(sampler, key):
    the_way = way(replace(RunConfig(), SHORT), sampler, warmup=200 if sampler == "nuts" else 500)
    assert the_way.horizon == {"mala": 400, "hmc": 40, "nuts": 40}[sampler]
    each = 6 if sampler == "nuts" else 25  # all chains wait for the longest path
    n = 64 * each
    warmed, start = warm_up(the_way, NARROW, n, key=key, center=0.0)
    assert warmed.horizon == the_way.horizon
    x = generate(NARROW, n, key=key, sampler=warmed.sampler, start=start, final_jump=False)
    y = (x - np.asarray(NARROW.mean)).reshape(64, each, 2)
    moments = np.concatenate([y, y**2, (y[..., :1] * y[..., 1:])], -1).mean(1)
    scale = np.array([0.1, 1.0, 0.01, 1.0, 0.1])
    wanted = np.array([0.0, 0.0, 0.01, 1.0, 0.09])
    assert_mean(moments / scale, wanted / scale, "means, variances, covariance", allowance=0.03)


def test_uncorrected_steps_of_the_same_size_fly_off(key):
    the_way = way(replace(RunConfig(), SHORT))
    with pytest.warns(UserWarning, match="64 of 64 chains left"):
        generate(NARROW, 64, key=key, sampler=the_way.sampler, center=0.0, final_jump=False)


def test_an_anneal_can_be_corrected_and_needs_no_warm_up():
    config = replace(RunConfig(), {"sampler.hold": 100, "sampler.anneal": 300, "sampler.cool": 200})
    plain, mala, nuts = (way(config, sampler) for sampler in ("annealed", "mala", "nuts"))
    assert (mala.horizon, nuts.horizon, nuts.warmup) == (plain.horizon, plain.horizon // 10, 0)
    np.testing.assert_allclose(mala.schedule[1][:400], plain.schedule[1][:400])
    np.testing.assert_allclose(nuts.schedule[1][[0, 9]], plain.schedule[1][[0, 99]])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"objective": "noise-conditional", "objective.sigma_max": 5.0, "objective.levels": 9}, "noise"),
        ({"objective": "ratio"}, "counted"),
        ({"objective": "multigrid-cd", "energy": "multigrid"}, "each scale"),
        ({"objective": "persistent-cd", "energy": "bernoulli-rbm"}, "counted"),
    ],
)
def test_what_has_no_plain_energy_on_the_reals_refuses_to_be_corrected(changes, kind):
    with pytest.raises(ex.InputError, match=rf"sampler must be 'annealed'.* for .*{kind}.*; got 'hmc'"):
        way(replace(RunConfig(), changes), "hmc")


@pytest.mark.parametrize("sampler", ["annealed", "mala", "hmc"])
def test_walls_reflect_whatever_moves(sampler, key):
    law = ex.energies.TruncatedGaussian([0.9, 0.2], [0.5, 0.7], 0.0, 1.0)
    config = replace(RunConfig(), {**SHORT, "objective": "box", "sampler.epsilon": 0.05})
    the_way = way(config, sampler)
    draw_key, warm_key = jax.random.split(key)
    start = law.sample(draw_key, 64 * 64)
    if the_way.warmup:
        the_way, start = warm_up(the_way, law, len(start), key=warm_key, start=start)
    x = anneal(law, len(start), key=key, sampler=the_way.sampler, start=start, final_jump=False).x
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    truth = law.sample(jax.random.fold_in(key, 1), 1_000_000)
    groups = np.asarray(x, np.float64).reshape(64, -1, 2).mean(1)
    assert_mean(groups, np.asarray(truth.mean(0)), "means behind walls", allowance=0.005)


def test_a_step_that_rejects_everything_is_told_with_what_was_seen(key):
    with pytest.raises(
        ex.InputError, match=r"try a tenth of it.*got a mean acceptance of 0.*64 of 64 chains"
    ):
        generate(NARROW, 64, key=key, sampler=HMC(50.0, temperature=ex.samplers.schedules.constant(1.0, 20)))
