"""Linear ICA and independent bits: laws with an exact likelihood and exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.energies import IndependentBernoulli, LinearICA, WithLogNormalizer, all_bits
from energax.testing import assert_mean, check_energy

W = jnp.array([[1.5, -0.4], [0.6, 0.9]])
SOURCES = {"logistic": scipy.stats.logistic, "laplace": scipy.stats.laplace}


@pytest.mark.parametrize("source", ["logistic", "laplace"])
def test_the_density_is_that_of_the_sources_turned_back(source, key):
    model = LinearICA(W, source)
    x = model.sample(key, 64 * 500)
    s = np.asarray(x[:200] @ W.T, np.float64)
    exact = SOURCES[source].logpdf(s).sum(1) + np.log(abs(np.linalg.det(np.asarray(W))))
    np.testing.assert_allclose(jax.vmap(model.log_prob)(x[:200]), exact, rtol=1e-4, atol=1e-4)
    assert_mean(
        jnp.square(x @ W.T).reshape(64, 500, 2).mean(1), SOURCES[source].var(), "variance of the sources"
    )
    assert_mean(jnp.prod(x @ W.T, 1).reshape(64, 500).mean(1), 0.0, "their covariance")


def test_it_keeps_the_contract_of_an_energy(key):
    check_energy(LinearICA(W), key=key)


def test_no_source_overflows():
    far = jnp.array([200.0, -300.0])
    model = LinearICA(jnp.eye(2))
    np.testing.assert_allclose(model(far), 500.0, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(model)(far), [1.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize("source", ["logistic", "laplace"])
def test_it_starts_with_white_sources_of_the_right_spread(source, key):
    x = LinearICA(W, source).sample(key, 5000)
    start = LinearICA.from_data(x, source, key=key)
    white = jnp.cov((x @ start.unmixing.T).T)
    np.testing.assert_allclose(white, SOURCES[source].var() * np.eye(2), atol=0.01)


def test_score_matching_refuses_laplace_sources(key):
    model = LinearICA(W, "laplace")
    with pytest.raises(ex.InputError, match="an energy with 'abs' in it"):
        ex.objectives.ScoreMatching().init(model, ex.Batch(model.sample(key, 50)), key, 10)


def test_exact_likelihood_finds_the_unmixing_up_to_order_and_sign(key):
    model = LinearICA(W)
    x = model.sample(key, 20_000)
    found = ex.fit(
        LinearICA.from_data(x, key=key),
        ex.objectives.ExactMaximumLikelihood(),
        x,
        key=key,
        steps=400,
        batch_size=500,
        learning_rate=0.03,
        ema=0.0,
        progress=False,
    ).energy
    # Each learned row is one of the true ones, up to its sign.
    off = (
        jnp.abs(found.unmixing[:, None, None] - jnp.array([1.0, -1.0])[:, None] * W[:, None]).max(-1).min(-1)
    )
    assert off.min(1).max() < 0.1
    assert off.min(0).max() < 0.1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LinearICA(jnp.ones((2, 3))), r"unmixing must be a square matrix; got shape \(2, 3\)"),
        (lambda: LinearICA(jnp.ones((2, 2))), "unmixing must be invertible; got a singular matrix"),
        (lambda: LinearICA(W, "gauss"), "source must be one of 'logistic', 'laplace'"),
        (
            lambda: LinearICA.from_data(np.ones((9, 2)) * np.arange(9.0)[:, None], key=jax.random.key(0)),
            "x must be of full rank; got no variance along 1 directions",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ex.InputError, match=f"^LinearICA: {sentence}"):
        make()


def test_independent_bits(key):
    bits = IndependentBernoulli([[0.5, -1.0], [0.0, 2.0]])
    states = all_bits(4).reshape(-1, 2, 2)
    np.testing.assert_allclose(jax.nn.logsumexp(-jax.vmap(bits)(states)), bits.log_normalizer(), rtol=1e-6)
    x = bits.sample(key, 64 * 200)
    assert_mean(x.reshape(64, 200, 2, 2).mean(1), jax.nn.sigmoid(bits.logits), "means of bits")


def test_a_log_z_kept_beside_an_energy():
    gaussian = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))
    known = WithLogNormalizer(gaussian, gaussian.log_normalizer())
    x = jnp.array([0.3, -1.0])
    assert known(x) == gaussian(x)
    np.testing.assert_allclose(known.log_prob(x), gaussian.log_prob(x), rtol=1e-6)
    assert float(jax.grad(lambda z: WithLogNormalizer(gaussian, z)(x))(0.5)) == 0.0
    with pytest.raises(ex.InputError, match="log_z must be one number"):
        WithLogNormalizer(gaussian, jnp.zeros(2))
