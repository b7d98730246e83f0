"""The studies of maximum likelihood by chains run whole, in small; what they rest on holds at any size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from energax.energies import BernoulliRBM
from energax.evaluation import LogNormalizerEstimate
from energax.objectives import (
    ContrastiveDivergence,
    ExactMaximumLikelihood,
    UnbiasedContrastiveDivergence,
)
from energax.papers import bars_and_stripes, rbm_digits, rbm_digits_bench, rbm_digits_verdict
from energax.papers.bracketed import Bracketed, ends
from energax.papers.descent import at_best_rate, curvature, descend, log_likelihood
from energax.samplers import BlockGibbs

from .studied import studied


def coupled():
    """A machine of the 2 × 2 bars and stripes whose chains mix badly."""
    return BernoulliRBM((4,), 3, scale=2.0, key=jax.random.key(3)), bars_and_stripes.patterns(2)


def test_descent_takes_plain_steps_of_the_given_rates():
    model, x = coupled()
    gradient = eqx.filter_grad(lambda m: -log_likelihood(m, jnp.asarray(x))[0])
    settings = {"key": jax.random.key(0), "rate": 0.5, "batch": len(x), "steps": 2, "every": 1}
    for falling, rates in ((False, (0.5, 0.5)), (True, (0.5, 0.25))):
        expected = model
        steps = list(descend(model, ExactMaximumLikelihood(), x, falling=falling, **settings))
        assert [done for done, _, _ in steps] == [1, 2]
        for rate, (_, trained, metrics) in zip(rates, steps, strict=True):
            before = log_likelihood(expected, jnp.asarray(x))[0]
            move = jax.tree.map(lambda g, r=rate: -r * g, gradient(expected))
            expected = eqx.apply_updates(expected, move)
            np.testing.assert_allclose(trained.weights, expected.weights, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(metrics["log_likelihood"], before, rtol=1e-4)


def test_the_curvature_is_the_hessians_largest_eigenvalue_and_bounds_the_rate():
    start, x = coupled()
    settings = {"key": jax.random.key(0), "batch": len(x)}
    ((_, model, _),) = descend(
        start, ExactMaximumLikelihood(), x, rate=0.5, steps=2_000, every=2_000, **settings
    )
    flat, unravel = ravel_pytree(model)
    hessian = jax.hessian(lambda v: -log_likelihood(unravel(v), jnp.asarray(x))[0])(flat)
    sharp = float(curvature(model, jnp.asarray(x), 100))
    assert sharp == pytest.approx(float(jnp.linalg.eigvalsh(hessian)[-1]), rel=1e-3)
    # Steps along the exact gradient go uphill below 2/λ and are thrown off above it.
    before = float(log_likelihood(model, jnp.asarray(x))[0])
    for share, uphill in ((0.8, True), (1.5, False)):
        pace = {"rate": share * 2 / sharp, "steps": 200, "every": 200}
        ((_, moved, _),) = descend(model, ExactMaximumLikelihood(), x, **pace, **settings)
        assert (float(log_likelihood(moved, jnp.asarray(x))[0]) > before) is uphill


def test_the_best_rate_is_that_of_the_first_seed_and_nan_is_worst():
    asked = []

    def train(rate, seed):
        asked.append((rate, seed))
        return {0.1: 1.0, 0.3: 2.0, 1.0: float("nan")}[rate] + seed

    rate, found, values = at_best_rate((1.0, 0.1, 0.3), 3, train, lambda t: t)
    assert (rate, found) == (0.3, [2.0, 3.0, 4.0])
    assert asked == [(1.0, 0), (0.1, 0), (0.3, 0), (0.3, 1), (0.3, 2)]
    assert values[0.1] == 1.0


def test_bars_and_stripes_are_counted_with_blank_and_full_twice():
    x = bars_and_stripes.patterns()
    rows, counts = np.unique(x, axis=0, return_counts=True)
    assert (len(x), len(rows)) == (32, 30)
    assert all(rows[counts == 2].sum(1) == [0, 16])
    images = x.reshape(-1, 4, 4)
    assert all(np.ptp(i, axis=0).max() == 0 or np.ptp(i, axis=1).max() == 0 for i in images)
    assert bars_and_stripes.bound(x) == pytest.approx(-(28 * np.log(32) + 4 * np.log(16)) / 32)


def test_the_bias_of_a_gradient_is_seen_where_there_is_one_and_only_there():
    model, x = coupled()
    batch = np.tile(x, (8, 1))
    biased = bars_and_stripes.gradient_error(model, ContrastiveDivergence(BlockGibbs()), batch, 400)
    assert biased["bias"] > 5 * biased["bias error"]
    unbiased = bars_and_stripes.gradient_error(model, UnbiasedContrastiveDivergence(), batch, 400)
    assert unbiased["bias"] < 5 * unbiased["bias error"]
    assert unbiased["noise"] > biased["noise"]


@pytest.mark.study
def test_the_study_of_bars_and_stripes(tmp_path):
    facts = studied("bars-and-stripes", tmp_path)
    assert tuple(facts["results"]) == bars_and_stripes.SIZES["smoke"].names
    for found in facts["results"].values():
        assert max(found["log p"]) < facts["bound"]
    meetings = np.array(facts["results"]["unbiased CD"]["meetings"])
    assert (meetings >= 1).all()


def test_scikit_learns_weights_are_the_same_energy():
    from sklearn.neural_network import BernoulliRBM as Theirs

    x = np.random.default_rng(0).integers(0, 2, (60, 9)).astype(np.float32)
    theirs = Theirs(5, learning_rate=0.5, batch_size=10, n_iter=20, random_state=0).fit(x)
    ours = BernoulliRBM.from_parameters(
        theirs.components_.T, theirs.intercept_visible_, theirs.intercept_hidden_
    )
    np.testing.assert_allclose(jax.vmap(ours)(jnp.asarray(x)), theirs._free_energy(x), rtol=1e-4)


@pytest.mark.study
def test_the_study_of_digits(tmp_path):
    facts = studied("rbm-digits", tmp_path)
    found = facts["results"]["digits"]
    assert tuple(found) == rbm_digits.FEW
    assert all(-30 < v < -15 for r in found.values() for v in r["test"])
    # As short as this is, the likelihood has risen from that of independent pixels.
    first, last = (np.mean([c[i][1] for c in found["CD-10"]["curves"]]) for i in (0, -1))
    assert last > first
    after = facts["after"]["digits"]
    assert after["meetings"]["meeting_time"] >= 1
    assert set(after["to"]) == {"1"}
    larger = facts["larger"]
    assert tuple(larger) == (rbm_digits_bench.ADAM, rbm_digits_bench.SKLEARN)
    for found in larger.values():
        assert -32 < found["least"] <= found["most"] < -15
    assert "digits, 24 hidden, one training of each" in facts["verdict"]


def told(lower, upper):
    """An estimate of log Z with these ends."""
    two = (1.0, 1.0)
    middle = (lower + upper) / 2
    return LogNormalizerEstimate(lower, upper, middle, 0.5, 0.1, 0.1, two, two, True, "converged", {})


def test_ends_of_log_z_are_ends_of_the_likelihood_the_other_way_round():
    found = Bracketed.of(-5.0, told(2.0, 3.0))
    assert (found.least, found.estimate, found.most) == (-8.0, -7.5, -7.0)
    assert str(found) == "-8.00 to -7.00"
    assert str(Bracketed.of(-5.0, told(3.0, 2.0))) == "at most -8.00"  # crossed: the upper one is wrong


def test_of_a_machine_that_can_be_enumerated_the_ends_are_its_likelihood():
    model = BernoulliRBM((5,), 3, scale=1.0, key=jax.random.key(0))
    x = jax.random.bernoulli(jax.random.key(1), 0.5, (9, 5)).astype(jnp.float32)
    (exact,) = log_likelihood(model, x)
    bench = object.__new__(rbm_digits_bench.Bench)
    bench.train = bench.test = np.asarray(x)
    found = bench.between(model, 10)
    np.testing.assert_allclose([found.least, found.most], float(exact), atol=1e-4)


def test_ends_tell_two_machines_apart_only_where_they_do_not_overlap():
    def said(ours, theirs):
        larger = {
            rbm_digits_bench.ADAM: Bracketed.of(0.0, told(*ours)),
            rbm_digits_bench.SKLEARN: Bracketed.of(0.0, told(*theirs)),
        }
        return rbm_digits_verdict._likelier("mnist, 9 hidden", larger)

    assert "by these ends ours is likelier by 2.00 nats at least" in said((5.0, 6.0), (8.0, 9.0))
    assert "scikit-learn's is likelier by 2.00 nats at least" in said((8.0, 9.0), (5.0, 6.0))
    assert "do not tell them apart" in said((5.0, 8.5), (8.0, 9.0))
    # Crossed ends are an upper end of the likelihood only, so they cannot put theirs above ours.
    assert "do not tell them apart" in said((8.0, 9.0), (6.0, 5.0))
    assert "ours is likelier" not in said((6.0, 5.0), (8.0, 9.0))


def test_what_is_said_of_every_log_z_is_said_once():
    one, other = (Bracketed.of(0.0, told(2.0, upper)) for upper in (3.0, 4.0))
    assert ends({"a": one}) == "a -3.00 to -2.00, log Z converged"
    assert ends({"a": one, "b": other}) == "a -3.00 to -2.00, b -4.00 to -2.00; log Z of each converged"
    open_ends = other._replace(status="not converged")
    apart = "a -3.00 to -2.00, log Z converged; b -4.00 to -2.00, log Z not converged"
    assert ends({"a": one, "b": open_ends}) == apart


def test_what_is_said_of_going_on_is_what_was_found():
    found = {"curvature": {"CD-10": 4.0}, "from": -18.0}
    said = rbm_digits_verdict.went_on({**found, "to": {"0.1": -17.9, "1": -20.0}})
    assert "2/λ = 0.50" in said
    assert said.endswith("below 2/λ the likelihood rises, above it it falls")
    said = rbm_digits_verdict.went_on({**found, "to": {"0.1": -18.1, "1": -17.0}})
    assert said.endswith("below 2/λ the likelihood does not always rise, above it it does not always fall")
