"""The measurements behind two defaults: how the perceptron starts, and where the ladder ends.

    python -m benchmarks.choices

On the bundled digits, with the digits preset: the held-out loss after 1,000 and 3,000 updates
from He's initial weights and from PyTorch's default; and how many of 512 chains run away when
sampling starts from noise 1, with the ladder ending at σ = 1.2 and at σ = 2.
"""

import warnings

import equinox as eqx
import jax
import numpy as np

import energax as ex
from energax.presets import preset
from energax.samplers import annealed_langevin


def train(steps: int, *, sigma_max: float = 2.0, he: bool = True) -> ex.Fit:
    """Return a fit of the digits preset with these changes."""
    config = ex.config.replace(preset("digits", "digits"), {"fit.steps": steps})
    digits = ex.data.digits()
    model_key, fit_key = jax.random.split(jax.random.key(0))
    energy = eqx.filter_jit(lambda k: ex.energies.MLP((64,), key=k))(model_key)
    if not he:  # PyTorch's default is √6 smaller
        weights = lambda e: [layer.weight for layer in e.layers]  # noqa: E731
        energy = eqx.tree_at(weights, energy, [w / 6**0.5 for w in weights(energy)])
    objective = ex.objectives.MultiscaleDenoisingScoreMatching(sigma_max=sigma_max)
    settings = {"config": config.fit, "validation": digits.test, "progress": False}
    return ex.fit(energy, objective, digits.train, key=fit_key, **settings)


def lost(fit: ex.Fit) -> int:
    """Return how many of 512 chains end far outside the data or not finite."""
    sampler = annealed_langevin(hold=200, anneal=400, cool=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = ex.tasks.generate(fit.energy, 512, key=jax.random.key(5), sampler=sampler)
    return int(np.sum(~(np.abs(x).max(axis=1) < 3)))


def main() -> None:
    """Print both tables."""
    print("| initial weights | held-out loss, 1,000 updates | 3,000 updates |\n|---|---|---|")
    for name, he in (("He", True), ("PyTorch's default", False)):
        losses = [train(steps, he=he).history[-1]["validation_loss"] for steps in (1000, 3000)]
        print(f"| {name} | {losses[0]:.2f} | {losses[1]:.2f} |", flush=True)
    print("\n| ladder ends at σ | chains lost of 512 |\n|---|---|")
    for sigma_max in (1.2, 2.0):
        print(f"| {sigma_max} | {lost(train(3000, sigma_max=sigma_max))} |", flush=True)


if __name__ == "__main__":
    main()
