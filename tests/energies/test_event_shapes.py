"""Whatever takes an event's shape refuses what is none, in one sentence."""

import inspect
from typing import Any

import jax
import numpy as np
import pytest

import energax as ex
from energax.checks import check_event_shape

TAKERS: dict[str, Any] = {
    name: taker
    for module in (ex.energies, ex.samplers.pools)
    for name in set(module.__all__) - {"Energy", "Normalised"}  # bases, without a constructor of their own
    if inspect.isclass(taker := getattr(module, name))
    and "event_shape" in inspect.signature(taker).parameters
}
REST = {"hidden": (2,), "key": jax.random.key(0), "couplings": np.zeros((2, 2))}  # that constructors require


def test_none_is_left_out():
    assert {"MLP", "PatchMixerField", "ResNet", "Ising", "IsingGraph", "Generator", "Critic"} < set(TAKERS)


@pytest.mark.parametrize("shape", [3, (2, 0), (2.0,), (True,), "3", None])
@pytest.mark.parametrize("name", sorted(TAKERS))
def test_what_is_no_shape_is_refused_in_one_sentence(name, shape):
    taken = inspect.signature(TAKERS[name]).parameters
    if shape is None and taken["event_shape"].default is None:
        pytest.skip("None is the size of something else")
    rest = {argument: value for argument, value in REST.items() if argument in taken}
    with pytest.raises(ex.InputError) as said:
        TAKERS[name](event_shape=shape, **rest)
    assert str(said.value) == f"{name}: event_shape must be a tuple of positive integers; got {shape!r}."


def test_a_shape_comes_back_as_a_tuple_of_plain_numbers():
    shape = check_event_shape("test", [np.int64(2), 3])
    assert shape == (2, 3)
    assert [type(side) for side in shape] == [int, int]
    assert check_event_shape("test", ()) == ()  # of a number


def test_integrals_refuse_it_too():
    functions = {
        "quadrature_log_normalizer": ex.evaluation.quadrature_log_normalizer,
        "enumerate_log_normalizer": ex.energies.enumerate_log_normalizer,
    }
    for name, function in functions.items():
        with pytest.raises(ex.InputError, match=f"^{name}: event_shape must be a tuple of positive integers"):
            function(lambda x: x**2, 3)
