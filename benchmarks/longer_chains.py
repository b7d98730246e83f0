"""Why more Langevin steps a training step are no better in `energax reproduce ml-speed`: what it looks at.

    python -m benchmarks.longer_chains

The digits' perceptron is trained as there, 500 updates by a replay buffer with 10 or 60 Langevin steps, at
the study's learning rate and at three times it. Judged as there are the buffer's chains as they stand, which
is what the study looks at; those chains after `LONGER` more steps on the energy learned; and held-out digits
plus σ₀z after `CHAIN` steps. Samples of a density stay as good when their chains go on, and chains that
start from data stay with them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from energax.objectives import ReplayBufferLikelihood
from energax.papers.ml_speed_methods import EPSILON, SIGMA_0, name_of
from energax.papers.ml_speed_quality import Bench
from energax.samplers import Langevin, run

UPDATES, SAMPLES, CHAIN, LONGER, SEEDS = 500, 200, 1_300, 5_200, 2
CASES = ((10, 1e-3), (60, 1e-3), (10, 3e-3), (60, 3e-3))
LOOKS = ("chains of training", f"{LONGER:,} steps later", f"digits, {CHAIN:,} steps later")


def looks(bench: Bench, langevin: int, rate: float, seed: int) -> list[dict[str, float]]:
    """Train once; return what the samples of `LOOKS` are worth."""
    objective = ReplayBufferLikelihood(Langevin.mdsm(EPSILON), langevin, size=10_000, restart=0.05)
    result, key = bench.fitted(name_of(langevin), objective, UPDATES, seed, rate)
    energy = result.energy
    chains = bench.from_buffer(result, key)
    longer_key, noise_key, data_key = jax.random.split(key, 3)
    noise = jax.random.normal(noise_key, (SAMPLES, bench.test.shape[1]))
    digits = jnp.asarray(bench.test[:SAMPLES]) + SIGMA_0 * noise
    longer = run(Langevin.mdsm(EPSILON), energy, chains, key=longer_key, steps=LONGER).x
    after = run(Langevin.mdsm(EPSILON), energy, digits, key=data_key, steps=CHAIN).x
    return [bench.worth(bench.denoised(energy, x)) for x in (chains, longer, after)]


def main() -> None:
    """Print the table: shares recognised, and in brackets the energy distances, means over the seeds."""
    bench = Bench(256, SAMPLES, CHAIN)
    print("| trained by | learning rate |", " | ".join(LOOKS), "|\n|---|---|---|---|---|")
    for langevin, rate in CASES:
        found = [looks(bench, langevin, rate, seed) for seed in range(SEEDS)]
        cells = []
        for each in zip(*found, strict=True):
            shares, distances = ([worth[what] for worth in each] for what in ("recognised", "distance"))
            told = ", ".join(f"{share:.0%}" for share in shares)
            cells.append(f"{told} ({np.mean(distances):.3f})")
        print(f"| {name_of(langevin)} | {rate:g} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
