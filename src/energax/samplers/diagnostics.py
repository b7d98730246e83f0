r"""What a run of chains is worth: acceptance, effective sample size, split R̂; and its export to ArviZ.

Draws are recorded while the chains run and judged afterwards, of every coordinate by itself:

    ran = run(sampler, model, x, key=key, steps=1000, observers={"x": observers.position}, every=1)
    x = draws(ran, "x", discard=200)
    ess(x), split_rhat(x), acceptance(ran), to_inference_data(ran, discard=200)

With M chains of N draws and ρ_t the autocorrelation at lag t,

    ESS = M N / (1 + 2 Σ_t ρ_t)          draws that are worth as many independent ones
    R̂ = √(var⁺ / W)                      all draws' variance over that within the halves of chains

both of ranks turned into normal scores, so that heavy tails do no harm; R̂ is the larger of
that of the draws and that of their distances from the median. They are BlackJAX's.

Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-normalization, folding, and
localization: an improved R̂".
"""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import jax
import numpy as np
from blackjax.diagnostics import ess_bulk, rhat

from energax.checks import InputError, check, check_choice, check_integer, check_number
from energax.samplers.base import LEAST_ACCEPTED, Run
from energax.samplers.tempering import pair_acceptance
from energax.typing import Events

__all__ = [
    "acceptance",
    "check_acceptance",
    "draws",
    "ess",
    "split_rhat",
    "swap_acceptance",
    "to_inference_data",
]

FEWEST_DRAWS = 4  # two in each half of a chain


def draws(ran: Run, name: str = "x", *, discard: int = 0) -> Events:
    """Return what an observer recorded, chains first: shape (chains, draws, …).

    Parameters
    ----------
    ran
        What `run` returned.
    name
        The observer's name.
    discard
        How many records at the beginning are left out; the first is the start itself.
    """
    check_choice("draws", "name", name, ran.observed)
    check_integer("draws", "discard", discard, at_least=0)
    return jax.tree.map(lambda a: np.swapaxes(np.asarray(a)[discard:], 0, 1), ran.observed[name])


def ess(draws: Events) -> Events:
    """Return the effective sample size of each coordinate, shape (*event); NaN where a draw is.

    A coordinate that never moves has one of 0.

    Parameters
    ----------
    draws
        Shape (chains, draws, *event), at least four draws; an array or a pytree.
    """
    return _judge("ess", ess_bulk, draws)


def split_rhat(draws: Events) -> Events:
    """Return R̂ of each coordinate, shape (*event): 1 if the halves of all chains agree, else above.

    A chain that drifts disagrees with itself: one chain is enough.

    Parameters
    ----------
    draws
        Shape (chains, draws, *event), at least four draws; an array or a pytree.
    """
    return _judge("split_rhat", rhat, draws)


def acceptance(ran: Run) -> float:
    """Return the mean probability, over chains and steps, with which proposals were accepted."""
    reported = "a run whose sampler reports acceptance"
    check("acceptance" in ran.info, "acceptance", "ran", reported, sorted(ran.info) or "no report")
    return float(np.mean(ran.info["acceptance"]))


def swap_acceptance(ran: Run) -> np.ndarray:
    """Return with which probability each pair of neighbouring temperatures changed places, shape (K − 1,).

    The mean over chains and over the steps that were the pair's turn, the coldest pair first; NaN for a pair
    whose turn it never was. Where one is small the ladder is cut: what the levels above it find stays there.
    """
    reported = "a run of samplers.ParallelTempering"
    check("swaps" in ran.info, "swap_acceptance", "ran", reported, sorted(ran.info) or "no report")
    return pair_acceptance(ran.info)


def check_acceptance(ran: Run, *, at_least: float = LEAST_ACCEPTED) -> float:
    """Return the mean acceptance of a run, refusing a run that stood still.

    Parameters
    ----------
    ran
        What `run` returned.
    at_least
        The least mean acceptance that is let through.

    Raises
    ------
    InputError
        With the acceptance that was seen and what to try, if it is less.
    """
    check_number("check_acceptance", "at_least", at_least, at_least=0, at_most=1)
    mean = acceptance(ran)
    chains, still = len(ran.info["acceptance"]), int(np.sum(~(ran.info["acceptance"] > 0)))
    check(
        mean >= at_least,
        "run",
        "step_size",
        "small enough that proposals are accepted (try a tenth of it: on the command line --epsilon, of "
        "training's own chains objective.step_size; or have it found: samplers.adapt, --sampler mala)",
        f"a mean acceptance of {mean:.2g}, and {still} of {chains} chains that never moved",
    )
    return mean


def to_inference_data(source: Run | Events, *, discard: int = 0) -> Any:
    """Return ArviZ's `InferenceData` with the draws as its posterior (the extra `energax[arviz]`).

    Parameters
    ----------
    source
        A run with observers, each a variable; or draws, shape (chains, draws, *event), the
        variable "x". Leaves of a pytree are variables of their own, "x.name".
    discard
        How many draws at the beginning are left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version
            import arviz
    except ImportError:
        raise InputError("to_inference_data: ArviZ is an extra: pip install 'energax[arviz]'.") from None
    check_integer("to_inference_data", "discard", discard, at_least=0)
    attributes = {}
    if isinstance(source, Run):
        check(source.observed, "to_inference_data", "source", "a run with observers", "one without")
        named = {name: draws(source, name) for name in source.observed}
        attributes = {name: np.mean(value, axis=0).tolist() for name, value in source.info.items()}
    else:
        named = {"x": source}
    leaves, _ = jax.tree_util.tree_flatten_with_path(named)
    posterior = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)[:, discard:]
        for path, leaf in leaves
    }
    return arviz.from_dict(posterior=posterior, attrs=attributes)


def _judge(owner: str, measure: Any, draws: Events) -> Events:
    for leaf in jax.tree.leaves(draws):
        shape = np.shape(leaf)
        wanted = f"of shape (chains, draws, ...) with at least {FEWEST_DRAWS} draws"
        check(len(shape) >= 2 and shape[1] >= FEWEST_DRAWS, owner, "draws", wanted, f"shape {shape}")
    return jax.tree.map(np.asarray, _measure(measure, draws))


@eqx.filter_jit
def _measure(measure, draws):
    def leaf(a):
        # BlackJAX drops axes of length 1: it is given one axis of coordinates.
        return measure(a.reshape(*a.shape[:2], -1)).reshape(a.shape[2:])

    return jax.tree.map(leaf, draws)
