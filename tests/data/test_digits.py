import numpy as np
from sklearn.datasets import load_digits

from energax.data import digits


def test_digits_are_scikit_learns_in_another_order():
    data = digits()
    assert data.train.shape == (1500, 64)
    assert data.test.shape == (297, 64)
    assert data.image_shape == (8, 8, 1)
    assert (data.train.min(), data.train.max()) == (0.0, 1.0)
    rows = np.concatenate([data.train, data.test]) * 16
    labels = np.concatenate([data.train_labels, data.test_labels])
    theirs, their_labels = load_digits(return_X_y=True)
    ours = sorted(map(tuple, np.column_stack([rows, labels])))
    assert ours == sorted(map(tuple, np.column_stack([theirs, their_labels])))


def test_the_split_is_fixed():
    assert (digits().test == digits().test).all()
