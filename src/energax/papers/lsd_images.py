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
small: that forbids narrow networks on 784 pixels. At scale cpu squares of 2 × 2 pixels are averaged, 196 of
them, for 256 units; there λ is 1, not 10, and the rate 10⁻³, not 10⁻⁴. The deep energy is trained again with
what the released code adds to the model's loss and the text does not name,

    held: 10⁻³ mean E(x)² at the data, E without the base's part,

to ask whether that keeps chains near images. Both Adams have the text's (0.5, 0.9). The code gives the base
one mean and one deviation for all pixels and decays weights; here each pixel has its own, which start at the
data's, so that a training starts at the independent Gaussians; and nothing decays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist, pdist

from energax import data
from energax.energies import MLP, Gaussian, GaussianBernoulliRBM, WithGaussianBase
from energax.objectives import Batch, LearnedSteinDiscrepancy, SlicedScoreMatching
from energax.papers.fields import energies_at
from energax.papers.judge import energy_distance, pixels
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas, tiled
from energax.samplers import BlockGibbs, Langevin
from energax.samplers import run as run_chains
from energax.samplers.pools import marginals
from energax.training import fit
from energax.typing import Key, Metrics, Model, Scalar

__all__ = ["HeldDiscrepancy", "judged", "run"]

ALPHA = 1e-6
CRITIC_STEPS = 5
BETAS = (0.5, 0.9)  # of both Adams
HOLD = 1e-3  # of mean E²
EMA = 0.99  # what is judged is an average of the last hundred updates
DEEP, HELD, MACHINE = "deep energy", "deep energy, held", "machine"
GAUSSIANS = "independent Gaussians"
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
CHAINS = {DEEP: tuple(RUNS), HELD: (BEST, FINE, HOME)}


class HeldDiscrepancy(LearnedSteinDiscrepancy):
    """The learned Stein discrepancy plus `HOLD` mean E(x)² in the model's loss, E the energy inside its base.

    Of the released code of Grathwohl et al. (2020). Parameters are those of `LearnedSteinDiscrepancy`; the
    model is one `WithGaussianBase`.
    """

    def loss(self, model: Any, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean s_θ·f + HOLD mean E²."""
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return value + HOLD * jnp.mean(jax.vmap(model.energy)(batch.x) ** 2), metrics


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
SIZES = {
    "smoke": Size(("digits",), 17, 1_000, 32, 10, 60, 64, 1e-3, 1e-3, sweeps=20, judged=100),
    "cpu": Size(BOTH, 256, 20_000, 256, 100, 1_500, 100, 1e-3, 1e-3, 1_000, judged=256, pool=2, penalty=1.0),
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


Kind = tuple[str, str]  # a model, and how it is sampled


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

    def fitted(self, model: Model, rate: float, how: type[LearnedSteinDiscrepancy]) -> Model:
        """Return the model trained by the learned Stein discrepancy, held or not."""
        beta1, beta2 = BETAS
        objective = how(
            penalty=self.size.penalty,
            critic_steps=CRITIC_STEPS,
            width=self.size.width,
            critic_learning_rate=rate,
            critic_beta1=beta1,
            critic_beta2=beta2,
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
            beta1=beta1,
            beta2=beta2,
            ema=EMA,
            progress=False,
        ).energy

    def models(self) -> dict[str, Model]:
        """Return the trained models, and the Gaussians that are fitted in closed form."""
        shape, size = self.z.shape[1:], self.size
        mean, variance = self.z.mean(axis=0), self.z.var(axis=0)
        net = MLP(shape, width=size.width, depth=2, head="linear", key=jax.random.key(0))
        base = WithGaussianBase(net, mean, np.sqrt(variance))
        machine = GaussianBernoulliRBM.from_data(
            self.z, size.hidden, scale=1 / size.hidden, key=jax.random.key(0)
        )
        return {
            GAUSSIANS: Gaussian(mean, np.diag(variance)),
            DEEP: self.fitted(base, size.rate, LearnedSteinDiscrepancy),
            HELD: self.fitted(base, size.rate, HeldDiscrepancy),
            MACHINE: self.fitted(machine, size.machine_rate, LearnedSteinDiscrepancy),
        }

    def loss(self, model: Model) -> float:
        """Return the score-matching loss at held-out rows, in units of the number of pixels."""
        rows = Batch(jnp.asarray(self.stretched(self.held_out, 5)))
        matching = SlicedScoreMatching(projections=16, distribution="gaussian")
        value = matching.loss(model, None, None, rows, jax.random.key(6))[0]
        return float(value) / self.z.shape[1]

    def samples(self, models: Mapping[str, Model]) -> tuple[dict[Kind, np.ndarray], dict[Kind, float]]:
        """Return samples in grey, by model and chain; and mean E less the data's."""
        lower: dict[Kind, float] = {}
        shuffled = marginals(jnp.asarray(self.z[: self.size.judged]), jax.random.key(4))
        found = {("data", SHUFFLED): self.grey(shuffled)}
        home = jnp.asarray(self.stretched(self.held_out, 5))
        for model, names in CHAINS.items():
            for name in names:
                epsilon, sigma, steps = RUNS[name]
                start = home if name == HOME else self.start
                how = Langevin.sgld(epsilon, sigma)
                x = run_chains(how, models[model], start, key=jax.random.key(7), steps=steps).x
                found[model, name] = self.grey(x)
                ends, rest = (float(energies_at(models[model], jnp.asarray(z)).mean()) for z in (x, home))
                lower[model, name] = ends - rest
        machine: Any = models[MACHINE]
        x = run_chains(BlockGibbs(), machine, self.start, key=jax.random.key(8), steps=self.size.sweeps).x
        hidden = jax.vmap(machine.sample_hidden)(x, jax.random.split(jax.random.key(9), len(x)))
        found[MACHINE, GIBBS] = self.grey(jax.vmap(machine.visible_mean)(hidden))
        return found, lower


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train both models of each data set, sample and judge."""
    size = SIZES[scale]
    found: dict[str, dict[str, Any]] = {}
    sheets: dict[str, dict[Kind, np.ndarray]] = {}
    rows = []
    for name in size.datasets:
        bench = Bench(name, size)
        models = bench.models()
        losses = {kind: bench.loss(model) for kind, model in models.items()}
        progress(f"{name}, score-matching loss a pixel: " + _listed(losses))
        samples, lower = bench.samples(models)
        numbers = {kind: judged(x, bench.held_out, bench.train) for kind, x in samples.items()}
        for kind, values in numbers.items():
            progress(f"{name}, {', '.join(kind)}: {_listed(values)}")
            rows.append(
                (
                    name,
                    *kind,
                    *(f"{values[k]:.3f}" for k in ("diversity", "distance", "energy distance")),
                    f"{lower[kind]:+.0f}" if kind in lower else "–",
                )
            )
        found[name] = {"losses": losses, "numbers": numbers, "energy": lower}
        pictured = {("", "held out"): bench.held_out, **samples}
        sheets[name] = {k: _sheet(x[:SHOWN], bench.image_shape) for k, x in pictured.items()}
    columns = (
        "data",
        "model",
        "samples",
        "diversity",
        "distance to training images",
        "energy distance",
        "E less the data's",
    )
    written = {
        name: {
            what: {k if isinstance(k, str) else ", ".join(k): v for k, v in values.items()}
            for what, values in parts.items()
        }
        for name, parts in found.items()
    }
    facts = {"found": written, "settings": vars(size)}
    return Outcome(columns, rows, _verdict(size, found), _draw(sheets), facts)


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _sheet(x: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    side = int(np.sqrt(len(x)))
    return tiled(x[: side * side].reshape(-1, *image_shape), side)


def _verdict(size: Size, found: Mapping[str, Any]) -> str:
    lines = []
    for name, parts in found.items():
        losses, numbers, lower = parts["losses"], parts["numbers"], parts["energy"]
        below = [kind for kind in (DEEP, HELD, MACHINE) if losses[kind] < losses[GAUSSIANS]]
        lines.append(
            f"{name}: score-matching loss a pixel at held-out rows after {size.steps:,} updates:"
            f" {_listed(losses)}; below the Gaussians: {', '.join(below) or 'none'}."
        )
        diverse = {kind: numbers[DEEP, kind]["diversity"] for kind in RUNS}
        more = "more" if diverse[WARM] > diverse[COLD] else "less"
        sinks = "falls" if diverse[BEST] < diverse[SHORT] else "does not fall"
        near = [numbers[DEEP, kind]["distance"] for kind in (SHORT, BEST)]
        nearer = "come nearer to" if near[1] < near[0] else "move away from"
        lines.append(
            f"{name}: with σ = 0.1 samples are {more} diverse than with 0.01 ({diverse[WARM]:.3f} and"
            f" {diverse[COLD]:.3f} of the data's; figure 12: more); from 30 to 1,000 steps diversity"
            f" {sinks} ({diverse[SHORT]:.3f} to {diverse[BEST]:.3f}; figure 13: falls) and samples {nearer}"
            f" the training images ({near[0]:.2f} to {near[1]:.2f} times a held-out image's distance; figure"
            " 13: clearer)."
        )
        for kind in CHAINS:
            sunk = "have less energy than" if lower[kind, BEST] < 0 else "have no less energy than"
            away = {chain: numbers[kind, chain]["distance"] for chain in CHAINS[kind]}
            lines.append(
                f"{name}, {kind}: where the chains of figure 9 end, at {away[BEST]:.2f} times a held-out"
                f" image's distance, they {sunk} held-out images ({lower[kind, BEST]:+.0f} nats); with"
                f" ε = 0.1 they end at {away[FINE]:.2f} ({lower[kind, FINE]:+.0f} nats), from held-out images"
                f" at {away[HOME]:.2f} ({lower[kind, HOME]:+.0f} nats)."
            )
        ends = {
            chain: [numbers[kind, chain]["energy distance"] for kind in (DEEP, HELD)]
            for chain in CHAINS[HELD]
        }
        told = "; ".join(f"{chain} {held:.3f} for {free:.3f}" for chain, (free, held) in ends.items())
        helped = [chain for chain, (free, held) in ends.items() if held < free]
        lines.append(
            f"{name}: energy distance to held-out images with the energy held, and not: {told}; holding it"
            f" brings chains nearer in {len(helped)} of {len(ends)}."
        )
        shuffled = numbers["data", SHUFFLED]["energy distance"]
        sampled = ((DEEP, BEST), (HELD, BEST), (MACHINE, GIBBS))
        told = ", ".join(f"{kind[0]} {numbers[kind]['energy distance']:.3f}" for kind in sampled)
        better = [kind[0] for kind in sampled if numbers[kind]["energy distance"] < shuffled]
        lines.append(
            f"{name}: energy distance to held-out images of figures 9 and 14: {told}; {SHUFFLED}"
            f" {shuffled:.3f}; better than shuffled pixels: {', '.join(better) or 'none'}."
        )
    return bulleted(lines)


def _draw(sheets: Mapping[str, Mapping[Kind, np.ndarray]]) -> Any:
    across = 6
    parts = [(name, kind, image) for name, sheet in sheets.items() for kind, image in sheet.items()]
    down = -(-len(parts) // across)
    figure = canvas(3.0 * across, 3.4 * down)
    for axes in (grid := figure.subplots(down, across, squeeze=False)).ravel():
        axes.set_axis_off()
    for axes, (name, (model, chain), image) in zip(grid.ravel(), parts, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{name}{', ' if model else ''}{model}\n{chain}", fontsize=9)
    return figure
