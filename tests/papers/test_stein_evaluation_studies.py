"""The studies that evaluate by Stein discrepancies: small runs, and formulas that hold at any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.energies import Critic
from energax.papers import lsd_critic
from energax.papers.critic_path import RULES, Path, chosen
from energax.stein import stein_operator
from energax.testing import assert_mean

from .studied import studied


def test_rules_choose_by_the_validation_rows():
    looks = {"validation_mean": [[0.0, 2.0, 3.0]], "validation_sd": [[0.0, 1.0, 4.0]]}
    looks |= {"validation_size": [[0.0, 1.0, 3.0]]}
    path = Path(*(jnp.asarray(looks.get(name, [[0.0] * 3])) for name in Path._fields))
    assert [chosen(path, rule, 0.5)[0] for rule in RULES] == [2, 1, 1]
    assert chosen(path, "objective", 2.0)[0] == 0


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
