"""The measurement behind the first number of temperatures: how far log weights by HMC spread.

    python -m benchmarks.annealing_width

Where every step of an annealing draws afresh, sd(log w) is L/√temperatures, L the path's length that the
pilot run finds. Of HMC as `log_normalizer` plans it (one path of ten leapfrog steps at each temperature) the
table says how many times that it is, forward and back, from exact draws both ways: on normal laws of 100
coordinates and skewed ones of 20 and 100, mean and standard error of three runs of 100 chains.
"""

import jax
import numpy as np

from energax.energies import Gaussian, GeneralizedLogistic
from energax.evaluation import log_normalizer
from energax.typing import Model

TEMPERATURES, RUNS = (300, 1000), 3


def normal(narrowest: float) -> tuple[Model, Gaussian]:
    """Return a rotated normal law of standard deviations from this to 2, and N(0, 4I)."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 100)))[0]
    variances = np.geomspace(narrowest, 2.0, 100) ** 2
    return Gaussian(np.zeros(100), (rotation * variances) @ rotation.T), Gaussian(
        np.zeros(100), 4 * np.eye(100)
    )


def skewed(d: int) -> tuple[Model, None]:
    """Return independent generalised logistic coordinates; the base is fitted to draws."""
    rng = np.random.default_rng(1)
    return GeneralizedLogistic(rng.uniform(0.5, 3, d), rng.normal(size=d), rng.uniform(0.5, 2, d)), None


LAWS = {
    "normal, deviations 1 to 2": lambda: normal(1.0),
    "normal, deviations 0.1 to 2": lambda: normal(0.1),
    "skewed of 20": lambda: skewed(20),
    "skewed of 100": lambda: skewed(100),
}


def ratios(name: str, temperatures: int, seed: int) -> tuple[float, float, float]:
    """Return L, and sd(log w) √temperatures / L forward and in reverse."""
    model, base = LAWS[name]()
    key = jax.random.key(seed)
    data = None if base is not None else model.sample(jax.random.fold_in(key, 1), 2000)
    found = log_normalizer(model, base, data=data, temperatures=temperatures, exact=False, key=key)
    length = float(found.settings["length"])  # pyright: ignore[reportArgumentType]
    return length, *(sd * temperatures**0.5 / length for sd in found.deviation)


def main() -> None:
    """Print one table."""
    print("| law | temperatures | L | forward | in reverse |\n|---|---|---|---|---|")
    for name in LAWS:
        for temperatures in TEMPERATURES:
            found = np.array([ratios(name, temperatures, seed) for seed in range(RUNS)])
            mean, error = found.mean(0), found.std(0, ddof=1) / RUNS**0.5
            told = [f"{m:.2f} ± {e:.2f}" for m, e in zip(mean[1:], error[1:], strict=True)]
            print(f"| {name} | {temperatures:,} | {mean[0]:.1f} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
