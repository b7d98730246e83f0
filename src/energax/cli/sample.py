"""`energax sample`: draws of a trained run, and pictures of how they formed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from energax import tasks
from energax.checks import InputError, check, check_integer, check_seed
from energax.cli import chains
from energax.cli.images import draw_clouds, draw_strip, draw_trace, save_grid
from energax.cli.show import counted
from energax.cli.targets import target_folder, write_csv
from energax.cli.trained import Trained
from energax.config import RunConfig, replace
from energax.devices import memory
from energax.files import write_whole
from energax.options import MACHINES, ChainOptions, DynamicsOptions
from energax.progress import ProgressBar
from energax.samplers import (
    MALA,
    AnnealedNoiseLangevin,
    Langevin,
    Observer,
    ParallelTempering,
    Reflected,
    Run,
    Sampler,
    observers,
)
from energax.samplers import run as run_chains
from energax.samplers.diagnostics import acceptance, swap_acceptance
from energax.tasks import Way, way
from energax.tasks.way import CORRECTED, TEMPERED
from energax.training.modelfile import load

__all__ = ["Drawn", "draw", "holding", "sample", "sampling", "tell"]

CHAINS_SHOWN, POINTS_SHOWN, TIMES_SHOWN, RECORDS = 6, 400, 10, 54
TOO_LARGE = 0.5  # acceptance of corrected Langevin steps: 0.574 is best, and what is above it errs little
OF_FLOWS = "flow"
BESIDE = ("samples.png", "samples.csv", "energy.csv", "energy.png", "annealing.png")
LARGEST = 2**31 - 1  # chains that 32 bits count
FEW_SWAPS = 0.1  # of a pair's tries: below, replicas hardly travel past it
SCHEDULE = {"hold", "anneal", "cool", "noise_max", "epsilon"}
# What each sampler's command line does not speak of.
NOT_OF = {
    "annealed": {"corrector_steps", "snr", "warmup", "temperatures"},
    "reverse-diffusion": {"noise_max", "epsilon", "warmup", "temperatures"},
    "probability-flow": {*SCHEDULE, "corrector_steps", "snr", "warmup", "temperatures"},
    OF_FLOWS: {*SCHEDULE, "corrector_steps", "snr", "warmup", "temperatures"},
    **{name: {"corrector_steps", "snr", "temperatures"} for name in CORRECTED},
    TEMPERED: {"corrector_steps", "snr"},
}


def sample(
    run: Path,
    *,
    n: int,
    seed: int,
    changes: Mapping[str, Any],
    out: Path | None,
    sampler: str = "annealed",
    options: Mapping[str, Any] | None = None,
    inference_data: Path | None = None,
) -> int:
    """Draw samples and show how they formed; see the help of `energax sample`."""
    check_integer("sample", "-n", n, at_least=1)
    check_seed("sample", "--seed", seed)
    options = dict(options or {})
    if inference_data is not None:
        chains.check_target(inference_data)
    for name, value in {**changes, **options}.items():
        word = name.removeprefix("sampler.")
        flag = "--" + word.replace("_", "-")
        check(word not in NOT_OF[sampler], "sample", flag, f"left out: {sampler} has no use for it", value)
    trained = Trained(run, "sample", generators=True)
    if trained.distilled is not None:
        given = [*changes, *options, *([] if sampler == "annealed" else ["sampler.sampler"])]
        given += [] if inference_data is None else ["inference_data"]
        flags = ["--" + name.removeprefix("sampler.").replace("_", "-") for name in given]
        allowed = "only -n, --seed and --out: a generator draws at once"
        check(not flags, "sample", f"what is asked of {run}", allowed, " ".join(flags))
        samples = _of_generator(trained, n, seed)
        folder = target_folder(out, run)
        _keep(folder, trained, samples)
    elif sampler == OF_FLOWS:
        allowed = "left out: a flow draws at once, without chains"
        check(inference_data is None, "sample", "--inference-data", allowed, inference_data)
        samples = _of_its_flow(trained, n, seed)
        folder = target_folder(out, run)
        _keep(folder, trained, samples)
    else:
        scale = getattr(trained.energy, "scale", 1.0)
        for name, value in changes.items():
            flag = "--" + name.removeprefix("sampler.").replace("_", "-")
            allowed = "left out: at each scale a climb takes the objective.steps it was trained with"
            check(not trained.way.rooted, "sample", flag, allowed, value)
        if "temperatures" in options:
            options["temperatures"] = _temperatures(options["temperatures"])
        trained.way = way(replace(trained.config, changes), sampler, data_scale=scale, **options)
        idle = "warmup" in options and not trained.way.warmup
        allowed = "left out: block Gibbs and an anneal have nothing to warm up"
        check(not idle, "sample", "--warmup", allowed, options.get("warmup"))
        most = int(min(memory() / (4 * trained.size), LARGEST))
        check(n <= most, "sample", "-n", f"at most {most:,}, which the memory of this machine holds", n)
        every = None if inference_data is None else chains.spacing(trained, n)
        folder = target_folder(out, run)
        drawn = draw(trained, n, seed, every=every)
        samples, table = drawn.samples, drawn.table
        _keep(folder, trained, samples)
        if "mean_energy" in table:
            write_csv(folder / "energy.csv", tuple(table), np.stack(list(table.values()), axis=1))
            draw_trace(folder / "energy.png", table)
        _draw_strip(folder / "annealing.png", trained, drawn, n, seed)
        if inference_data is not None:
            assert drawn.chains is not None
            assert every is not None
            chains.keep(inference_data, trained, drawn.chains, every, type(drawn.way.sampler).__name__)
    files = f"{folder / 'samples.npz'}{' and samples.csv' if trained.kind == 'table' else ''}"
    print(f"{counted(len(samples), 'sample')} in {files}, shown in {folder / 'samples.png'}")
    return 0


def _temperatures(spelled: str) -> list[float]:
    """Return the numbers of a list with commas; that they rise from 1 is the sampler's to check."""
    try:
        return [float(word) for word in spelled.split(",")]
    except ValueError:
        allowed = "numbers with commas between them, as in 1,1.5,2.2"
        raise InputError(f"sample: --temperatures must be {allowed}; got {spelled!r}.") from None


def _keep(folder: Path, trained: Trained, samples: np.ndarray) -> None:
    """Write samples, and a picture of them; what an earlier call wrote beside its own goes with those."""
    target = folder / "samples.npz"
    earlier = BESIDE if target.exists() else ()
    write_whole(target, lambda path: np.savez_compressed(path, samples=samples))
    for name in earlier:
        (folder / name).unlink(missing_ok=True)
    if trained.image is not None:
        pixels = trained.pixels(samples[:256])
        columns = int(np.ceil(np.sqrt(len(pixels))))
        save_grid(folder / "samples.png", [pixels[i : i + columns] for i in range(0, len(pixels), columns)])
    else:
        flat = samples.reshape(len(samples), -1)
        draw_clouds(folder / "samples.png", flat[:5000], _held_out(trained), trained.columns)
        if trained.kind == "table":
            write_csv(folder / "samples.csv", trained.columns, flat)


def _of_its_flow(trained: Trained, n: int, seed: int) -> np.ndarray:
    """Return exact draws of the flow that the energy was told from, in the data's units."""
    file = trained.run.flow
    allowed = (
        "annealed, reverse-diffusion or probability-flow, unless the run learned a flow beside its energy"
    )
    check(file.is_file(), trained.command, "--sampler", allowed, f"flow for {trained.config.objective}")
    flow: Any = load(file).model
    z = np.asarray(flow.sample(jax.random.key(seed), n))
    return trained.to_data(z.reshape(n, *trained.energy.event_shape))


def _of_generator(trained: Trained, n: int, seed: int) -> np.ndarray:
    """Return draws of a generator, in the data's units."""
    return trained.to_data(np.asarray(trained.energy.sample(jax.random.key(seed), n)))


class Drawn(NamedTuple):
    """What was drawn, and how.

    Parameters
    ----------
    samples
        In the data's units; lost chains are left out.
    table
        What was annealed and the mean energy on the way.
    way
        With the steps and masses of the warm-up, if there was one.
    start
        Where that left the chains, or the rows that a climb starts from; None where noise does.
    chains
        What was kept of each chain on the way, shape (chains, draws, *event) in the model's units; None
        unless asked for.
    """

    samples: np.ndarray
    table: dict[str, np.ndarray]
    way: Way
    start: np.ndarray | None
    chains: np.ndarray | None = None


def _begun(trained: Trained, n: int, seed: int) -> tuple[Way, np.ndarray | None]:
    """Return the run's way with its step and masses, and where the chains start; None from noise."""
    the_way, key = trained.way, jax.random.key(seed)
    if the_way.rooted:
        train = trained.run.load_data().train
        return the_way, trained.to_model(train[tasks.picked(len(train), n, key)])
    if not the_way.warmup:
        return the_way, None
    print(f"warming up {n} chains ({the_way.warmup} steps)", file=sys.stderr)
    the_way, x = tasks.warm_up(the_way, trained.energy, n, key=key, center=trained.center)
    return the_way, np.asarray(x)


def _anneal(
    trained: Trained,
    the_way: Way,
    start: np.ndarray | None,
    n: int,
    seed: int,
    label: str,
    seen: dict[str, Observer],
    every: int,
) -> Run:
    """Draw n samples that way, with a bar."""
    with sampling(the_way.horizon, label) as progress:
        return tasks.anneal(
            trained.energy,
            n,
            key=jax.random.key(seed),
            sigma_0=the_way.sigma_0 or 0.0,
            noise_max=the_way.start,
            sampler=the_way.sampler,
            start=start,
            center=trained.center,
            final_jump=the_way.sigma_0 is not None and not the_way.told,
            observers=seen,
            every=every,
            progress=progress,
        )


def draw(trained: Trained, n: int, seed: int, *, every: int | None = None) -> Drawn:
    """Return samples of a run, drawn its way; with `every` also the chains, kept so many steps apart."""
    the_way, start = _begun(trained, n, seed)
    has_energy = not the_way.told and the_way.energy(trained.energy) is not None
    seen: dict[str, Observer] = {"energy": observers.energy} if has_energy else {}
    if every is not None:
        seen["position"] = observers.position
    records = max(1, the_way.horizon // RECORDS) if every is None else every
    ran = _anneal(trained, the_way, start, n, seed, "sampling", seen, records)
    tell(ran, the_way.sampler)
    z = np.asarray(ran.x)
    kept = trained.stayed(z)
    lost = n - int(kept.sum())
    hint = holding(trained.config, the_way.sampler)
    check(
        lost < n,
        trained.command,
        "RUN",
        f"a model that holds its chains ({hint})",
        f"{n} chains of {n} that left",
    )
    if lost:
        print(f"note: {lost} of {n} chains left all bounds and are left out; {hint}", file=sys.stderr)
    # Chains that an energy was trained with are its own, whatever they make of it.
    chosen = the_way.sigma_0 is None and not isinstance(trained.config.objective_options, ChainOptions)
    if has_energy and chosen:
        _note_steps(trained, the_way.sampler, z[kept])
    table = {"step": ran.steps, **_annealed(the_way, ran.steps)}
    if has_energy:
        table["mean_energy"] = ran.observed["energy"][:, kept].mean(axis=1)
    drawn = Drawn(trained.to_data(z[kept]), table, the_way, start)
    if every is None:
        return drawn
    late = ran.observed["position"][chains.chosen(ran.steps, every)]
    return drawn._replace(chains=np.swapaxes(late[:, kept], 0, 1))


def tell(ran: Run, sampler: Sampler) -> None:
    """Say how often proposals were accepted, and how often neighbours at two temperatures changed places."""
    if "acceptance" in ran.info:
        print(f"accepted {np.mean(ran.info['acceptance']):.0%} of the proposals", file=sys.stderr)
    if not isinstance(sampler, ParallelTempering):
        return
    swaps, shares = np.mean(ran.info["swap_acceptance"]), swap_acceptance(ran)
    T = [f"{t:.4g}" for t in np.asarray(sampler.temperatures)]
    pairs = [f"{cold} and {hot}" for cold, hot in pairwise(T)]
    each = ", ".join(f"{pair}: {share:.0%}" for pair, share in zip(pairs, shares, strict=True))
    print(f"neighbouring temperatures changed places in {swaps:.0%} of the tries ({each})", file=sys.stderr)
    few = [f"{pair} ({shares[k]:.2g})" for k, pair in enumerate(pairs) if shares[k] < FEW_SWAPS]
    if few:
        print(
            f"note: so few swaps hardly bring anything down past {', '.join(few)}; put temperatures between "
            "them (--temperatures)",
            file=sys.stderr,
        )


def holding(config: RunConfig, sampler: Sampler) -> str:
    """Return what may hold chains that leave, by names that this run has."""
    if config.objective == "multiscale":
        return "a sampler.noise_max well below objective.sigma_max, or a longer training, holds them"
    if isinstance(config.objective_options, DynamicsOptions) and config.energy not in MACHINES:
        return "a smaller objective.step_size in training, or a longer one, holds them"
    if isinstance(sampler, Langevin | AnnealedNoiseLangevin):
        return "a smaller --epsilon, or a longer training, holds them"
    return "a longer training holds them"


def _note_steps(trained: Trained, sampler: Sampler, z: np.ndarray) -> None:
    """Tell of Langevin steps that are too large: MALA would refuse them where the chains are."""
    free = sampler.sampler if isinstance(sampler, Reflected) else sampler
    if not isinstance(free, Langevin):
        return
    corrected: Sampler = MALA(float(free.step_size(0)))
    if isinstance(sampler, Reflected):
        corrected = Reflected(corrected, float(sampler.low), float(sampler.high))
    once = run_chains(corrected, trained.energy, z, key=jax.random.key(0), steps=1, warn=False)
    accepted = acceptance(once)
    if not accepted > TOO_LARGE:
        print(
            f"note: of such Langevin steps {accepted:.0%} would be accepted, so these are not the energy's "
            "draws; --sampler mala finds a step and errs by none, or take a smaller --epsilon",
            file=sys.stderr,
        )


def _annealed(the_way: Way, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the temperature or noise level at some steps."""
    name, values = the_way.schedule
    return {name: values[np.minimum(steps, len(values) - 1)]}


def _draw_strip(path: Path, trained: Trained, drawn: Drawn, n: int, seed: int) -> None:
    """Run the first few chains again (a chain does not depend on how many there are) and show them."""
    the_way = drawn.way
    shown = min(n, CHAINS_SHOWN if trained.image is not None else POINTS_SHOWN)
    watched: dict[str, Observer] = {"position": observers.position}
    if the_way.told:
        watched["denoised"] = observers.denoised_at(tuple(the_way.schedule[1].tolist()))
    elif the_way.sigma_0 is not None:
        watched["denoised"] = observers.denoised(the_way.sigma_0)
    start = None if drawn.start is None else drawn.start[:shown]
    every = -(-the_way.horizon // (TIMES_SHOWN - 1))
    seen = _anneal(trained, the_way, start, shown, seed, "showing how", watched, every)
    kept = trained.stayed(np.asarray(seen.x))
    if not kept.any():
        return
    strips = []
    for name in watched:
        z = seen.observed[name][:, kept]
        x = trained.to_data(z.reshape(-1, *z.shape[2:]))
        strips.append(x.reshape(*z.shape[:2], *x.shape[1:]))
    if trained.image is None:
        ((name, values),) = _annealed(the_way, seen.steps).items()
        symbol = "T" if name == "temperature" else "σ"
        titles = [f"step {i}\n{symbol} = {t:.3g}" for i, t in zip(seen.steps, values, strict=True)]
        draw_strip(path, [x.reshape(*x.shape[:2], -1) for x in strips], titles)
        return
    rows = []
    for chain in range(int(kept.sum())):
        rows += [trained.pixels(x[:, chain]) for x in strips]
    save_grid(path, rows)


def _held_out(trained: Trained) -> np.ndarray | None:
    """Return held-out rows, flat, or None with a note where the data have gone or changed."""
    try:
        test = trained.run.load_data().test
    except InputError as error:
        print(f"note: held-out data are not shown: {error}", file=sys.stderr)
        return None
    return test.reshape(len(test), -1)[:5000]


@contextmanager
def sampling(total: int, label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while chains run, and leave lost chains and rare swaps to be counted and told of here."""
    with ProgressBar(None, 0, total, label) as bar, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* chains left the region")
        warnings.filterwarnings("ignore", message="anneal: replicas at temperatures")
        yield lambda done, total: bar.update(done)
