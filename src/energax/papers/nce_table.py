r"""Noise-contrastive estimation of real tables: held-out log-likelihood beside scikit-learn's densities.

Tables of ADBench (Han et al. 2022) whose columns are continuous, all rows of each, whitened by the covariance
of the training rows. 60 % of the rows are trained on; 10 % choose, 10 % are for log Z, and 20 % judge:

    Gaussian               N(x̄, S)
    GaussianMixture        scikit-learn's, full covariances, components by BIC
    KernelDensity          scikit-learn's, Gaussian kernels, bandwidth by cross-validated likelihood
    NCE, Gaussian noise    an energy told from N(x̄, S), a perceptron with a Gaussian base
    NCE, mixture noise     an energy told from the mixture above, a perceptron added to that mixture's energy

Each energy so begins near its noise, and what was the noise's in it is learned on, too. How many updates it
takes is chosen among a few numbers of them: so few rows are soon learned by heart. Its log p = −E − log Z
needs a log Z, and there are three. The *learned* c came with the energy. The *classified* one tells rows from
noise with E fixed (`objectives.classification_log_normalizer`); its standard error is known, but it is log Z
only if those rows are draws of the model, and else the c with which the model fits them best. The
*importance* one,

    log (1/M) Σ w,      w = e^{−E(y)}/q(y),  y ~ q half the mixture and half N(x̄, S),

sees no row, and is the log Z of whatever the energy is, provided that its weights are not carried by a few
draws: they are worth (Σw)²/Σw² draws. By it e^{−E}/Z is a density, so it is what the table's likelihoods use;
the others are given as differences from it. Likelihoods are nats a row in whitened units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data
from energax.checks import InputError
from energax.energies import MLP, GaussianMixture, Sum, WithGaussianBase
from energax.objectives import NoiseContrastiveEstimation, classification_log_normalizer
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference, pm
from energax.training import fit
from energax.typing import Array, Key, Model

__all__ = ["Parts", "importance_log_normalizer", "parts", "run"]

GAUSSIAN, MIXTURE, KERNEL = "Gaussian", "GaussianMixture", "KernelDensity"
NCE_GAUSSIAN, NCE_MIXTURE = "NCE, Gaussian noise", "NCE, mixture noise"
NOISES = {NCE_GAUSSIAN: GAUSSIAN, NCE_MIXTURE: MIXTURE}
PROPOSAL = "half of each"  # of mixture and Gaussian: what log Z is found with
ALL = (GAUSSIAN, MIXTURE, KERNEL, *NOISES)
FEW = (NCE_GAUSSIAN,)
BUNDLED = "breast cancer, means"  # ten measurements of 569 nuclei, which come with scikit-learn
SHARES = (0.6, 0.7, 0.8)  # of the rows, where training, choosing and log Z end
NOISE_RATIO = 5.0
BANDWIDTHS = tuple(np.geomspace(0.1, 1.5, 12).tolist())
FEW_DRAWS = 200  # weights worth fewer are said to be


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    tables
        What `data.load` calls them, or `BUNDLED`.
    splits
        Random ways to part the rows.
    components
        Numbers of a mixture's, the first 1.
    width
        Of the perceptron's two layers.
    steps
        Numbers of updates among which is chosen.
    draws
        For the importance log Z.
    energies
        Those there is time for.
    """

    tables: tuple[str, ...]
    splits: int
    components: tuple[int, ...]
    width: int
    steps: tuple[int, ...]
    draws: int
    energies: tuple[str, ...] = tuple(NOISES)


TABLES = ("adbench/41_Waveform", "adbench/40_vowels")
SIZES = {
    "smoke": Size(
        (BUNDLED,), splits=1, components=(1, 2, 3), width=16, steps=(200,), draws=5_000, energies=FEW
    ),
    "cpu": Size(TABLES, splits=3, components=(1, 2, 3, 4, 6, 8), width=64, steps=(300, 1_500), draws=50_000),
    "paper": Size(
        (*TABLES, "adbench/14_glass", "adbench/28_pendigits", "adbench/31_satimage-2"),
        splits=10,
        components=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
        width=256,
        steps=(300, 1_000, 3_000, 10_000, 30_000),
        draws=1_000_000,
    ),
}


class Parts(NamedTuple):
    """Whitened rows, shape (·, d) each: to train on, to choose by, to find log Z with, to judge."""

    train: np.ndarray
    choose: np.ndarray
    normalise: np.ndarray
    test: np.ndarray


def table(name: str) -> np.ndarray:
    """Return all rows of a table."""
    if name == BUNDLED:
        from sklearn.datasets import load_breast_cancer

        rows: Any = load_breast_cancer(return_X_y=True)
        return np.asarray(rows[0][:, :10], np.float64)
    found = data.load(name)
    return np.concatenate([found.train, found.test]).astype(np.float64)


def found_tables(
    names: Sequence[str], progress: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the tables that are there, by name, and the names of the others; a bundled one for these."""
    tables: dict[str, np.ndarray] = {}
    missing: list[str] = []
    for name in names:
        try:
            tables[name] = table(name)
        except InputError as error:
            missing.append(name)
            tables[BUNDLED] = table(BUNDLED)
            progress(f"{error} Taken instead: {BUNDLED}.")
    return tables, missing


def parts(rows: np.ndarray, seed: int) -> Parts:
    """Part rows at random, and whiten them so that the training rows have mean 0 and covariance 1."""
    order = np.random.default_rng(seed).permutation(len(rows))
    ends = [round(share * len(rows)) for share in SHARES]
    split = np.split(rows[order], ends)
    mean, covariance = split[0].mean(0), np.cov(split[0].T, bias=True)
    factor = np.linalg.cholesky(np.linalg.inv(covariance))
    return Parts(*(((part - mean) @ factor).astype(np.float32) for part in split))


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Fit every density to every table, and judge it by rows it never saw."""
    size = SIZES[scale]
    tables, missing = found_tables(size.tables, progress)
    found: dict[str, dict[str, list[float]]] = {}
    details: dict[str, list[dict[str, Any]]] = {}
    for name, rows in tables.items():
        results = [_compared(parts(rows, seed), size, seed) for seed in range(size.splits)]
        found[name] = {
            case: [likelihoods[case] for likelihoods, _ in results] for case in ALL if case in results[0][0]
        }
        details[name] = [detail for _, detail in results]
        told = ", ".join(f"{case} {pm(values, '.2f')}" for case, values in found[name].items())
        progress(f"{name}, {len(rows):,} rows of {rows.shape[1]}: {told}")
    columns = (
        "table",
        "density",
        "log p, held out",
        "above N(x̄, S)",
        "chosen",
        "learned c",
        "classified log Z",
    )
    lines = [
        (
            f"{name}, {len(tables[name]):,} × {tables[name].shape[1]}",
            case,
            pm(values, ".2f"),
            f"{np.mean(values) - np.mean(by[GAUSSIAN]):.2f}",
            _chosen(case, details[name]),
            *_normalisers(case, details[name]),
        )
        for name, by in found.items()
        for case, values in by.items()
    ]
    facts = {
        "tables": {name: list(rows.shape) for name, rows in tables.items()},
        "missing": missing,
        "likelihoods": found,
        "details": details,
        "draws": size.draws,
    }
    return Outcome(columns, lines, _verdict(size, found, details, missing), _draw(found, details), facts)


def _compared(rows: Parts, size: Size, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return held-out log-likelihoods, and how each density was chosen and normalised."""
    theirs, mixtures, detail = _scikit(rows, size, seed)
    likelihoods = {case: float(np.mean(density.score_samples(rows.test))) for case, density in theirs.items()}
    for case in size.energies:
        kept: dict[str, Any] = {}
        for steps in size.steps:
            tried = _energy(rows, mixtures, NOISES[case], size, steps, seed)
            if not kept or tried["choose"] > kept["choose"]:
                kept = tried
        likelihoods[case] = kept["test"]
        detail[case] = kept
    return likelihoods, detail


def _scikit(
    rows: Parts, size: Size, seed: int
) -> tuple[dict[str, Any], dict[str, GaussianMixture], dict[str, Any]]:
    """Return scikit-learn's densities, the mixtures among them as our energies, and what was chosen."""
    from sklearn.mixture import GaussianMixture as Theirs
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KernelDensity

    train = rows.train
    mixtures = [Theirs(k, reg_covar=1e-4, random_state=seed).fit(train) for k in size.components]
    best = min(mixtures, key=lambda m: m.bic(train))
    search = GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=5).fit(train)
    theirs = {GAUSSIAN: mixtures[0], MIXTURE: best, KERNEL: search.best_estimator_}
    ours = {
        case: GaussianMixture(theirs[case].weights_, theirs[case].means_, theirs[case].covariances_)
        for case in (GAUSSIAN, MIXTURE)
    }
    # Weights are normalised by the class: each half has one half.
    ours[PROPOSAL] = GaussianMixture(
        *(
            np.concatenate([getattr(m, name) for m in (best, mixtures[0])])
            for name in ("weights_", "means_", "covariances_")
        )
    )
    chosen = {MIXTURE: int(best.n_components), KERNEL: float(search.best_params_["bandwidth"])}
    return theirs, ours, chosen


def _energy(
    rows: Parts, mixtures: Mapping[str, GaussianMixture], noise: str, size: Size, steps: int, seed: int
) -> dict[str, Any]:
    """Train one energy; return its likelihoods by the importance log Z, and the other two log Z."""
    net_key, fit_key, draw_key, classify_key = jax.random.split(jax.random.key(seed), 4)
    d = rows.train.shape[1]
    net = MLP((d,), width=size.width, depth=2, head="linear", key=net_key)
    model = WithGaussianBase(net) if noise == GAUSSIAN else Sum((mixtures[noise], net))
    objective = NoiseContrastiveEstimation(mixtures[noise], NOISE_RATIO)
    batch = min(256, len(rows.train))
    result = fit(
        model,
        objective,
        rows.train,
        key=fit_key,
        progress=False,
        steps=steps,
        batch_size=batch,
        learning_rate=1e-3,
        ema=0.99,
    )
    energy = result.energy
    log_z, worth = importance_log_normalizer(energy, mixtures[PROPOSAL], size.draws, draw_key)
    classified = classification_log_normalizer(
        energy, rows.normalise, mixtures[PROPOSAL], key=classify_key, noise_ratio=20.0
    )
    choose, test = (-float(_mean_energy(energy, jnp.asarray(x))) - log_z for x in (rows.choose, rows.test))
    return {
        "steps": steps,
        "choose": choose,
        "test": test,
        "log Z": log_z,
        "log Z error": float(np.sqrt(max(1 / worth - 1 / size.draws, 0.0))),
        "worth": worth,
        "learned": float(result.nuisance.value) - log_z,
        "classified": classified.value - log_z,
        "classified error": classified.standard_error,
    }


@eqx.filter_jit
def _mean_energy(model: Model, x: Array) -> Array:
    return jnp.mean(jax.vmap(model)(x))


def importance_log_normalizer(
    model: Model, noise: GaussianMixture, draws: int, key: Key
) -> tuple[float, float]:
    """Return log of the mean weight e^{−E(y)}/q(y), y of the noise, and how many draws they are worth."""
    weights = np.asarray(_log_weights(model, noise, draws, key), np.float64)
    top = weights.max()
    w = np.exp(weights - top)
    return float(top + np.log(w.mean())), float(w.sum() ** 2 / np.sum(w**2))


@eqx.filter_jit
def _log_weights(model: Model, noise: GaussianMixture, draws: int, key: Key) -> Array:
    y = noise.sample(key, draws)
    return jax.lax.map(lambda x: -model(x) - noise.log_prob(x), y, batch_size=5_000)


def _chosen(case: str, details: Sequence[Mapping[str, Any]]) -> str:
    if case == GAUSSIAN:
        return "–"
    if case == MIXTURE:
        return "/".join(str(d[case]) for d in details) + " components"
    if case == KERNEL:
        return "bandwidth " + "/".join(f"{d[case]:.2f}" for d in details)
    return "/".join(f"{d[case]['steps']:,}" for d in details) + " updates"


def _normalisers(case: str, details: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    if case not in NOISES:
        return "–", "–"
    found = [d[case] for d in details]
    typical = float(np.mean([f["classified error"] for f in found]))
    return (
        f"{np.mean([f['learned'] for f in found]):+.2f}",
        f"{np.mean([f['classified'] for f in found]):+.2f}, each ± {typical:.2f}",
    )


def _verdict(
    size: Size,
    found: Mapping[str, Mapping[str, list[float]]],
    details: Mapping[str, Sequence[Mapping[str, Any]]],
    missing: Sequence[str],
) -> str:
    lines = []
    count = f"mean of {size.splits} splits" if size.splits > 1 else "one split"
    if missing:
        lines.append(f"Not found, and not judged: {', '.join(missing)}; {BUNDLED} stands in for them.")
    for name, by in found.items():
        means = {case: float(np.mean(values)) for case, values in by.items()}
        order = sorted(means, key=lambda c: -means[c])
        told = ", ".join(f"{case} {means[case]:.2f}" for case in order)
        lines.append(f"{name}, held-out nats a row, {count}: {told}.")
        best = max(size.energies, key=lambda c: means[c])
        against = ", ".join(_against(best, other, by) for other in (MIXTURE, KERNEL))
        lines.append(f"There {best}, the best energy, is {against}.")
    for case in size.energies:
        own = [d[case] for ds in details.values() for d in ds]
        worth = min(e["worth"] for e in own)
        trust = "enough" if worth > FEW_DRAWS else "TOO FEW"
        learned = max(abs(e["learned"]) for e in own)
        error = max(e["log Z error"] for e in own)
        within = sum(
            abs(e["classified"]) < 2 * np.hypot(e["classified error"], e["log Z error"]) for e in own
        )
        lines.append(
            f"{case}: of {size.draws:,} draws the importance weights are worth at least {worth:,.0f}, {trust}"
            f" to trust its log Z, whose standard error is at most {error:.3f} nats;"
            f" the learned c is at most {learned:.2f} nats from it; the classified log Z is within two"
            f" standard errors of it in {within} of {len(own)} cases."
        )
    return bulleted(lines)


def _against(case: str, other: str, by: Mapping[str, list[float]]) -> str:
    gap = difference(by[case], by[other])
    side = "above" if gap.mean > 0 else "below"
    return f"{abs(gap.mean):.2f} ± {gap.error:.2f} nats {side} {other} ({gap.word})"


def _draw(
    found: Mapping[str, Mapping[str, list[float]]], details: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Any:
    figure = canvas(5.2 * (len(found) + 1), 4.2)
    *panels, last = figure.subplots(1, len(found) + 1)
    for axes, (name, by) in zip(panels, found.items(), strict=True):
        for i, values in enumerate(by.values()):
            above = np.array(values) - np.array(by[GAUSSIAN])
            axes.barh(i, above.mean(), color=f"C{i}", alpha=0.5)
            axes.plot(above, [i] * len(above), ".", color=f"C{i}")
        axes.set_yticks(range(len(by)), list(by))
        axes.invert_yaxis()
        axes.set(xlabel="held-out log p above N(x̄, S), nats a row", title=name)
        axes.grid(color="0.92", axis="x")
    drawn = [case for case in NOISES if all(case in by for by in found.values())]
    for i, case in enumerate(drawn):
        own = [d[case] for ds in details.values() for d in ds]
        at = np.arange(len(own)) + 0.2 * i
        color = f"C{ALL.index(case)}"
        error = [2 * e["classified error"] for e in own]
        last.errorbar(
            at, [e["classified"] for e in own], error, fmt="o", ms=4, color=color, label=f"{case}: classified"
        )
        last.plot(at, [e["learned"] for e in own], "x", color=color, label=f"{case}: learned")
    last.axhline(0, color="0.4", lw=1)
    last.set_xticks([])
    last.set(xlabel="tables and splits", ylabel="nats", title="log Z above the importance one (bars: 2 se)")
    last.legend(fontsize=8, frameon=False)
    return figure
