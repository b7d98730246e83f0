r"""A deep Boltzmann machine of binarised MNIST: what the second layer and the pretraining are worth.

Salakhutdinov & Hinton (2009): a stack of RBMs with doubled inputs becomes the start of one machine
(`CopiedRBM.in_stack`, `DeepBoltzmannMachine.from_rbms`), which is then learned whole, by mean-field
posteriors above the data and persistent chains below (`DeepBoltzmannLikelihood`).

*A small machine* has as many pixels but so few hidden units that nothing has to be guessed: log Z is a sum
over the states of h¹, and log p(x) over those of h². So there stand side by side, for held-out digits,

    log p(x) ≥ H(μ) − E(x, μ) − log Z,

and what the bound lacks, KL(q ‖ p(h | x)). Cases, all with as many updates, as many sweeps in each, and
each at the best learning rate of a grid by training likelihood:

    one layer       an RBM with the same h¹, by persistent chains
    stack           the composed stack as it is, after the whole number of updates
    no pretraining  the machine learned whole, from N(0, 0.01²) weights
    pretrained      half the updates for the stack, half for the whole machine

*A large machine* is shown, and its samples are judged, bits by bits (`papers.judge`), beside those of an RBM
and of its own stack. Annealed importance sampling puts its log Z between two ends
(`evaluation.log_normalizer`), and with it the bound, which of one layer is log p itself. Beside it stands the
cross-entropy of a reconstruction x → μ¹(x) → p(x | μ¹), which says how much h¹ keeps of x and nothing of how
likely x is. Chains start from shuffled pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data
from energax.energies import BernoulliRBM, DeepBoltzmannMachine
from energax.evaluation import log_normalizer
from energax.objectives import DeepBoltzmannLikelihood, PersistentContrastiveDivergence
from energax.papers.bracketed import Bracketed, ends
from energax.papers.descent import at_best_rate, log_likelihood
from energax.papers.judge import Judge
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas, show_sheet
from energax.papers.repeats import difference, pm, summary
from energax.samplers import BlockGibbs
from energax.samplers import run as run_chains
from energax.samplers.pools import marginals
from energax.training import fit, greedy
from energax.typing import Array, Key, Model

__all__ = ["run"]

SHALLOW, STACK, WHOLE, PRETRAINED = "one layer", "stack", "no pretraining", "pretrained"
CASES = (SHALLOW, STACK, WHOLE, PRETRAINED)
BATCH = CHAINS = 128
SWEEPS = 5  # of each chain in an update
ROUNDS = 100  # of mean field, where the bound is reported
JUDGED = 2_000  # held-out rows, and as many training rows
SHOWN = 64


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    dataset, rows
        A loader's name, and how many training rows are taken.
    small, updates, rates, seeds
        Hidden units of the machine whose likelihood is exact; updates of each training, the learning rates
        tried, and how many trainings.
    large, large_updates, large_rate
        The same of the machine that is shown.
    iterations
        Rounds of mean field in training.
    sweeps, samples
        Of the chains, and how many are judged.
    temperatures
        Of the estimate of its log Z.
    cases
        Of `CASES`, those that are trained, the last among them.
    """

    dataset: str
    rows: int
    small: tuple[int, ...]
    updates: int
    rates: tuple[float, ...]
    seeds: int
    large: tuple[int, ...]
    large_updates: int
    large_rate: float
    iterations: int
    sweeps: int
    samples: int
    temperatures: int
    cases: tuple[str, ...] = CASES


SIZES = {
    "smoke": Size(
        "digits", 1_500, (5, 4), 100, (0.03,), 1, (5, 4), 100, 0.03, 5, 50, 64, 100, (SHALLOW, PRETRAINED)
    ),
    "cpu": Size(
        "mnist", 10_000, (12, 12), 1_000, (1e-2, 3e-2), 3, (200, 100), 1_000, 3e-3, 10, 1_000, 200, 10_000
    ),
    "paper": Size(
        "mnist",
        60_000,
        (16, 16),
        20_000,
        (1e-3, 3e-3, 1e-2),
        5,
        (500, 1_000),
        100_000,
        1e-3,
        25,
        20_000,
        1_000,
        100_000,
    ),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train the small machine every way, measure it exactly; train the large one, judge its samples."""
    bench = Bench(SIZES[scale])
    size = bench.size
    results: dict[str, dict[str, Any]] = {}
    for case in size.cases:
        rate, found, values = at_best_rate(
            size.rates,
            size.seeds,
            lambda rate, seed, c=case: bench.exact(bench.trained(c, size.small, size.updates, rate, seed)),
            lambda worth: worth["log p, training"],
        )
        results[case] = {name: [worth[name] for worth in found] for name in found[0]}
        results[case] |= {
            "rate": rate,
            "training log p at each rate": {f"{r:g}": v for r, v in values.items()},
        }
        progress(
            f"{_named(size.small)}, {case}: {pm(results[case]['log p'], '.2f')} nats held out"
            f" at rate {rate:g}"
        )
    labels = bench.dataset.train_labels[: size.rows]
    judge = Judge.of(
        replace(bench.dataset, train=bench.train, test=bench.test, train_labels=labels, test_labels=None)
    )
    shown: dict[str, dict[str, Any]] = {"held out": judge.verdict(bench.test[: size.samples])}
    sheets = {"held out": bench.test[:SHOWN]}
    bounds: dict[str, Bracketed] = {}
    for case in size.cases:
        model = bench.trained(case, size.large, size.large_updates, size.large_rate, 0)
        samples, shades = bench.samples(model)
        shown[case] = {**judge.verdict(samples), "reconstruction": bench.reconstruction(model)}
        sheets[case] = shades[:SHOWN]
        bounds[case] = bench.bound(model)
        recognised = f"{shown[case]['recognised']:.1%} of samples recognised"
        progress(f"{_named(size.large)}, {case}: {recognised}, bound {bounds[case]} nats")
    columns = ("hidden", "case", "rate", "log p", "bound", "log p − bound", "recognised", "reconstruction")
    rows: list[tuple[Any, ...]] = []
    for case, r in results.items():
        gap = pm([a - b for a, b in zip(r["log p"], r["bound"], strict=True)], ".2f")
        rows.append(
            (
                _named(size.small),
                case,
                r["rate"],
                pm(r["log p"], ".2f"),
                pm(r["bound"], ".2f"),
                gap,
                "–",
                "–",
            )
        )
    for case, r in shown.items():
        machine = "–" if case == "held out" else _named(size.large)
        rate = "–" if case == "held out" else size.large_rate
        kept = f"{r['reconstruction']:.1f}" if "reconstruction" in r else "–"
        bound = str(bounds[case]) if case in bounds else "–"
        log_p = bound if case == SHALLOW else "–"
        rows.append((machine, case, rate, log_p, bound, "–", f"{r['recognised']:.1%}", kept))
    measured = {case: found._asdict() for case, found in bounds.items()}
    facts = {"small": results, "large": shown, "bounds": measured, "settings": vars(size)}
    figure = _draw(results, {n: s.reshape(-1, *bench.image_shape[:2]) for n, s in sheets.items()})
    return Outcome(columns, rows, _verdict(size, results, shown, bounds), figure, facts)


def _fitted(model: Model, rows: Any, steps: int, rate: float, key: Key, objective: Any = None) -> Any:
    """Return the model after `fit`, by persistent chains if no objective is given."""
    chosen = objective or PersistentContrastiveDivergence(BlockGibbs(), SWEEPS, chains=CHAINS)
    settings: dict[str, Any] = {"steps": steps, "batch_size": BATCH, "learning_rate": rate}
    return fit(model, chosen, rows, key=key, progress=False, **settings).energy


class Bench:
    """The data, the trainings on it, and what is measured of them."""

    def __init__(self, size: Size):
        self.size = size
        self.dataset = getattr(data, size.dataset)()
        self.image_shape = self.dataset.image_shape
        bits = data.Binarise()
        self.train, self.test = (
            np.asarray(bits.forward(jnp.asarray(a.reshape(len(a), -1))))
            for a in (self.dataset.train[: size.rows], self.dataset.test[:JUDGED])
        )

    def trained(self, case: str, hidden: tuple[int, ...], updates: int, rate: float, seed: int) -> Any:
        """Return a machine, trained with so many updates in all."""
        model_key, key = jax.random.split(jax.random.key(seed))
        x = jnp.asarray(self.train)
        if case == SHALLOW:
            return _fitted(BernoulliRBM.from_data(x, hidden[0], key=model_key), x, updates, rate, key)
        whole = DeepBoltzmannLikelihood(steps=SWEEPS, chains=CHAINS, iterations=self.size.iterations)
        if case == WHOLE:
            start = DeepBoltzmannMachine.from_data(x, hidden, key=model_key)
            return _fitted(start, x, updates, rate, key, whole)
        below = updates if case == STACK else updates // 2
        start = greedy(
            x,
            hidden,
            steps=below // len(hidden),
            rate=rate,
            key=model_key,
            sweeps=SWEEPS,
            chains=CHAINS,
            batch_size=BATCH,
        )
        return start if case == STACK else _fitted(start, x, updates - below, rate, key, whole)

    def exact(self, model: Any) -> dict[str, float]:
        """Return mean log p(x) and the mean bound of held-out rows, and log p of as many training rows."""
        test, train = (jnp.asarray(x[:JUDGED]) for x in (self.test, self.train))
        if isinstance(model, BernoulliRBM):  # its hidden units are independent given x: the bound is tight
            held_out, seen = (float(v) for v in log_likelihood(model, test, train))
            return {"log p": held_out, "bound": held_out, "log p, training": seen}
        held_out, seen, bound = (float(v) for v in _measured(model, test, train))
        return {"log p": held_out, "bound": bound, "log p, training": seen}

    def bound(self, model: Any) -> Bracketed:
        """Return the mean bound of held-out rows, log Z between two ends."""
        found = log_normalizer(
            model, data=self.train, temperatures=self.size.temperatures, key=jax.random.key(0)
        )
        return Bracketed.of(float(_unnormalised(model, jnp.asarray(self.test))), found)

    def reconstruction(self, model: Any) -> float:
        """Return the mean cross-entropy of held-out rows given the means of h¹ that they lead to, in nats."""
        x = jnp.asarray(self.test)
        return float(eqx.filter_jit(lambda m: jnp.mean(jax.vmap(lambda row: _lost(m, row))(x)))(model))

    def samples(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return x of chains from shuffled pixels, and p(x = 1 | h¹)."""
        start_key, up_key, run_key, hidden_key = jax.random.split(jax.random.key(0), 4)
        n = self.size.samples
        x = marginals(jnp.asarray(self.train[:n]), start_key)
        deep = isinstance(model, DeepBoltzmannMachine)
        start = jax.vmap(model.start)(x, jax.random.split(up_key, n)) if deep else x
        ends = run_chains(BlockGibbs(), model, start, key=run_key, steps=self.size.sweeps).x
        hidden = ends[1] if deep else jax.vmap(model.sample_hidden)(ends, jax.random.split(hidden_key, n))
        shades = jax.nn.sigmoid(jax.vmap(lambda h: _visible_logits(model, h))(hidden))
        return np.asarray(ends[0] if deep else ends), np.asarray(shades)


@eqx.filter_jit
def _measured(model: DeepBoltzmannMachine, test: Array, train: Array) -> tuple[Array, Array, Array]:
    """Return mean log p of both, and the mean bound of the first."""
    log_z = model.log_normalizer()
    bound = jax.vmap(lambda x: model.variational_bound(x, log_z, iterations=ROUNDS))(test)
    # A row at a time: all rows at once would be as many tables of all states of h².
    held_out, seen = (jax.lax.map(model.log_prob_visible, rows, batch_size=50) for rows in (test, train))
    return jnp.mean(held_out), jnp.mean(seen), jnp.mean(bound)


@eqx.filter_jit
def _unnormalised(model: Any, x: Array) -> Array:
    """Return the mean bound with log Z = 0; of an RBM, whose bound is tight, the mean of −E."""
    if isinstance(model, BernoulliRBM):
        return -jnp.mean(jax.vmap(model)(x))
    return jnp.mean(jax.vmap(lambda row: model.variational_bound(row, 0.0, iterations=ROUNDS))(x))


def _visible_logits(model: Any, h: Array) -> Array:
    deep = isinstance(model, DeepBoltzmannMachine)
    return model.biases[0] + model.weights[0] @ h if deep else model.visible_logits(h)


def _lost(model: Any, x: Array) -> Array:
    deep = isinstance(model, DeepBoltzmannMachine)
    means = model.mean_field(x)[0] if deep else jax.nn.sigmoid(model.hidden_logits(x))
    logits = _visible_logits(model, means)
    return jnp.sum(jax.nn.softplus(logits) - x * logits)


def _named(hidden: Sequence[int]) -> str:
    return "-".join(str(m) for m in hidden)


def _verdict(
    size: Size, results: Mapping[str, Any], shown: Mapping[str, Any], bounds: Mapping[str, Bracketed]
) -> str:
    log_p = {case: summary(r["log p"])[0] for case, r in results.items()}
    order = ", ".join(f"{case} {log_p[case]:.2f}" for case in sorted(log_p, key=lambda c: -log_p[c]))
    lines = [f"{_named(size.small)}, exact nats of held-out digits after {size.updates:,} updates: {order}."]
    gains = []
    for other in size.cases[:-1]:
        d = difference(results[PRETRAINED]["log p"], results[other]["log p"])
        sure = f" ± {d.error:.2f} nats ({d.word})"
        gains.append(f"{other} {d.mean:+.2f}{sure if size.seeds > 1 else ' nats (tried once)'}")
    lines.append(f"{PRETRAINED} against {'; '.join(gains)}.")
    gaps = {
        c: float(np.mean(np.subtract(r["log p"], r["bound"]))) for c, r in results.items() if c != SHALLOW
    }
    listed = ", ".join(f"{c} {g:.2f}" for c, g in gaps.items())
    lines.append(f"The mean-field bound lies below log p by {listed} nats.")
    edges = [c for c, r in results.items() if r["rate"] == size.rates[-1]]
    lines.append(f"The largest rate tried was the best for {', '.join(edges) or 'no case'}.")
    judged = ", ".join(
        f"{c} {r['recognised']:.0%}, entropy of classes {r['entropy']:.2f}" for c, r in shown.items()
    )
    kept = ", ".join(f"{c} {r['reconstruction']:.1f}" for c, r in shown.items() if "reconstruction" in r)
    lines.append(
        f"{_named(size.large)}, {size.samples} samples of one training, recognised: {judged}. Reconstruction,"
        f" nats: {kept}."
    )
    lines.append(f"{_named(size.large)}, bound on log p of held-out digits, nats: {ends(bounds)}.")
    return bulleted(lines)


def _draw(results: Mapping[str, Any], sheets: Mapping[str, np.ndarray]) -> Any:
    figure = canvas(13, 6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    axes = top.subplots()
    for i, r in enumerate(results.values()):
        axes.plot(
            r["log p"], [i] * len(r["log p"]), "o", color="C0", alpha=0.7, label="log p" if not i else None
        )
        axes.plot(r["bound"], [i] * len(r["bound"]), "|", ms=14, color="C1", label="bound" if not i else None)
    axes.set_yticks(range(len(results)), list(results))
    axes.invert_yaxis()
    axes.set(xlabel="nats of held-out digits, small machine", ylim=(len(results) - 0.5, -0.5))
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    for axes, (label, images) in zip(bottom.subplots(1, len(sheets)), sheets.items(), strict=True):
        show_sheet(axes, images, 8, label if label == "held out" else f"large, {label}", 9)
    return figure
