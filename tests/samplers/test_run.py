"""The one loop: same key, same bits; chains and steps do not disturb each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.samplers import Langevin, Sampler, observers, run, schedules, walk
from energax.samplers import base as loop


@pytest.fixture
def energy():
    return ex.energies.MLP((3,), width=8, key=jax.random.key(0))


def test_same_key_same_bits_and_other_key_other_bits(energy, key):
    x = jnp.zeros((4, 3))
    one = run(Langevin(0.1), energy, x, key=key, steps=20).x
    np.testing.assert_array_equal(one, run(Langevin(0.1), energy, x, key=key, steps=20).x)
    assert not np.array_equal(one, run(Langevin(0.1), energy, x, key=jax.random.fold_in(key, 1), steps=20).x)


def test_a_chain_does_not_depend_on_how_many_there_are(energy, key):
    x = jax.random.normal(key, (64, 3))
    many = run(Langevin(0.1), energy, x, key=key, steps=30).x
    few = run(Langevin(0.1), energy, x[:5], key=key, steps=30).x
    np.testing.assert_allclose(many[:5], few, rtol=1e-5, atol=1e-6)


def test_fewer_steps_are_a_prefix_whatever_the_chunks(energy, key):
    sampler = Langevin(0.1, schedules.geometric(5.0, 1.0, 40))
    x = jnp.zeros((4, 3))
    watched = run(sampler, energy, x, key=key, steps=40, observers={"x": observers.position}, every=7)
    for i, seen in zip(watched.steps, watched.observed["x"], strict=True):
        np.testing.assert_array_equal(seen, run(sampler, energy, x, key=key, steps=int(i)).x)
    np.testing.assert_array_equal(watched.steps, [0, 7, 14, 21, 28, 35, 40])


def test_observers_see_the_energy_and_progress_is_told(energy, key):
    x = jax.random.normal(key, (4, 3))
    told = []
    seen = run(
        Langevin(0.1),
        energy,
        x,
        key=key,
        steps=10,
        observers={"energy": observers.energy, "x": observers.position},
        every=5,
        progress=lambda done, total: told.append((done, total)),
    )
    assert seen.observed["energy"].shape == (3, 4)
    wanted = jax.vmap(jax.vmap(energy))(seen.observed["x"])
    np.testing.assert_allclose(seen.observed["energy"], wanted, rtol=1e-5)
    assert told == [(5, 10), (10, 10)]


def test_the_host_loop_is_the_compiled_loop(key, monkeypatch):
    resnet = eqx.filter_jit(lambda: ex.energies.ResNet((8, 8, 1), layers=6, width=2, key=key))()
    x = jax.random.normal(key, (3, 8, 8, 1))
    host = run(Langevin(1e-3), resnet, x, key=key, steps=5).x
    asked = []
    monkeypatch.setattr(loop, "compiles_loop", lambda *_: asked.append(True) or True)
    jax.clear_caches()  # `run` decides once for each program
    np.testing.assert_allclose(host, run(Langevin(1e-3), resnet, x, key=key, steps=5).x, rtol=1e-4, atol=1e-5)
    assert asked


def test_conditions_go_with_their_chains(key):
    energy = ex.energies.LinearGaussian(jnp.array([[2.0]]), scale=0.1)
    c = jnp.linspace(-3, 3, 7)[:, None]
    x = run(Langevin(0.002), energy, jnp.zeros((7, 1)), key=key, steps=300, condition=c).x
    np.testing.assert_allclose(x, 2 * c, atol=0.6)


def test_a_second_run_compiles_and_traces_nothing(energy, key):
    x, traced, compiled = jnp.zeros((4, 3)), [], []

    def heard(y):
        traced.append(y)
        return energy(y)

    run(Langevin(0.1, schedules.constant(1.0, 50)), heard, x, key=key, steps=20)
    assert traced
    traced.clear()
    with count_compilations(compiled):
        run(Langevin(0.2, schedules.constant(2.0, 50)), heard, x, key=jax.random.key(9), steps=31)
    assert compiled == []
    assert traced == []


class count_compilations:
    """Collect the names of the programs compiled inside a with block."""

    def __init__(self, into):
        self.into = into

    def __enter__(self):
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event, seconds, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            self.into.append(event)

    def __exit__(self, *_):
        jax.monitoring.clear_event_listeners()


def test_mistakes_are_named(energy, key):
    x = jnp.zeros((2, 3))
    with pytest.raises(ex.InputError, match="steps must be given for a sampler without one"):
        run(Langevin(0.1), energy, x, key=key)
    with pytest.raises(ex.InputError, match="steps must be at most the schedule's 5; got 6"):
        run(Langevin(0.1, schedules.constant(1.0, 5)), energy, x, key=key, steps=6)
    with pytest.raises(ex.InputError, match="every must be given with observers"):
        run(Langevin(0.1), energy, x, key=key, steps=3, observers={"x": observers.position})


class Reporting(Sampler):
    """Moves by one a step and says where it was."""

    def init(self, model, x, key):
        return x

    def step(self, model, state, key, i):
        return state + 1, {"at": jnp.sum(state)}


def test_what_steps_report_is_averaged_over_them(energy, key):
    x = jnp.array([[0.0], [10.0]])
    ran = run(Reporting(), energy, x, key=key, steps=5)
    np.testing.assert_allclose(ran.info["at"], [2.0, 12.0])
    chunks = run(Reporting(), energy, x, key=key, steps=5, observers={"x": observers.position}, every=2)
    np.testing.assert_allclose(chunks.info["at"], [2.0, 12.0])
    np.testing.assert_allclose(walk(Reporting(), energy, x, key, 5)[1]["at"], 7.0)


def test_a_walk_is_a_run(energy, key):
    x = jax.random.normal(key, (4, 3))
    moved, _ = jax.jit(lambda x, k: walk(Langevin(0.1), energy, x, k, 10))(x, key)
    np.testing.assert_allclose(
        moved, run(Langevin(0.1), energy, x, key=key, steps=10).x, rtol=1e-4, atol=1e-5
    )


def test_a_walk_with_convolutions_is_written_out(key):
    resnet = ex.energies.ResNet((8, 8, 1), layers=6, width=2, key=key)
    x = jax.random.uniform(key, (2, 8, 8, 1))
    moved = walk(Langevin(1e-3), resnet, x, key, 2)[0]
    np.testing.assert_allclose(
        moved, run(Langevin(1e-3), resnet, x, key=key, steps=2).x, rtol=1e-4, atol=1e-5
    )


def test_a_sampler_scaled_takes_larger_steps():
    assert Langevin(0.1, 2.0).scaled(3.0).step_size(0) == pytest.approx(0.3)
    assert Langevin(0.1, 2.0).scaled(3.0).temperature(0) == 2.0
