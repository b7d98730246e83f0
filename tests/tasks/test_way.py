"""A configuration becomes a sampler: of a noise-conditional model, three, with one law."""

import jax
import numpy as np
import pytest

import energax as ex
from energax.config import RunConfig, replace
from energax.energies import Gaussian, GaussianMixture, IsingGraph, Smoothings
from energax.objectives import Batch, PersistentContrastiveDivergence
from energax.options import OBJECTIVES, PAIRED
from energax.samplers import HMC, MALA, NUTS, BlockGibbs, Langevin, ParallelTempering
from energax.tasks import anneal, generate, warm_up, way
from energax.tasks.way import CORRECTED, OF_NOISE, chain
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


@pytest.mark.parametrize(
    ("named", "made"),
    [("auto", Langevin), ("langevin", Langevin), ("mala", MALA), ("hmc", HMC), ("nuts", NUTS)],
)
def test_the_chains_of_training_are_those_that_were_named(named, made):
    changes = {"objective": "persistent-cd", "objective.chain": named, "objective.step_size": 0.3}
    config = replace(RunConfig(), changes)
    moving = chain(config, 7)
    assert type(moving) is made
    assert moving.horizon == 7
    assert float(moving.step_size(0)) == pytest.approx(0.3)
    # What trained it draws from it.
    assert type(way(config).sampler) is made


def test_paths_of_training_have_an_end(key):
    steep = Gaussian([0.0, 0.0], 1e4 * np.eye(2))  # paths of 0.01 turn back after thousands of steps
    changes = {"objective": "persistent-cd", "objective.chain": "nuts"}
    batch = Batch(steep.sample(key, 8))
    objective = PersistentContrastiveDivergence(chain(replace(RunConfig(), changes)), 2, chains=8)
    _, state = objective.init(steep, batch, key, 8)
    batches = jax.tree.map(lambda a: a[None], batch)
    _, report = objective.refresh(steep, None, state, batches, key)
    assert float(report["leapfrog_steps"]) == 63
    assert float(report["acceptance"]) > 0.99


FAR = GaussianMixture([0.7, 0.3], [[-1.0, 0.5], [2.0, -1.0]], 0.09 * np.eye(2))
TEMPERATURES = (1.0, 3.0, 9.0, 27.0)
LONGER = {**SHORT, "sampler.hold": 400, "sampler.anneal": 800, "sampler.cool": 400}


@pytest.mark.parametrize("sampler", ["tempering", "hmc"])
def test_replicas_at_several_temperatures_weigh_far_modes(sampler, key):
    the_way = way(replace(RunConfig(), LONGER), sampler, warmup=100, temperatures=TEMPERATURES)
    assert (the_way.horizon, the_way.of_one_law) == (160, True)
    n = 64 * 16
    # From the lighter mode alone, out of which a path of HMC seldom leads.
    begun = np.asarray(FAR.means[1]) + 0.3 * np.asarray(jax.random.normal(key, (n, 2)))
    warmed, start = warm_up(the_way, FAR, n, key=key, start=begun)
    assert type(warmed.sampler) is type(the_way.sampler)
    assert warmed.warmup == 0
    ran = anneal(FAR, n, key=key, sampler=warmed.sampler, start=start, final_jump=False)
    heavy = (np.asarray(ran.x)[:, 0] < 0.5).astype(float).reshape(64, 16, 1).mean(1)
    if sampler == "hmc":
        assert heavy.mean() < 0.05
        return
    assert 0.3 < ran.info["swap_acceptance"].mean() < 1
    np.testing.assert_allclose(warmed.sampler.step_factors, np.sqrt(TEMPERATURES), rtol=1e-6)
    assert_mean(heavy, np.array([0.7]), "weight of the heavy mode", allowance=0.02)


def test_a_machines_spins_turn_over_together(key):
    # All alike, and five times as likely up: a sweep turns one spin at a time, which the others forbid.
    magnet = IsingGraph(1.2 * (np.ones((6, 6)) - np.eye(6)), np.log(5) / 12)
    steps = {"sampler.hold": 50, "sampler.anneal": 100, "sampler.cool": 50}
    config = replace(RunConfig(), {"energy": "ising-graph", "objective": "persistent-cd", **steps})
    n, wanted = 64 * 10, np.exp(-magnet(np.ones(6)) - magnet.log_normalizer())
    down = -np.ones((n, 6), np.float32)
    up = {}
    for sampler in ("tempering", "annealed"):
        the_way = way(config, sampler)
        assert the_way.warmup == 0
        ran = anneal(magnet, n, key=key, sampler=the_way.sampler, start=down, final_jump=False)
        up[sampler] = (np.asarray(ran.x).sum(1) == 6).astype(float).reshape(64, 10, 1).mean(1)
    assert isinstance(way(config, "tempering").sampler.sampler, BlockGibbs)
    assert_mean(up["tempering"], np.array([wanted]), "probability of all up", allowance=0.01)
    assert up["annealed"].mean() < 0.1


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "an energy of many noise levels, which is annealed"),
        ({"objective": "noise-conditional", "objective.sigma_max": 5.0, "objective.levels": 9}, "noise"),
        ({"objective": "multigrid-cd", "energy": "multigrid", "energy.levels": 2}, "each scale"),
        ({"objective": "ratio"}, "a network of bits"),
        ({"objective": "short-run"}, "short"),
    ],
)
def test_what_is_not_tempered_is_refused(changes, kind):
    with pytest.raises(ex.InputError, match=rf"sampler must be another for .*{kind}.*; got 'tempering'"):
        way(replace(RunConfig(), changes), "tempering")


def test_temperatures_rise_from_one_and_walls_stay():
    config = replace(RunConfig(), {**SHORT, "objective": "box"})
    walled = way(config, "tempering", temperatures=[1.0, 3.0]).sampler
    assert isinstance(walled, ParallelTempering)
    assert float(walled.sampler.high) == 1.0
    with pytest.raises(ex.InputError, match="temperatures must be at least two rising numbers, the first 1"):
        way(config, "tempering", temperatures=[2.0, 3.0])


@pytest.mark.parametrize(
    ("changes", "sampler", "one_law"),
    [
        ({}, "annealed", False),
        ({}, "nuts", False),
        ({"objective": "score-matching"}, "annealed", True),
        ({"objective": "score-matching"}, "nuts", True),
        ({"objective": "box"}, "mala", True),
        ({"objective": "ratio"}, "annealed", True),
        ({"objective": "variational-pcd", "energy": "deep-boltzmann"}, "annealed", True),
        ({"objective": "multigrid-cd", "energy": "multigrid", "energy.levels": 2}, "annealed", False),
        (
            {"objective": "noise-conditional", "objective.sigma_max": 5.0, "objective.levels": 9},
            "annealed",
            0,
        ),
    ],
)
def test_a_way_knows_whether_its_late_states_are_draws(changes, sampler, one_law):
    assert way(replace(RunConfig(), changes), sampler).of_one_law == one_law
