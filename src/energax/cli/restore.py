"""`energax restore`: what a blur, a loss of resolution or a projection lost, drawn anew under a model."""

from __future__ import annotations

import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import tasks
from energax.checks import check, check_integer, check_number, check_seed
from energax.cli.images import IMAGES_SHOWN, save_grid
from energax.cli.sample import sampling
from energax.cli.show import counted
from energax.cli.targets import save_array, target_file
from energax.cli.trained import Trained
from energax.data import Pipeline, read_table
from energax.typing import Array, Event

__all__ = ["restore"]


class InDataUnits(eqx.Module):
    """z ↦ A f⁻¹(z): what is seen of an event in the units the model sees."""

    operator: eqx.Module
    pipeline: Pipeline

    def __call__(self, z: Event) -> Array:
        """Return the look at one event."""
        return self.operator(self.pipeline.inverse(z))  # pyright: ignore[reportCallIssue]


def restore(
    run: Path,
    file: str,
    *,
    operator: str,
    noise: float,
    degrade: bool,
    draws: int,
    seed: int,
    out: Path | None,
) -> int:
    """Restore what a linear look lost; see the help of `energax restore`."""
    command = "restore"
    check_seed(command, "--seed", seed)
    check_integer(command, "--draws", draws, at_least=1)
    check_number(command, "--noise", noise, above=0)
    trained = Trained(run, command)
    energy = trained.way.energy(trained.energy)
    plain = energy is not None and not trained.way.told
    check(plain, command, "RUN", "a run of an energy that is not told the noise", trained.config.objective)
    assert energy is not None
    allowed = "a run of one energy over real numbers, sampled from noise"
    what = f"one over {trained.states}" if trained.states else trained.config.objective
    check(trained.states is None and trained.way.whole, command, "RUN", allowed, what)
    look = tasks.linear_operator(operator, trained.event, trained.image, seed)
    seen = jax.eval_shape(look, jax.ShapeDtypeStruct(trained.event, jnp.float32)).shape
    target = target_file(out, file, "restored.npy", command)
    truth = layout = None
    if degrade:
        truth, layout = trained.read(file)
        y = np.array(jax.vmap(look)(jnp.asarray(truth)))
        y += noise * np.random.default_rng(seed).normal(size=y.shape)
    else:
        rows = read_table(file).rows  # of what an operator gives, columns have no names
        rows = rows[None] if rows.shape == seen else rows
        fits = rows.size == len(rows) * int(np.prod(seen))
        shape = f"(n, {', '.join(map(str, seen))}), what {operator} gives"
        check(fits, command, Path(file).name, f"of shape {shape}", f"shape {rows.shape}")
        y = rows.reshape(-1, *seen)
    the_way = trained.way
    with sampling(the_way.horizon, "restoring") as progress:
        z = tasks.restore(
            energy,
            np.concatenate([y] * draws),
            InDataUnits(look, trained.pipeline),
            noise=noise,
            key=jax.random.fold_in(jax.random.key(seed), 0),
            sigma_0=the_way.sigma_0 or 0.0,
            noise_max=the_way.start,
            sampler=the_way.sampler,
            center=trained.center,
            final_jump=the_way.sigma_0 is not None,
            progress=progress,
        )
    drawn = trained.to_data(z)
    drawn[~trained.stayed(z)] = np.nan
    restored = drawn.reshape(draws, len(y), *drawn.shape[1:]).mean(axis=0)
    save_array(target, restored if layout is None else layout.back(restored))
    what = "draws" if draws == 1 else f"means of {draws} draws"
    print(f"{counted(len(y), 'row')} in {target}: {what} of what gives such observations")
    lost = np.flatnonzero(~np.isfinite(restored).reshape(len(y), -1).all(axis=1))
    if len(lost):
        print(
            f"note: the chains of rows {', '.join(map(str, lost))} left all bounds, and are NaN",
            file=sys.stderr,
        )
    if truth is not None:
        save_array(target.with_name(f"{target.stem}-observed.npy"), y)
        _tell(truth, restored, y, seen == trained.event)
    if trained.image is not None:
        save_grid(target.with_suffix(".png"), _grid(trained, look, y, restored, truth))
        order = "what was seen, restored" + ("" if truth is None else ", the truth")
        print(f"shown in {target.with_suffix('.png')}: {order}")
    return 0


def _tell(truth: np.ndarray, restored: np.ndarray, y: np.ndarray, alike: bool) -> None:
    """Print how far from the truth the restored rows are, and the observations where they are alike."""

    def rms(x: np.ndarray) -> float:
        return float(np.sqrt(np.nanmean((x - truth) ** 2)))

    before = f"; what was seen, {rms(y):.4g}" if alike else ""
    print(f"root mean square error of an entry: restored, {rms(restored):.4g}{before}")


def _grid(
    trained: Trained, look: object, y: np.ndarray, restored: np.ndarray, truth: np.ndarray | None
) -> list[np.ndarray]:
    """Return rows of pictures: observations (as far as they are pictures), restored, true."""
    assert trained.image is not None
    h, w, c = trained.image
    shown = slice(IMAGES_SHOWN)
    rows = [trained.pixels(np.nan_to_num(restored[shown], nan=trained.low))]
    if isinstance(look, tasks.Blur):
        rows.insert(0, trained.pixels(y[shown]))
    elif isinstance(look, tasks.Downsample):
        k = look.factor
        large = y[shown].reshape(-1, h // k, w // k, c).repeat(k, axis=1).repeat(k, axis=2)
        rows.insert(0, trained.pixels(large))
    return rows if truth is None else [*rows, trained.pixels(truth[shown])]
