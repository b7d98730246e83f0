r"""Deep energies and machines of MNIST and Fashion-MNIST by the learned Stein discrepancy, in logit space.

Grathwohl et al. (2020), §8.2, B.6, C and figures 9 and 11–14. Pixels are dequantised and stretched by a
logit; q ∝ exp(−E(x)) N(x; μ, diag β²) with E of two hidden layers, a critic of two, λ = 10, five critic steps
for each of the model's; and a Gaussian–Bernoulli machine of 100 hidden units. No sampler takes part in the
training. Afterwards, from starts logit(U),

    x ← x − ε∇E(x) + σz,      ε = 1,      at temperature T = σ²/2ε                (eq. 19)

with σ = 0.01 for 1,000 steps (figures 9 and 11), and from the same starts 30 steps (figure 13), and 300 with
σ = 0.01 and σ = 0.1 (figure 12); the machine's samples are E[x | h] after Gibbs sweeps (figure 14). T is
5·10⁻⁵ or 5·10⁻³: these are places of low energy, not draws of q. A step of ε = 1 is too long where ∇²E is
beyond 2, so that chains run with ε = 0.1, too, and these once from held-out images: are data at rest? Beside
the pictures stand, in grey levels,

    diversity           mean distance between two samples, over that between two held-out images
    distance            mean distance from a sample to the nearest training image, over a held-out image's
    energy distance     of the samples to held-out images, zero for one law
    E less the data's   mean E where chains of the deep energy end less that of held-out images, nats

and, of the models themselves and without a sample, the score-matching loss at held-out rows,

    J = E[½‖s_q‖² + tr ∇s_q] = ½E‖s_q − s_p‖² − ½E‖s_p‖²,

against that of independent Gaussians with each pixel's mean and variance, which no training touched.

A critic with fewer hidden units than pixels cannot even scale each pixel by itself, the rank of f being too
small: that forbids narrow networks on 784 pixels. So at scale cpu squares of 4 × 4 pixels are averaged, 49 of
them, for 128 units; there λ is 1, not 10.

The code gives the base one mean and one deviation for all pixels, adds 0.001 mean E² to the model's loss and
decays weights; here each pixel's are learned, and there is neither. Adam is the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist, pdist

from energax import data
from energax.energies import MLP, Gaussian, GaussianBernoulliRBM, WithGaussianBase
from energax.objectives import Batch, LearnedSteinDiscrepancy, SlicedScoreMatching
from energax.papers.judge import energy_distance, pixels
from energax.papers.outcome import Outcome
from energax.samplers import BlockGibbs, Langevin
from energax.samplers import run as run_chains
from energax.samplers.pools import marginals
from energax.training import fit
from energax.typing import Array, Model

__all__ = ["judged", "run"]

ALPHA = 1e-6
CRITIC_STEPS = 5
DEEP, MACHINE, GAUSSIANS = "deep energy", "machine", "independent Gaussians"
SHUFFLED = "shuffled pixels"  # each pixel from another image: what the marginals alone look like
SHOWN = 64
FIRST = 1_000  # rows whose moments a model starts from
RUNS = {  # figure, and ε, σ and steps
    "fig. 9: σ 0.01, 1,000 steps": (1.0, 0.01, 1_000),
    "fig. 12: σ 0.01, 300 steps": (1.0, 0.01, 300),
    "fig. 12: σ 0.1, 300 steps": (1.0, 0.1, 300),
    "fig. 13: σ 0.01, 30 steps": (1.0, 0.01, 30),
    "ε 0.1, σ 0.01, 1,000 steps": (0.1, 0.01, 1_000),
    "from held-out images, 1,000 steps": (0.1, 0.01, 1_000),
}
GIBBS = "fig. 14: Gibbs"
BEST, COLD, WARM, SHORT, FINE, HOME = RUNS


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    datasets, levels
        Loaders' names, and the grey levels of their files.
    rows
        Training rows.
    width, hidden
        Hidden units of a layer of model and critic, and of the machine.
    steps, batch
        Updates of each model, and rows of a minibatch.
    rate, machine_rate
        Learning rates of the deep energy and of the machine.
    sweeps
        Of the machine's chains.
    judged
        Samples that numbers are of.
    pool
        Side of the squares of pixels that are averaged first.
    penalty
        λ.
    """

    datasets: tuple[str, ...]
    levels: int
    rows: int
    width: int
    hidden: int
    steps: int
    batch: int
    rate: float
    machine_rate: float
    sweeps: int
    judged: int
    pool: int = 1
    penalty: float = 10.0


BOTH = ("mnist", "fashion_mnist")
SMALL: dict[str, Any] = {"pool": 4, "penalty": 1.0}
SIZES = {
    "smoke": Size(("digits",), 17, 1_000, 32, 10, 60, 64, 1e-3, 1e-3, sweeps=20, judged=100),
    "cpu": Size(BOTH, 256, 20_000, 128, 50, 2_000, 100, 1e-3, 1e-3, sweeps=1_000, judged=256, **SMALL),
    "paper": Size(BOTH, 256, 60_000, 1_000, 100, 23_400, 256, 1e-4, 1e-3, sweeps=2_000, judged=1_000),
}


def judged(samples: np.ndarray, held_out: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """Return the numbers of samples in grey beside as many held-out images and all training images."""
    x, y, known = pixels(samples), pixels(held_out), pixels(train)
    return {
        "diversity": float(pdist(x).mean() / pdist(y).mean()),
        "distance": float(cdist(x, known).min(1).mean() / cdist(y, known).min(1).mean()),
        "energy distance": energy_distance(samples, held_out),
    }


class Bench:
    """One data set in logit space, and the trainings on it."""

    def __init__(self, name: str, size: Size):
        self.size = size
        dataset = getattr(data, name)()
        assert dataset.image_shape is not None
        h, w = (side // size.pool for side in dataset.image_shape[:2])
        self.image_shape = (h, w)

        def pooled(x: np.ndarray) -> np.ndarray:
            squares = x.reshape(len(x), h, size.pool, w, size.pool)
            return squares.mean(axis=(2, 4)).reshape(len(x), h * w)

        self.train = pooled(dataset.train[: size.rows])
        self.held_out = pooled(dataset.test[: size.judged])
        # The mean of n numbers of L levels has n (L − 1) + 1.
        levels = size.pool**2 * (size.levels - 1) + 1
        self.logits = data.Pipeline([data.Dequantise(levels), data.Logit(ALPHA)])
        self.z = self.stretched(self.train[:FIRST], 0)
        uniform = jax.random.uniform(jax.random.key(3), (size.judged, self.train.shape[1]))
        self.start = jnp.log(uniform) - jnp.log1p(-uniform)

    def stretched(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Return dequantised logits."""
        keys = jax.random.split(jax.random.key(seed), len(x))
        return np.asarray(jax.jit(jax.vmap(self.logits.training))(x, keys))

    def grey(self, z: Any) -> np.ndarray:
        """Return logits as rows in grey."""
        return np.clip(np.asarray(jax.nn.sigmoid(jnp.asarray(z))), 0, 1)

    def fitted(self, model: Model, rate: float) -> Model:
        """Return the model trained by the learned Stein discrepancy."""
        objective = LearnedSteinDiscrepancy(
            penalty=self.size.penalty,
            critic_steps=CRITIC_STEPS,
            width=self.size.width,
            critic_learning_rate=rate,
        )
        return fit(
            model,
            objective,
            self.train,
            key=jax.random.key(1),
            preprocessing=self.logits,
            steps=self.size.steps,
            batch_size=self.size.batch,
            learning_rate=rate,
            progress=False,
        ).energy

    def models(self) -> dict[str, Model]:
        """Return the trained models, and the Gaussians that are fitted in closed form."""
        shape = self.z.shape[1:]
        net = MLP(shape, width=self.size.width, depth=2, head="linear", key=jax.random.key(0))
        base = WithGaussianBase(net, self.z.mean(), self.z.std() + 1)
        machine = GaussianBernoulliRBM.from_data(
            self.z, self.size.hidden, scale=1 / self.size.hidden, key=jax.random.key(0)
        )
        return {
            GAUSSIANS: Gaussian(self.z.mean(axis=0), np.diag(self.z.var(axis=0))),
            DEEP: self.fitted(base, self.size.rate),
            MACHINE: self.fitted(machine, self.size.machine_rate),
        }

    def loss(self, model: Model) -> float:
        """Return the score-matching loss at held-out rows, in units of the number of pixels."""
        rows = Batch(jnp.asarray(self.stretched(self.held_out, 5)))
        matching = SlicedScoreMatching(projections=16, distribution="gaussian")
        value = matching.loss(model, None, None, rows, jax.random.key(6))[0]
        return float(value) / self.z.shape[1]

    def samples(self, models: Mapping[str, Model]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Return samples in grey, of the deep energy and of the machine; and mean E less the data's."""
        lower: dict[str, float] = {}
        found = {SHUFFLED: self.grey(marginals(jnp.asarray(self.z[: self.size.judged]), jax.random.key(4)))}
        home = jnp.asarray(self.stretched(self.held_out, 5))
        for name, (epsilon, sigma, steps) in RUNS.items():
            start = home if name == HOME else self.start
            chains = run_chains(
                Langevin.sgld(epsilon, sigma), models[DEEP], start, key=jax.random.key(7), steps=steps
            )
            found[name] = self.grey(chains.x)
            energies = (_energies(models[DEEP], jnp.asarray(z)).mean() for z in (chains.x, home))
            lower[name] = float(next(energies)) - float(next(energies))
        machine: Any = models[MACHINE]
        x = run_chains(BlockGibbs(), machine, self.start, key=jax.random.key(8), steps=self.size.sweeps).x
        hidden = jax.vmap(machine.sample_hidden)(x, jax.random.split(jax.random.key(9), len(x)))
        found[GIBBS] = self.grey(jax.vmap(machine.visible_mean)(hidden))
        return found, lower


@eqx.filter_jit
def _energies(model: Model, z: Array) -> Array:
    return jax.vmap(model)(z)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train both models of each data set, sample and judge."""
    size = SIZES[scale]
    found: dict[str, dict[str, Any]] = {}
    sheets: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    for name in size.datasets:
        bench = Bench(name, size)
        models = bench.models()
        losses = {kind: bench.loss(model) for kind, model in models.items()}
        progress(f"{name}, score-matching loss a pixel: " + _listed(losses))
        samples, lower = bench.samples(models)
        numbers = {kind: judged(x, bench.held_out, bench.train) for kind, x in samples.items()}
        for kind, values in numbers.items():
            progress(f"{name}, {kind}: {_listed(values)}")
            rows.append(
                (
                    name,
                    kind,
                    *(f"{values[k]:.3f}" for k in ("diversity", "distance", "energy distance")),
                    f"{lower[kind]:+.0f}" if kind in lower else "–",
                )
            )
        found[name] = {"losses": losses, "numbers": numbers, "energy": lower}
        pictured = {"held out": bench.held_out, **samples}
        sheets[name] = {k: _sheet(x[:SHOWN], bench.image_shape) for k, x in pictured.items()}
    columns = (
        "data",
        "samples",
        "diversity",
        "distance to training images",
        "energy distance",
        "E less the data's",
    )
    facts = {"found": found, "settings": vars(size)}
    return Outcome(columns, rows, _verdict(size, found), _draw(sheets), facts)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _sheet(x: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    h, w = image_shape
    side = int(np.sqrt(len(x)))
    tiles = np.pad(x[: side * side].reshape(-1, h, w), ((0, 0), (1, 1), (1, 1)), constant_values=0.35)
    return tiles.reshape(side, side, h + 2, w + 2).transpose(0, 2, 1, 3).reshape(side * (h + 2), -1)


def _verdict(size: Size, found: Mapping[str, Any]) -> str:
    lines = []
    for name, parts in found.items():
        losses, numbers = parts["losses"], parts["numbers"]
        below = [kind for kind in (DEEP, MACHINE) if losses[kind] < losses[GAUSSIANS]]
        lines.append(
            f"{name}: score-matching loss a pixel at held-out rows after {size.steps:,} updates:"
            f" {_listed(losses)}; below the Gaussians: {', '.join(below) or 'neither'}."
        )
        diverse = {kind: numbers[kind]["diversity"] for kind in RUNS}
        more = "more" if diverse[WARM] > diverse[COLD] else "less"
        sinks = "falls" if diverse[BEST] < diverse[SHORT] else "does not fall"
        near = [numbers[kind]["distance"] for kind in (SHORT, BEST)]
        nearer = "come nearer to" if near[1] < near[0] else "move away from"
        lines.append(
            f"{name}: with σ = 0.1 samples are {more} diverse than with 0.01 ({diverse[WARM]:.3f} and"
            f" {diverse[COLD]:.3f} of the data's; figure 12: more); from 30 to 1,000 steps diversity"
            f" {sinks} ({diverse[SHORT]:.3f} to {diverse[BEST]:.3f}; figure 13: falls) and samples {nearer}"
            f" the training images ({near[0]:.2f} to {near[1]:.2f} times a held-out image's distance; figure"
            " 13: clearer)."
        )
        lower = parts["energy"]
        sunk = "have less energy than" if lower[BEST] < 0 else "have no less energy than"
        lines.append(
            f"{name}: where the chains of figure 9 end they {sunk} held-out images ({lower[BEST]:+.0f} nats;"
            f" with ε = 0.1 {lower[FINE]:+.0f}); chains that start at held-out images end at"
            f" {numbers[HOME]['distance']:.2f} times a held-out image's distance ({lower[HOME]:+.0f} nats),"
            f" with ε = 0.1 from noise at {numbers[FINE]['distance']:.2f}."
        )
        shuffled = numbers[SHUFFLED]["energy distance"]
        told = ", ".join(f"{kind} {numbers[kind]['energy distance']:.3f}" for kind in (BEST, GIBBS))
        better = [kind for kind in (BEST, GIBBS) if numbers[kind]["energy distance"] < shuffled]
        lines.append(
            f"{name}: energy distance to held-out images: {told}, {SHUFFLED} {shuffled:.3f}; better than"
            f" shuffled pixels: {', '.join(better) or 'neither'}."
        )
    return "\n".join(f"- {line}" for line in lines)


def _draw(sheets: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(next(iter(sheets.values())))
    figure = Figure(figsize=(3.0 * len(kinds), 3.3 * len(sheets)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(sheets), len(kinds), squeeze=False)
    for line, (name, parts) in zip(grid, sheets.items(), strict=True):
        for axes, (kind, image) in zip(line, parts.items(), strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes.set_title(f"{name}, {kind}", fontsize=8)
            axes.set_axis_off()
    return figure
