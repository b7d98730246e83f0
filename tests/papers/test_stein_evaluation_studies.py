"""The studies that evaluate by Stein discrepancies: small runs, and formulas that hold at any size."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax import InputError
from energax.energies import Critic
from energax.papers import STUDIES, lsd_critic, lsd_gof_tests, lsd_gof_verdict, mcmc_judged
from energax.papers.critic_path import RULES, Path, chosen
from energax.papers.kept import Kept
from energax.stein import stein_operator
from energax.testing import assert_mean

from .studied import studied


def test_rules_choose_by_the_validation_rows():
    looks = {"validation_mean": [[0.0, 2.0, 3.0]], "validation_sd": [[0.0, 1.0, 4.0]]}
    looks |= {"validation_size": [[0.0, 1.0, 3.0]]}
    path = Path(*(jnp.asarray(looks.get(name, [[0.0] * 3])) for name in Path._fields))
    assert [chosen(path, rule, 0.5)[0] for rule in RULES] == [2, 1, 1]
    assert chosen(path, "objective", 2.0)[0] == 0


@pytest.mark.study
def test_the_studies_of_how_a_critic_is_chosen(tmp_path):
    facts = studied("lsd-model-selection", tmp_path)
    far, near = (r["rules"] for r in facts["results"].values())
    assert np.mean(far["objective"]["share"]) > 0.5
    assert np.mean(far["mean − sd"]["untrained"]) == 0
    # ‖Δ‖ = 0.63 < 1: mean − sd falls along the multiples of the best critic, the objective does not.
    assert np.mean(near["mean − sd"]["discrepancy"]) < np.mean(near["objective"]["discrepancy"]) - 0.2


@pytest.mark.study
def test_the_study_of_the_best_critic(tmp_path):
    facts = studied("lsd-critic", tmp_path)
    for r in facts["results"].values():
        assert np.mean(r["chosen"]["cosine"]) > 0.9
        assert 0.8 < np.mean(r["chosen"]["share"]) < 1.1


@pytest.mark.parametrize("case", ["means", "scales"])
def test_what_a_critic_is_worth_is_what_stein_says(case, key):
    x, s, difference = lsd_critic.pair(case, key, 20_000, 3)
    critic = Critic((3,), width=8, key=key)
    h, f = jax.vmap(lambda x, s: stein_operator(critic, x, s))(x, s)
    assert_mean(h - jnp.sum(f * difference, 1), 0.0, "h against Δ·f")
    exact = lsd_critic.theory(case, 3, 2.0)
    assert_mean(jnp.sum(difference**2, 1) / 4.0, exact, "E‖Δ‖²/2λ")


@pytest.mark.study
def test_the_study_of_discrepancies_of_machines(tmp_path):
    facts = studied("lsd-rbm-evaluation", tmp_path)
    (levels,) = facts["results"].values()
    for far, near in zip(levels["0.2"], levels["0"], strict=True):
        assert near["bound"] == 0
        assert 0.3 * far["bound"] < far["found"]["LSD"][0] < far["bound"] + 5 * far["found"]["LSD"][1]
        assert far["found"]["KSD"][0] > near["found"]["KSD"][0]


@pytest.mark.study
def test_the_study_of_tests_goes_on_where_it_was_cut(tmp_path):
    facts = studied("lsd-gof", tmp_path)
    file = tmp_path / STUDIES["lsd-gof"].kept
    text = file.read_text()
    lines = text.splitlines(True)
    first = facts["results"]["8, 4"]["0.5"][0]
    assert first["p"]["KSD"] < 0.05
    # A longer training begins with the shorter one: of as many steps, it is the same test.
    size = lsd_gof_tests.SIZES["smoke"]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(8), 1), 0)
    same = lsd_gof_tests.longer(8, 4, 0.5, replace(size, longer=(size.steps, size.check_every)), key)
    assert (same["t"], same["p"]["LSD"]) == (first["t"], first["p"]["LSD"])
    assert facts["longer"]["8, 4, 0.5"][0]["t"] != first["t"]
    file.write_text("".join(lines[:-2]) + lines[-2][:-9])  # killed while it wrote
    again = studied("lsd-gof", tmp_path)
    assert again["results"]["8, 4"]["0"] == facts["results"]["8, 4"]["0"]
    assert len(file.read_text().splitlines()) == len(lines)


def test_what_is_kept_is_not_measured_again(tmp_path):
    file = tmp_path / "kept.jsonl"
    first = Kept("lsd-gof", file, {"steps": 3, "levels": (0.0, 0.1)})
    assert [first.get(name, lambda: [0.5]) for name in ("a", "b")] == [[0.5], [0.5]]
    file.write_text(file.read_text()[:-4])  # killed while it wrote
    again = Kept("lsd-gof", file, {"steps": 3, "levels": (0.0, 0.1)})
    assert [again.get(name, lambda: [2.0]) for name in ("a", "b")] == [[0.5], [2.0]]
    assert Kept("lsd-gof", file, {"steps": 3, "levels": (0.0, 0.1)}).found == again.found
    with pytest.raises(InputError, match="without replicates of other settings"):
        Kept("lsd-gof", file, {"steps": 4, "levels": (0.0, 0.1)})


def test_power_is_lost_where_only_the_longer_training_rejects():
    def each(rejected, t, step):
        return [{"p": {"LSD": 0.01 if r else 0.5}, "t": t, "step": step} for r in rejected]

    few = each([1, 1, *[0] * 8, 1], 1.0, 90)  # the last has no pair
    told = lsd_gof_verdict.lost(few, each([1, 0, *[1] * 8], 3.0, 300), (100, 1_000))
    assert "100 steps of the critic reject 0.20 (0.03–0.56), 1,000 reject 0.90 (0.55–1.00);" in told
    # 8 against 1: 2 (1 + 9)/2⁹ = 0.039.
    assert "8 by 1,000 alone, 1 by 100 alone: the power lost is +0.70 (clear: p = 0.039 by the" in told
    assert "at most 0.97). t is +2.00 ± 0.00 larger with 1,000 (clear)" in told
    assert "of step 90 and 300 (medians)" in told
    assert "power lost is +0.00 (not clear: p = 1" in lsd_gof_verdict.lost(few, few, (100, 1_000))


@pytest.mark.study
def test_seconds_of_a_test_are_of_no_compiler(key, caplog):
    size = lsd_gof_tests.SIZES["smoke"]
    x = np.asarray(jax.random.normal(key, (700, 7)))

    def compiled():
        caplog.clear()
        with jax.log_compiles():
            for test in lsd_gof_tests.tests_of(x, -x, size, key).values():
                test()
        return sum("XLA compilation" in record.message for record in caplog.records)

    lsd_gof_tests.warm(7, 700, size)
    assert compiled() == 0
    x = x[:600]
    assert compiled() > 0


def test_levels_are_those_of_h(key):
    # h = 1 − x² is skewed to the left: t is too often large against the normal law.
    h = np.asarray(1 - jax.random.normal(key, (2_000, 40)) ** 2, np.float64)
    found = lsd_gof_tests.levels_of(h, key)
    assert found["normal"][1] > 0.075
    assert abs(found["bootstrap"][1] - 0.05) < found["normal"][1] - 0.05


def test_laplace_is_at_the_mode_and_its_coordinates_are_those_of_the_density():
    model = mcmc_judged.posterior()
    laplace = mcmc_judged.Laplace.of(model)
    slope = jax.grad(model)
    assert jnp.abs(slope(jnp.asarray(laplace.mode, jnp.float32))).max() < 1e-2
    w = np.asarray(laplace.starts(jax.random.key(0), 5))
    z, s_z = laplace.coordinates(w, -np.asarray(jax.vmap(slope)(w)))
    back = lambda z: model(laplace.mode + jnp.linalg.solve(laplace.factor.T, z))  # noqa: E731
    np.testing.assert_allclose(s_z, -jax.vmap(jax.grad(back))(z), rtol=1e-2, atol=1e-2)


@pytest.mark.study
def test_the_study_of_samplers(tmp_path):
    facts = studied("mcmc-judged", tmp_path)
    # A step of 1/λ_max doubles the variance of the stiffest direction, and R̂ is that of a right sampler.
    assert facts["results"]["Langevin, c = 1"]["wide"] == pytest.approx(2.0, abs=0.4)
    assert all(r["R̂"] < 1.05 for r in facts["results"]["Langevin, c = 1"]["runs"])
