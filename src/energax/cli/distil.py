"""`energax distil`: a generator whose draws are to be those of a trained run's energy.

The run folder appears whole once the generator is trained and judged, so that what is stopped on the way
leaves nothing. Its configuration is that of the run it was made from, whose units its draws have.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shlex
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from energax.checks import check_integer, check_seed
from energax.cli import DIVERGED, INTERRUPTED, Stopped
from energax.cli.build import parameters
from energax.cli.device import prepare
from energax.cli.distilled import ENTRY, Distilled
from energax.cli.run_folder import RunFolder, check_free
from energax.cli.train import environment
from energax.cli.trained import Trained
from energax.config import FitConfig
from energax.energies import Generator
from energax.evaluation import ksd_test
from energax.kernels import median_bandwidth
from energax.objectives import FisherNeuralSampler, KernelNeuralSampler
from energax.training import DivergenceError, fit, modelfile

__all__ = ["distil"]

METHODS = {"fisher": FisherNeuralSampler, "kernel": KernelNeuralSampler}
LATENTS = 50_000  # rows of the fit: drawn once, so that its rows are a function of (seed, step)
LEAST_LATENT = 5  # coordinates, of a narrow event: a little room to fold them
SEEN = 1000  # rows of the data, from which the generator has its first place and width
EMA = 0.99  # the average follows a critic that moves
JUDGED = 1000  # fresh draws


def distil(
    run: Path,
    *,
    out: Path,
    method: str,
    steps: int,
    batch_size: int,
    learning_rate: float,
    latent: int | None,
    width: int,
    seed: int,
    device: str,
) -> int:
    """Train a generator of a run's energy; see the help of `energax distil`."""
    command = "distil"
    check_seed(command, "--seed", seed)
    check_integer(command, "--batch-size", batch_size, at_least=2)
    config = FitConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, ema=EMA)
    check_free(command, out)
    prepare(device, command)
    trained = Trained(run, command)
    trained.require_steins_identity("RUN")
    energy = trained.way.law(trained.energy)
    began = time.perf_counter()
    keys = iter(jax.random.split(jax.random.key(seed), 6))

    seen = trained.to_model(trained.run.load_data().train[:SEEN])
    bandwidth = median_bandwidth(seen.reshape(len(seen), -1), next(keys))
    if latent is None:
        latent = max(LEAST_LATENT, seen[0].size)  # with fewer than a row has, draws lie on a surface
    # The law of an energy of noisy rows is wider than the rows.
    spread = np.hypot(seen.std(0), max(trained.way.sigma_0 or 0.0, 1e-3))
    start = Generator(
        seen.shape[1:],
        latent=latent,
        width=width,
        scale=spread,
        shift=seen.mean(0),
        activation="silu",
        key=next(keys),
    )
    objective = METHODS[method](energy, bandwidth=bandwidth)
    print(
        f"{method}: {steps:,} steps towards the law of {run}; the generator has {parameters(start):,} "
        f"parameters and {latent} latents",
        flush=True,
    )
    latents = start.latents(next(keys), max(LATENTS, batch_size))
    try:
        done = fit(start, objective, latents, key=next(keys), config=config)
    except DivergenceError as error:
        raise Stopped(
            f"error: {error} Nothing is kept; a smaller --learning-rate may hold.", DIVERGED
        ) from None
    if done.status == "interrupted":
        raise Stopped(f"interrupted at step {int(done.state.step):,}; nothing is kept.", INTERRUPTED)

    draw_key, test_key = next(keys), next(keys)
    judge = lambda one: ksd_test(  # noqa: E731
        one.sample(draw_key, JUDGED), energy, bandwidth=bandwidth, key=test_key
    )
    before, after = judge(start), judge(done.energy)
    made = Distilled(
        run=str(trained.run.path.resolve()),
        method=method,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        latent=latent,
        width=width,
        bandwidth=bandwidth,
        draws=JUDGED,
        discrepancy=after.statistic / after.n,
        before=before.statistic / before.n,
        p_value=after.p_value,
    )
    _keep(out, trained, done, made, time.perf_counter() - began)
    print(f"judged by the kernel Stein test against that law: {made.judgement}")
    print(
        "A discrepancy of scores hardly sees how much mass lies in which of several far modes, and sees "
        "little in many columns: look at the draws, too, beside those of the run."
    )
    print(f"next: energax sample {shlex.quote(str(out))}")
    return 0


def _keep(out: Path, trained: Trained, done: Any, made: Distilled, seconds: float) -> None:
    """Write the run folder, whole or not at all."""
    entry = {ENTRY: dataclasses.asdict(made)}
    # What is the energy's alone is left with it.
    of_energy = ("log_normalizer", "composed", "diagnosis", "loop")
    facts = {
        **{name: value for name, value in trained.run.facts.items() if name not in of_energy},
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "status": "finished",
        "seconds": round(seconds, 3),
        "environment": environment(),
        "parameters": parameters(done.energy),
        **entry,
    }
    about = {name: value for name, value in trained.about.items() if name not in of_energy}
    about |= {"steps": made.steps, "environment": environment(), "log_normalizer": None, **entry}

    def fill(run: RunFolder) -> None:
        run.metrics.write_text("".join(json.dumps(record) + "\n" for record in done.history))
        modelfile.save(run.model, done.energy, preprocessing=trained.pipeline, about=about)

    RunFolder.create(out, trained.config, facts, owner="distil", fill=fill)
