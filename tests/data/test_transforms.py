import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from energax.checks import InputError
from energax.data import (
    Affine,
    Binarise,
    Dequantise,
    HorizontalFlip,
    Logit,
    Pad,
    Pipeline,
    Reshape,
    Transform,
)

KEY = jax.random.key(0)
UNIT = jax.random.uniform(KEY, (4, 3, 2), minval=0.02, maxval=0.98)  # an image event in [0, 1]

CASES = {
    "affine number": Affine(0.3, -2.5),
    "affine arrays": Affine(
        np.linspace(-1, 1, 24).reshape(4, 3, 2), np.linspace(0.2, 3, 24).reshape(4, 3, 2)
    ),
    "affine channels": Affine([0.1, 0.2], [0.5, 3.0]),
    "dequantise": Dequantise(5),
    "logit": Logit(0.01),
    "logit default": Logit(),
    "pad": Pad(2),
    "reshape": Reshape((4, 3, 2), (6, 4)),
    "flip": HorizontalFlip(),
    "pipeline": Pipeline(
        (Dequantise(8), Logit(0.05), Affine(0.5, 3.0), HorizontalFlip(), Reshape((4, 3, 2), (24,)))
    ),
    "pipeline padded": Pipeline((Affine(0.1, 0.7), Pad(1), Reshape((6, 5, 2), (60,)))),
    "empty pipeline": Pipeline(()),
}


def log_volume(transform, x):
    """½ log det JᵀJ by automatic differentiation: log|det J| where J is square."""
    jacobian = jax.jit(jax.jacfwd(lambda v: transform.forward(v.reshape(x.shape)).ravel()))(x.ravel())
    return 0.5 * np.linalg.slogdet(np.asarray(jacobian.T, np.float64) @ np.asarray(jacobian, np.float64))[1]


def right_log_det(transform, x):
    found = transform.log_det(x)
    return found.shape == () and bool(np.allclose(found, log_volume(transform, x), rtol=1e-4, atol=1e-3))


@pytest.mark.parametrize("name", CASES)
def test_inverse_undoes_forward(name):
    t = CASES[name]
    assert np.allclose(t.inverse(t.forward(UNIT)), UNIT, atol=3e-6)
    z = t.forward(UNIT)
    assert np.allclose(t.forward(t.inverse(z)), z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_log_det_is_that_of_the_jacobian(name):
    assert right_log_det(CASES[name], UNIT)


@pytest.mark.parametrize("name", ["affine number", "affine arrays", "affine channels", "dequantise", "logit"])
def test_a_wrong_log_det_is_rejected(name):
    right = CASES[name]

    class Mutant(Transform):
        factor: float

        def forward(self, x):
            return right.forward(x)

        def inverse(self, z):
            return right.inverse(z)

        def log_det(self, x):
            return self.factor * right.log_det(x)

    assert right_log_det(Mutant(1.0), UNIT)
    assert not right_log_det(Mutant(-1.0), UNIT)  # the sign
    assert not right_log_det(Mutant(1 / UNIT.size), UNIT)  # the mean in place of the sum
    pipeline = Pipeline((Mutant(-1.0), Reshape((4, 3, 2), (24,))))
    assert not right_log_det(pipeline, UNIT)


def test_log_det_normalises_a_density():
    # A uniform x has z = logit(x) logistic: log p_X = log p_Z + log_det must be 0 everywhere.
    t = Logit(1e-6)
    x = np.linspace(0.01, 0.99, 50)
    log_p = jax.vmap(lambda v: jax.scipy.stats.logistic.logpdf(t.forward(v)).sum() + t.log_det(v))(x[:, None])
    assert np.allclose(log_p, 0.0, atol=1e-4)


def test_logit_is_finite_and_accurate_at_both_ends():
    t = Logit()
    x = jnp.array([0.0, 1.0, 1e-6, 1 - 1e-6])
    exact = np.asarray(x, np.float64) * (1 - 2e-6) + 1e-6
    # Compare in double precision, with 1 − x exact in float32 near 1.
    rest = 1e-6 + (1 - 2e-6) * (1 - np.asarray(x, np.float64))
    assert np.allclose(t.forward(x), np.log(exact) - np.log(rest), rtol=1e-6)
    assert np.isfinite(t.log_det(x))


@pytest.mark.parametrize("name", ["affine channels", "pipeline", "pipeline padded"])
def test_events_are_mapped_alike_under_vmap_and_jit(name):
    t = CASES[name]
    batch = jnp.stack([UNIT, 0.5 * UNIT])
    z = jax.jit(jax.vmap(t.forward))(batch)
    assert np.allclose(z[1], t.forward(0.5 * UNIT), rtol=1e-5, atol=1e-5)
    assert jax.vmap(t.log_det)(batch).shape == (2,)
    assert eqx.filter_jit(lambda t, x: t.inverse(t.forward(x)))(t, UNIT).shape == UNIT.shape


@pytest.mark.parametrize("name", CASES)
def test_transforms_are_frozen_pytrees_of_float32(name):
    t = CASES[name]
    leaves, structure = jax.tree.flatten(t)
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in leaves)
    hash(structure)  # static fields can be keys of jit's cache
    if dataclasses.fields(t):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(t, dataclasses.fields(t)[0].name, 1)


def test_perturb_is_the_identity_unless_stated():
    for t in (Affine(0, 2), Logit(), Pad(1), Reshape((2,), (1, 2))):
        assert t.perturb(UNIT, KEY) is UNIT


def test_standardise():
    rows = np.random.default_rng(0).normal([5.0, -300.0, 1e4], [2.0, 0.1, 1.0], (500, 3)).astype(np.float32)
    rows = np.column_stack([rows, np.full(500, 0.1, np.float32)])
    t = Affine.standardise(rows)
    z = np.asarray(jax.vmap(t.forward)(jnp.asarray(rows)), np.float64)
    assert np.allclose(z.mean(axis=0), 0, atol=5e-3)
    assert np.allclose(z.std(axis=0)[:3], 1, atol=1e-3)
    assert float(t.scale[3]) == 1.0  # a constant column has no scale of its own
    assert np.allclose(z[:, 3], 0)


def test_unit_interval():
    rows = np.array([[10.0, 20.0], [30.0, 15.0]])
    assert np.allclose(Affine.unit_interval(rows).forward(jnp.asarray(rows[0])), jnp.array([0.0, 0.5]))
    assert np.allclose(
        Affine.unit_interval(rows, 0, 40).forward(jnp.asarray(rows[0])), jnp.array([0.25, 0.5])
    )
    assert np.allclose(Affine.unit_interval(low=0, high=255).forward(jnp.array(51.0)), 0.2)


def test_unit_interval_never_leaves_it_by_rounding():
    # `preprocessing` refuses a logit beyond [0, 1]; a range rounded in another order would be.
    for low, high in np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32):
        low, high = sorted((low, high))
        ends = Affine.unit_interval(low=low, high=high)
        assert (float(ends.forward(low)), float(ends.forward(high))) == (0.0, 1.0)


def dequantised(perturb):
    """P-value of U = (z − k/L) L being uniform, and whether every level stays in its cell."""
    levels = 17
    t = Dequantise(levels)
    k = jnp.arange(20_000) % levels
    x = k / (levels - 1)
    z = np.asarray(t.forward(perturb(t, x)), np.float64)
    u = z * levels - np.asarray(k)
    inside = bool((np.floor(z * levels + 1e-5) >= k).all() and (u < 1 + 1e-5).all())
    return stats.kstest(u, stats.uniform.cdf).pvalue, inside


def test_dequantised_levels_fill_their_cells_uniformly():
    # False-alarm rate 1e-6; the seed is fixed.
    p, inside = dequantised(lambda t, x: t.perturb(x, jax.random.key(3)))
    assert p > 1e-6
    assert inside

    # Mutants: noise half as wide as a cell, and noise that is not centred.
    def half(t, x):
        return x + (t.perturb(x, jax.random.key(3)) - x) / 2

    def shifted(t, x):
        return t.perturb(x, jax.random.key(3)) + 0.5 / (t.levels - 1)

    assert dequantised(half)[0] < 1e-6
    assert dequantised(shifted)[0] < 1e-6


def test_dequantise_without_noise_is_the_middle_of_the_cell():
    x = jnp.arange(4) / 3
    assert np.allclose(Dequantise(4).forward(x), (jnp.arange(4) + 0.5) / 4)


def test_flip_mirrors_the_width_half_of_the_time(far_from):
    t = HorizontalFlip()
    flipped = jax.vmap(lambda key: t.perturb(UNIT, key))(jax.random.split(KEY, 4000))
    same = (flipped == UNIT).all(axis=(1, 2, 3))
    mirror = (flipped == UNIT[:, ::-1, :]).all(axis=(1, 2, 3))
    assert (same ^ mirror).all()
    assert not far_from(mirror, 0.5)


def test_pad_frames_with_zeros():
    z = Pad(2).forward(UNIT)
    assert z.shape == (8, 7, 2)
    assert (z[2:-2, 2:-2] == UNIT).all()
    assert np.allclose(z.sum(), UNIT.sum())


def test_training_perturbs_each_transform_before_its_forward():
    levels = jnp.round(UNIT * 16) / 16
    t = Pipeline((Pad(1), Dequantise(17), Affine(0.5, 0.25)))
    z = t.training(levels, KEY)
    x = (np.asarray(z) * 0.25 + 0.5) * 17  # undo by hand what comes after the noise
    cell = np.pad(np.round(np.asarray(levels) * 16), ((1, 1), (1, 1), (0, 0)))
    assert ((x > cell - 1e-3) & (x < cell + 1 + 1e-3)).all()
    assert np.unique(x - cell).size > 50  # the frame is perturbed too
    assert (t.training(levels, KEY) == z).all()
    assert (t.training(levels, jax.random.key(1)) != z).any()


def test_binarise_keeps_one_bit():
    x = jnp.array([0.0, 0.2, 0.5, 0.51, 1.0])
    np.testing.assert_array_equal(Binarise().forward(x), [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(Binarise(0.1).forward(x), [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(Binarise().training(x, KEY), [0, 0, 0, 1, 1])
    bits = Binarise().forward(x)
    np.testing.assert_array_equal(Binarise().forward(Binarise().inverse(bits)), bits)


def test_bits_are_drawn_with_the_entrys_probability():
    x, n = jnp.array([0.0, 0.2, 0.7, 1.0]), 20_000
    drawn = jax.vmap(lambda k: Binarise(None).training(x, k))(jax.random.split(KEY, n))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    off = np.abs(np.asarray(drawn).mean(0) - np.asarray(x))
    assert (off <= 5 * np.sqrt(np.asarray(x * (1 - x)) / n) + 1e-7).all()


def test_perturb_then_forward_is_training_in_the_datas_units():
    t = Pipeline((HorizontalFlip(), Dequantise(17), Affine(0.5, 0.25), Reshape((4, 3, 2), (24,))))
    for key in jax.random.split(KEY, 4):
        assert np.allclose(t.forward(t.perturb(UNIT, key)), t.training(UNIT, key), atol=1e-5)


def test_stages_do_not_share_their_noise():
    t = Pipeline((Dequantise(2), Affine(0, 1), Dequantise(2)))
    x = jnp.zeros(4000)
    z = t.training(x, KEY)  # U₁/4 + U₂/2: correlated noise would have another variance
    assert abs(float(z.var()) - (1 / 16 + 1 / 4) / 12) < 4.9 * 0.0006


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Affine(0.0, 0.0), "Affine: scale must be nowhere zero; got a zero"),
        (lambda: Affine([0.0, np.nan], 1.0), "Affine: shift must be finite everywhere; got nan in row 1"),
        (lambda: Affine("a", 1.0), "Affine: shift must be an array of real numbers"),
        (
            lambda: Affine.unit_interval(np.ones((3, 2))),
            "unit_interval: high must be a finite number above 1",
        ),
        (lambda: Affine.unit_interval(low=0), "unit_interval: rows must be given unless low and high are"),
        (lambda: Affine.standardise([[np.inf]]), "Affine.standardise: rows must be finite everywhere"),
        (lambda: Pad(0), "Pad: width must be a whole number of at least 1; got 0"),
        (lambda: Pad(1.5), "Pad: width must be a whole number of at least 1; got 1.5"),
        (lambda: Dequantise(1), "Dequantise: levels must be a whole number of at least 2; got 1"),
        (lambda: Logit(0), "Logit: alpha must be a finite number above 0; got 0"),
        (lambda: Logit(0.5), "Logit: alpha must be below 0.5; got 0.5"),
        (lambda: Reshape((2, 3), (5,)), r"Reshape: to_shape must be of 6 entries, like \(2, 3\); got \(5,\)"),
        (lambda: Reshape((2, -3), (6,)), "Reshape: from_shape must be a whole number of at least 1"),
        (
            lambda: Pipeline((Pad(1), "flip")),
            "Pipeline: transforms must be a tuple of transforms; got 'flip'",
        ),
    ],
)
def test_mistakes_are_refused_at_construction(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
