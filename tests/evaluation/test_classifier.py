"""The classifier of a data set's own classes: it learns them, is kept, and counts the modes of stacks."""

import numpy as np
import pytest

import energax as ex
from energax.data import Dataset, digits, stacked
from energax.evaluation import ClassifierTraining, classified, classifier_of, mode_coverage
from energax.evaluation import classifier as classifiers

QUICK = ClassifierTraining(channels=4, steps=250, learning_rate=5e-3)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return classifier_of(digits(), QUICK, folder=tmp_path_factory.mktemp("judges"))


def test_it_learns_the_classes(judge):
    data = digits()
    assert judge.accuracy > 0.9
    assert judge.accuracy == np.mean(judge.places(data.test) == data.test_labels)
    p = judge.probabilities(data.test)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(p.argmax(1), judge.places(data.test))
    assert judge.features(data.test).shape == (297, 64)
    assert judge.name == "features of a classifier of digits"
    # What is beyond the ends is seen as at the ends, and no row depends on the others.
    beyond = np.where(data.test == 1, 7.0, data.test)
    np.testing.assert_allclose(judge.features(beyond[5:9]), judge.features(data.test)[5:9], atol=1e-5)


def test_it_is_trained_once_for_its_data_and_settings(tmp_path, monkeypatch):
    data, few = digits(), ClassifierTraining(channels=0, steps=3)
    first = classifier_of(data, few, folder=tmp_path)
    monkeypatch.setattr(classifiers, "_train", lambda *_: pytest.fail("trained again"))
    again = classifier_of(data, few, folder=tmp_path)
    np.testing.assert_array_equal(first.features(data.test), again.features(data.test))
    for other in (
        lambda: classifier_of(data, ClassifierTraining(channels=0, steps=4), folder=tmp_path),
        lambda: classifier_of(changed(data), few, folder=tmp_path),
    ):
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            other()
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        classifier_of(data, few, folder=tmp_path)


def changed(data):
    train = data.train.copy()
    train[3, 20] += 0.5
    return Dataset("digits", "image", train, data.test, data.train_labels, image_shape=(8, 8, 1))


def test_stacks_are_counted_by_their_channels(judge):
    stacks = stacked(digits(), rows=10, held_out=600)
    assert (stacks.name, stacks.event_shape, stacks.image_shape) == ("stacked-digits", (192,), (8, 8, 3))
    modes, total = classified(judge, stacks.test)
    assert total == 1000
    agree = np.mean(modes == stacks.test_labels)
    assert abs(agree - judge.accuracy**3) < 0.08  # three channels, each read alone
    assert mode_coverage(modes, total).found <= 600
    lost = stacked(kept(digits(), 9), rows=10, held_out=600)
    assert set(np.unique(lost.test_labels // 81)) == set(range(9))
    np.testing.assert_array_equal(classified(judge, digits().test)[0], judge.places(digits().test))


def kept(data, classes):
    """Return a data set without its last classes."""
    here, there = data.train_labels < classes, data.test_labels < classes
    rows, labels = (data.train[here], data.test[there]), (data.train_labels[here], data.test_labels[there])
    return Dataset("digits", "image", *rows, *labels, image_shape=(8, 8, 1))


def test_what_has_no_classes_is_refused(judge):
    data = digits()
    plain = Dataset("plain", "image", data.train, data.test, image_shape=(8, 8, 1))
    with pytest.raises(ex.InputError, match=r"one with class labels .*; got plain, which has none"):
        classifier_of(plain)
    with pytest.raises(ex.InputError, match="one with class labels; got plain, which has none"):
        stacked(plain, rows=5, held_out=5)
    with pytest.raises(ex.InputError, match="one of grey images"):
        stacked(ex.data.toy("two-moons"), rows=5, held_out=5)
    with pytest.raises(ex.InputError, match="rows of 64 entries"):
        judge.features(np.zeros((4, 65)))
    with pytest.raises(ex.InputError, match="rows of 64 entries a channel"):
        classified(judge, np.zeros((4, 65)))
