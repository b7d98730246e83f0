"""What updates buy in the study of a step's cost: a training, samples of it in two ways, and their worth."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax import data, energies
from energax.objectives import Objective
from energax.papers.judge import Judge, energy_distance
from energax.papers.ml_speed_methods import BATCH, EPSILON, MDSM, SIGMA_0, SmoothedRows
from energax.samplers import Langevin, annealed_langevin
from energax.samplers import run as run_chains
from energax.samplers.pools import marginals
from energax.tasks.generate import generate, jump
from energax.training import DivergenceError, Fit, fit
from energax.typing import Array, Key, Model

__all__ = ["Bench"]

RATES = {MDSM: 1.5e-3, "ml": 1e-3}


class Bench:
    """What every training is made on and judged by.

    Parameters
    ----------
    width
        Of the perceptron that is trained.
    samples, chain
        Of each training, and Langevin steps of each.
    """

    def __init__(self, width: int, samples: int, chain: int):
        self.width, self.samples, self.chain = width, samples, chain
        dataset = data.digits()
        assert dataset.image_shape is not None
        self.image_shape = dataset.image_shape
        self.train, self.test = dataset.train, dataset.test
        self.judge = Judge.of(dataset)
        pixels = np.asarray(marginals(jnp.asarray(self.train), jax.random.key(0)))
        self.real, self.independent = (self.worth(x) for x in (self.test, pixels[: len(self.test)]))

    def fitted(
        self, name: str, objective: Objective, updates: int, seed: int, rate: float | None = None
    ) -> tuple[Fit, Key]:
        """Return a training by one method, at its own learning rate or this, and a key to sample with.

        Raises
        ------
        DivergenceError
            If it diverges.
        """
        model_key, fit_key, sample_key = jax.random.split(jax.random.key(seed), 3)
        model = energies.MLP((64,), width=self.width, depth=3, key=model_key)
        result = fit(
            model,
            objective,
            self.train,
            key=fit_key,
            preprocessing=None if name == MDSM else SmoothedRows(SIGMA_0),
            progress=False,
            steps=updates,
            batch_size=BATCH,
            learning_rate=rate or RATES[MDSM if name == MDSM else "ml"],
            ema=0.99,
        )
        return result, sample_key

    def quality(self, name: str, objective: Objective, updates: int, seed: int) -> dict[str, Any]:
        """Train and sample; return the nearer samples and what they are worth."""
        try:
            result, sample_key = self.fitted(name, objective, updates, seed)
        except DivergenceError as error:
            nothing = np.full((self.samples, self.train.shape[1]), np.nan)
            return {"recognised": 0.0, "diverged": str(error), "samples": nothing}
        ways = {"from noise": self.from_noise(result.energy, sample_key)}
        if name == MDSM:
            hold = self.chain * 2 // 13
            lengths = {"hold": hold, "anneal": self.chain - hold - hold // 2, "cool": hold // 2}
            sampler = annealed_langevin(sigma_0=SIGMA_0, epsilon=EPSILON, **lengths)
            ways["annealed"] = generate(
                result.energy, self.samples, key=sample_key, sigma_0=SIGMA_0, sampler=sampler
            )
        else:
            ways["buffer"] = self.denoised(result.energy, self.from_buffer(result, sample_key))
        worth = {way: self.worth(x) for way, x in ways.items()}
        best = max(worth, key=lambda way: worth[way]["recognised"])
        return {**worth[best], "way": best, "ways": worth, "samples": np.asarray(ways[best])}

    def worth(self, x: np.ndarray) -> dict[str, float]:
        """Return what the judge says of samples, and their distance."""
        return {**self.judge.verdict(x), "distance": energy_distance(x, self.test)}

    def from_noise(self, model: Model, key: Key) -> np.ndarray:
        """Return samples by Langevin dynamics at T = 1 from wide noise, and a jump."""
        start_key, chain_key = jax.random.split(key)
        start = 0.5 + jax.random.normal(start_key, (self.samples, self.train.shape[1]))
        x = run_chains(Langevin.mdsm(EPSILON), model, start, key=chain_key, steps=self.chain).x
        return self.denoised(model, x)

    def from_buffer(self, result: Fit, key: Key) -> Array:
        """Return chains of a training's replay buffer as they stand, not denoised."""
        kept = result.state.state.value.kept.x
        return kept[jax.random.permutation(key, len(kept))[: self.samples]]

    def denoised(self, model: Model, x: Array) -> np.ndarray:
        """Return x − σ₀²∇E(x)."""
        return np.asarray(jump(model, x, jnp.asarray(SIGMA_0), None))
