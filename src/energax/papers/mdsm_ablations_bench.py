"""How a case of MDSM's ablations is trained, sampled and measured."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data, energies
from energax.config import FitConfig
from energax.objectives import MultiscaleDenoisingScoreMatching
from energax.papers.judge import Judge, energy_distance, pixels
from energax.papers.mdsm_ablations_cases import STEP
from energax.samplers import Langevin, schedules
from energax.tasks import anneal, denoise
from energax.training import DivergenceError, fit

__all__ = ["DENOISED", "SCALES", "Bench", "Sizes", "temperatures"]

SIGMA_0 = 0.1
DENOISED = (0.1, 0.2, 0.3, 0.6)  # σ of the denoising error: within all ladders but the shortest
FAR = 10.0


class Sizes(NamedTuple):
    """What a scale means."""

    dataset: str
    network: str
    options: dict[str, Any]
    fit: dict[str, Any]
    ladder: dict[str, Any]
    lengths: tuple[int, int, int]
    samples: int
    seeds: int


SCALES = {
    "smoke": Sizes(
        "digits", "MLP", {"width": 32, "depth": 1}, {"steps": 60, "ema": 0.9}, {}, (5, 20, 5), 60, 2
    ),
    "cpu": Sizes(
        "digits",
        "MLP",
        {"width": 256, "depth": 3},
        {"steps": 1200, "learning_rate": 1.5e-3, "ema": 0.99},
        {},
        (200, 1000, 100),
        200,
        3,
    ),
    "paper": Sizes(
        "mnist",
        "ResNet",
        {"layers": 12, "width": 64},
        {"steps": 100_000, "learning_rate": 5e-5, "beta2": 0.95, "ema": 0.0},
        {"sigma_min": 0.1},
        (500, 2000, 200),
        1000,
        3,
    ),
}


class Watched(MultiscaleDenoisingScoreMatching):
    """The same loss, with the mean energy of data + σ₀z as a further metric."""

    def loss(self, model, nuisance, state, batch, key):
        """Return the loss, and the mean energy beside its metrics."""
        value, metrics = super().loss(model, nuisance, state, batch, key)
        noise = jax.random.normal(jax.random.fold_in(key, 1), batch.x.shape)
        energy = jax.vmap(model)(batch.x + self.sigma_0 * noise)
        return value, {**metrics, "energy": jax.lax.stop_gradient(jnp.mean(energy))}


class Bench:
    """What every case is trained on and judged by."""

    def __init__(self, sizes: Sizes):
        self.sizes = sizes
        self.dataset = getattr(data, sizes.dataset)()
        if sizes.network == "ResNet":  # the paper pads MNIST to 32 × 32
            self.dataset = _padded(self.dataset)
        self.test = self.dataset.test[:1000]
        self.judge = Judge.of(self.dataset)

    def train(self, seed: int, *, head: str = "quadratic", schedule: str = "cosine", **ladder: Any) -> Any:
        """Return a fit."""
        sizes = self.sizes
        model_key, fit_key = jax.random.split(jax.random.key(seed))
        energy = _network(sizes.network, self.dataset.event_shape, head, **sizes.options)(model_key)
        objective = Watched(**{"sigma_max": 2.0, "sigma_0": SIGMA_0, **sizes.ladder, **ladder})
        config = FitConfig(**{"schedule": schedule, **sizes.fit})
        try:
            return fit(energy, objective, self.dataset.train, key=fit_key, config=config, progress=False)
        except DivergenceError as stopped:
            return stopped.fit

    def denoising(self, energy: Any, seed: int) -> list[float]:
        """Return the rms error left at each σ of `DENOISED`, as a share of σ."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=self.test.shape).astype(np.float32)
        errors = [denoise(energy, self.test + s * z, sigma_0=SIGMA_0) - self.test for s in DENOISED]
        return [float(np.sqrt(np.mean(e**2)) / s) for s, e in zip(DENOISED, errors, strict=True)]

    def sample(
        self, energy: Any, seed: int, *, epsilon: float = STEP, noise_max: float = 1.0, jump: bool = True,
        shape: str = "paper",
    ) -> np.ndarray:  # fmt: skip
        """Return samples of the sampler with one thing changed."""
        sampler = Langevin.mdsm(epsilon * SIGMA_0, temperatures(shape, noise_max, self.sizes.lengths))
        return np.asarray(
            anneal(
                energy,
                self.sizes.samples,
                key=jax.random.fold_in(jax.random.key(seed), 1),
                sigma_0=SIGMA_0,
                noise_max=noise_max,
                sampler=sampler,
                final_jump=jump,
            ).x
        )

    def quality(self, samples: np.ndarray) -> dict[str, float]:
        """Return what the samples are worth."""
        far = ~np.isfinite(samples) | (np.abs(np.nan_to_num(samples) - 0.5) > 0.5 + FAR)
        lost = far.reshape(len(samples), -1).any(1)
        return {
            "distance": energy_distance(samples, self.test),
            "recognised": self.judge.verdict(samples)["recognised"],
            "lost": float(lost.mean()),
            "copies": _copies(samples, self.dataset.train, self.test),
        }


@functools.cache
def _network(name: str, shape: tuple[int, ...], head: str, **options: Any) -> Callable[[Any], Any]:
    """Return key ↦ network, compiled once for each head."""
    return eqx.filter_jit(lambda key: getattr(energies, name)(shape, head=head, **options, key=key))


def temperatures(shape: str, noise_max: float, lengths: tuple[int, int, int]) -> schedules.Schedule:
    """Return the temperatures of one shape; all shapes are equally long."""
    hold, down, cool = lengths
    top = (noise_max / SIGMA_0) ** 2
    paper = schedules.mdsm(top, hold=hold, anneal=down, cool=cool)
    cold = schedules.linear(1.0, 0.0, cool)
    if shape == "paper":
        return paper
    if shape == "linear":
        return schedules.join(schedules.constant(top, hold), schedules.linear(top, 1.0, down), cold)
    if shape == "at once":
        return schedules.join(schedules.geometric(top, 1.0, hold + down), cold)
    if shape == "constant":
        return schedules.join(schedules.constant(1.0, hold + down), cold)
    values = np.asarray(paper.values)  # "warm": T = 1 where the others cool
    return schedules.Schedule(np.append(values[: hold + down], np.ones(cool)))


def _padded(dataset: data.Dataset) -> data.Dataset:
    def pad(x):
        h, w, c = dataset.image_shape or x.shape[1:]
        return np.pad(x.reshape(-1, h, w, c), ((0, 0), (2, 2), (2, 2), (0, 0)))

    return replace(dataset, train=pad(dataset.train), test=pad(dataset.test), image_shape=None)


def _copies(samples: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Return the share of samples nearer to a training row than to any held-out one."""
    from scipy.spatial.distance import cdist

    x = pixels(samples)
    return float(np.mean(cdist(x, pixels(train)).min(1) < cdist(x, pixels(test)).min(1)))
