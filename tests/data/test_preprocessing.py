import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.checks import InputError
from energax.data import Dataset, Dequantise, Pad, digits, preprocessing, toy

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 200, (20, 4, 6, 1)).astype(np.float32)


def images(rows):
    return Dataset("d", "image", rows, rows[:2])


TABLE = Dataset("d", "table", RNG.normal(3, 2, (50, 3)), RNG.normal(3, 2, (5, 3)))


def test_auto_standardises_tables_by_their_training_rows():
    z = jax.vmap(preprocessing(TABLE).forward)(TABLE.train)
    assert np.allclose(z.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(z.std(axis=0), 1, atol=1e-5)


def test_auto_moves_no_wall():
    positive = Dataset("d", "table", RNG.gamma(2.0, 3.0, (50, 3)), RNG.gamma(2.0, 3.0, (5, 3)))
    half_line = preprocessing(positive, walls=(0.0, np.inf))
    z = jax.vmap(half_line.forward)(positive.train)
    np.testing.assert_allclose(z, positive.train / positive.train.std(axis=0), rtol=1e-5)
    box = jax.vmap(preprocessing(positive, walls=(0.0, 1.0)).forward)(positive.train)
    np.testing.assert_allclose([box.min(axis=0), box.max(axis=0)], [[0] * 3, [1] * 3], atol=1e-6)
    assert preprocessing(positive, walls=(0.0, 99.0)).transforms == ()


def test_auto_maps_bytes_by_255_and_other_units_by_their_range():
    assert np.allclose(preprocessing(images(BYTES)).forward(BYTES[0]), BYTES[0] / 255)
    signed = preprocessing(images(BYTES - 100))
    z = jax.vmap(signed.forward)(BYTES - 100)
    assert (float(z.min()), float(z.max())) == (0.0, 1.0)


def test_auto_leaves_unit_images_and_points_alone():
    for data in (images(BYTES / 255), digits(), toy("rings", 50)):
        assert preprocessing(data).transforms == ()


def test_auto_makes_pictures_the_states_of_a_machine():
    for data in (images(BYTES * 255 / 199), digits()):
        bits = preprocessing(data, states="bits")
        spins = preprocessing(data, states="spins")
        z = np.asarray(jax.vmap(bits.forward)(data.train))
        high = data.train.max()
        np.testing.assert_array_equal(z, data.train > (127.5 if high > 1 else 0.5))
        np.testing.assert_array_equal(jax.vmap(spins.forward)(data.train), 2 * z - 1)
        np.testing.assert_array_equal(
            jax.vmap(bits.inverse)(z), np.where(z == 1, 255 if high > 1 else 1, 0).astype(np.float32)
        )
    two = images((BYTES > 100).astype(np.float32))
    assert preprocessing(two, states="bits").transforms == ()
    assert len(preprocessing(two, states="spins").transforms) == 2
    assert preprocessing(images(2 * two.train - 1), states="spins").transforms == ()
    assert preprocessing(images(BYTES), states=None).transforms == preprocessing(images(BYTES)).transforms


def test_auto_binarises_no_numbers_but_takes_two_values_for_states():
    with pytest.raises(InputError, match=r"names must be 'binarise:T', .*gaussian-rbm .*got 'auto'"):
        preprocessing(TABLE, states="bits")
    with pytest.raises(InputError, match="'auto' for entries"):
        preprocessing(toy("rings", 50), states="spins")
    assert preprocessing(TABLE, "binarise:3", states="bits").transforms[0].threshold == 3
    bits = RNG.integers(0, 2, (50, 3)).astype(np.float32)
    bits[:, 2] = 1.0  # a column that never changes is a bit, too
    for low, high in ((0, 1), (1, 2), (-1, 1), (0, 0.3)):
        rows = (low + (high - low) * bits).astype(np.float32)
        for states, lowest in (("bits", 0), ("spins", -1)):
            t = preprocessing(Dataset("d", "table", rows, rows[:5]), states=states)
            z = np.asarray(jax.vmap(t.forward)(rows))
            np.testing.assert_array_equal(z[:, :2], np.where(bits, 1, lowest)[:, :2])
            np.testing.assert_allclose(jax.vmap(t.inverse)(z), rows, rtol=1e-6)


def test_names_in_their_order_with_numbers():
    t = preprocessing(images(BYTES), ["unit", "dequantise", "logit:0.01", "pad:2", "flip"])
    assert [type(s).__name__ for s in t.transforms] == [
        "Affine",
        "Dequantise",
        "Logit",
        "Pad",
        "HorizontalFlip",
    ]
    assert t.transforms[2].alpha == 0.01
    assert t.forward(BYTES[0]).shape == (8, 10, 1)
    assert np.allclose(t.inverse(t.forward(BYTES[0])), BYTES[0], atol=1e-2)
    same = preprocessing(images(BYTES), "unit, dequantise,logit:0.01,pad:2,flip")
    assert (same.forward(BYTES[0]) == t.forward(BYTES[0])).all()


def test_each_step_is_fitted_to_the_rows_that_reach_it():
    t = preprocessing(images(BYTES), "unit,standardise")
    z = jax.vmap(t.forward)(BYTES)
    assert np.allclose(z.std(axis=0), 1, atol=1e-4)


def test_flat_images_can_be_laid_out_and_back():
    t = preprocessing(digits(), ["dequantise:17", "image", "pad:1", "flatten"])
    assert isinstance(t.transforms[0], Dequantise)
    assert isinstance(t.transforms[2], Pad)
    assert t.forward(jnp.zeros(64)).shape == (100,)


@pytest.mark.parametrize(
    ("data", "names", "sentence"),
    [
        (TABLE, ["standardize"], r"preprocessing: names must be one of .* \(did you mean 'standardise'\?\)"),
        (TABLE, "pad:1", r"pad must be used on image events \(height, width, channels\); got events \(3,\)"),
        (digits(), "flip", r"flip must be used on image events .*; got events \(64,\)"),
        (images(BYTES), "pad", "preprocessing: names must be 'pad:WIDTH'; got 'pad'"),
        (images(BYTES), "pad:x", "preprocessing: names must be 'pad:' with a number; got 'pad:x'"),
        (images(BYTES), "pad:0", "Pad: width must be a whole number of at least 1; got 0"),
        (images(BYTES), "flip:2", "names must be 'flip' without a number; got 'flip:2'"),
        (
            images(BYTES),
            "dequantise",
            r"dequantise must be used on values in \[0, 1\] \('unit' first\); got values 0",
        ),
        (TABLE, "logit", r"logit must be used on values in \[0, 1\]"),
        (digits(), "dequantise", r"dequantise:256 must be used on values k/255 .*; got 0\.\d+"),
        (TABLE, "bernoulli", r"bernoulli must be used on values in \[0, 1\]"),
        (TABLE, "image", "image must be used on a data set of images; got table"),
    ],
)
def test_mistakes_are_one_sentence(data, names, sentence):
    with pytest.raises(InputError, match=sentence):
        preprocessing(data, names)
