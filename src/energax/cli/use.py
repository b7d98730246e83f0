"""`energax sample`, `denoise`, `inpaint`, `score`, `report`: what a trained run is for.

Everything that goes in or comes out is in the data's own units; the pipeline stored with the
model translates, and what it does to volumes is part of every energy reported.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import tasks
from energax.checks import InputError, check, check_integer
from energax.cli.device import prepare
from energax.cli.flips import Flips, restore_by_hand, restore_run
from energax.cli.images import draw_clouds, draw_strip, draw_trace, save_grid, to_pixels
from energax.cli.run_folder import RunFolder
from energax.config import RunConfig, from_dict, replace
from energax.data import read_table
from energax.energies import Ising
from energax.files import write_whole
from energax.progress import ProgressBar
from energax.samplers import Observer, Run, observers
from energax.tasks import Way, way
from energax.tasks.rows import map_rows, to_data, to_model
from energax.training.log import read_metrics

__all__ = [
    "Trained",
    "denoise",
    "draw",
    "inpaint",
    "report",
    "sample",
    "sampling",
    "save_array",
    "score",
    "target_file",
    "write_csv",
]

CHAINS_SHOWN, POINTS_SHOWN, TIMES_SHOWN, RECORDS = 6, 400, 10, 54
IMAGES_SHOWN = 16
LOST = 10  # a chain so many times farther out than data and noise together will not come back
# What each sampler's command line does not speak of.
NOT_OF = {
    "annealed": {"corrector_steps", "snr"},
    "reverse-diffusion": {"noise_max", "epsilon"},
    "probability-flow": {"hold", "anneal", "cool", "noise_max", "epsilon", "corrector_steps", "snr"},
}
MISSING = 128  # the grey of what an inpainted image did not know


@eqx.filter_jit
def _log_det(pipeline: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(pipeline.log_det)(x)


@eqx.filter_jit
def _reached(pipeline: Any, x: jax.Array, missing: jax.Array) -> jax.Array:
    """Return which entries of the model's event depend on missing entries of the data's."""

    def one(x, missing):
        return jax.jvp(pipeline.forward, (x,), (missing,))[1] != 0

    return jax.vmap(one)(x, missing)


@contextmanager
def sampling(total: int, label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while chains run, and leave lost chains to be counted and told of here."""
    with ProgressBar(None, 0, total, label) as bar, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* chains left the region")
        yield lambda done, total: bar.update(done)


class Trained:
    """A run's model with what it takes to use it in the data's units.

    Parameters
    ----------
    path
        The run folder.
    command
        Who asks, for the refusing sentence.
    """

    def __init__(self, path: Path, command: str):
        self.run = RunFolder.open(path, command)
        self.command = command
        prepare()
        file = self.run.load_model(command)
        self.energy, self.pipeline, self.about = file.model, file.preprocessing, file.about
        try:
            self.config: RunConfig = from_dict(self.about["config"])
            self.way, self.center = way(self.config), float(self.about["center"])
            self.bound = LOST * (float(self.about["reach"]) + self.way.start)
            facts = self.about["data"]
            self.kind, self.event = facts["kind"], tuple(facts["event_shape"])
            self.image = None if facts["image_shape"] is None else tuple(facts["image_shape"])
            self.low, self.high = float(facts["low"]), float(facts["high"])
            size = int(np.prod(self.event))
            self.columns = tuple(facts["columns"] or (f"x{j}" for j in range(1, size + 1)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{command}: {self.run.model} does not say how it was trained ({error})."
            ) from None

    def read(self, file: str) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the rows of a file as events, and the shape in which they came."""
        return self.events(read_table(file).rows, Path(file).name)

    def events(self, rows: np.ndarray, name: str) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the rows of a file of that name as events, and the shape in which they came."""
        came, size = rows.shape, int(np.prod(self.event))
        if self.image is not None:
            single = (self.image, self.image[:2]) if self.image[2] == 1 else (self.image,)
            if came in single:
                rows = rows[None]
            layouts = {self.event, self.image, (size,), *single}
        else:
            layouts = {self.event, (size,)}
        wanted = " or ".join(f"(n, {', '.join(map(str, s))})" for s in sorted(layouts, key=len))
        check(rows.shape[1:] in layouts, self.command, name, f"of shape {wanted}", f"shape {came}")
        return rows.reshape(-1, *self.event), came

    def to_model(self, x: np.ndarray) -> np.ndarray:
        """Return rows in the units the model sees."""
        return to_model(self.pipeline, x)

    def to_data(self, z: np.ndarray) -> np.ndarray:
        """Return rows in the data's own units."""
        return to_data(self.pipeline, z)

    def pixels(self, x: np.ndarray) -> np.ndarray:
        """Return images in the data's units as bytes."""
        assert self.image is not None
        return to_pixels(x, self.image, self.low, self.high)

    def stayed(self, z: np.ndarray) -> np.ndarray:
        """Return which rows of model units lie where a chain can be, shape (n,)."""
        # Written so that NaN compares as lost.
        return np.abs(z - self.center).reshape(len(z), -1).max(axis=1) <= self.bound

    @property
    def unit(self) -> float:
        """σ₀, or the refusal of a model that knows nothing of noise."""
        objective = self.config.objective
        allowed = "a run of an objective that knows of noise (multiscale, denoising, noise-conditional)"
        check(self.way.sigma_0 is not None, self.command, "RUN", allowed, objective)
        assert self.way.sigma_0 is not None
        return self.way.sigma_0

    def score(self, x: np.ndarray) -> np.ndarray:
        """Return E(f(x)) − log|det ∂f/∂x|, the energy of x in its own units.

        Of a noise-conditional energy, that of its smallest level.
        """
        energy = self.way.energy(self.energy)
        check(energy is not None, self.command, "RUN", "a run of an energy", "a vector field, which has none")
        assert energy is not None
        volume = map_rows(lambda chunk: _log_det(self.pipeline, chunk), x)
        return tasks.score(energy, self.to_model(x)) - volume

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return int(np.prod(self.event))

    def log_likelihood(self, x: np.ndarray, *, probes: int | None, seed: int) -> tasks.Likelihood:
        """Return log p(x) in the data's own units.

        Of a noise-conditional run, that of data plus the smallest noise of the ladder; of an energy
        whose log Z was learned, −E − log Z, with the standard error of log Z; of one that
        knows its own (ica), exactly.
        """
        known = self.about.get("log_normalizer")
        exact = hasattr(self.energy, "log_prob")
        allowed = (
            "asked of a run whose log Z is known: of noise-conditional, nce, bregman-nce, flow-contrastive, "
            "adversarial-contrastive, or of the energy ica"
        )
        normal = self.way.told or known is not None or exact
        check(
            normal, self.command, "--likelihood", allowed, f"{self.config.objective} ({self.config.energy})"
        )
        if not self.way.told:
            check(probes is None, self.command, "--probes", "left out: there is no trace to estimate", probes)
            if exact:
                return tasks.Likelihood(-self.score(x) - float(self.energy.log_normalizer()), None)
            assert known is not None
            error = np.full(len(x), known["standard_error"])
            return tasks.Likelihood(-self.score(x) - known["value"], error)
        assert self.way.sigmas is not None
        size = int(np.prod(self.energy.event_shape))
        allowed = "a run without pad for --likelihood, whose frame has a density of its own"
        check(size == self.size, self.command, "RUN", allowed, f"{size} entries for {self.size} of the data")
        low, high = self.way.sigmas
        volume = map_rows(lambda chunk: _log_det(self.pipeline, chunk), x)
        with ProgressBar(None, 0, len(x), "likelihood") as bar:
            found = tasks.log_likelihood(
                self.energy,
                self.to_model(x),
                sigma_min=low,
                sigma_max=high,
                probes=probes,
                key=jax.random.key(seed),
                progress=lambda done, total: bar.update(done),
            )
        return found._replace(log_prob=found.log_prob + volume)


def sample(
    run: Path,
    *,
    n: int,
    seed: int,
    changes: Mapping[str, Any],
    out: Path | None,
    sampler: str = "annealed",
    options: Mapping[str, Any] | None = None,
) -> int:
    """Draw samples and show how they formed; see the help of `energax sample`."""
    check_integer("sample", "-n", n, at_least=1)
    check_integer("sample", "--seed", seed, at_least=0)
    options = options or {}
    for name, value in {**changes, **options}.items():
        word = name.removeprefix("sampler.")
        flag = "--" + word.replace("_", "-")
        check(word not in NOT_OF[sampler], "sample", flag, f"left out: {sampler} has no use for it", value)
    trained = Trained(run, "sample")
    scale = getattr(trained.energy, "scale", 1.0)
    trained.way = way(replace(trained.config, changes), sampler, data_scale=scale, **options)
    folder = _folder(out, run)
    samples, table = draw(trained, n, seed)
    write_whole(folder / "samples.npz", lambda path: np.savez_compressed(path, samples=samples))
    if "mean_energy" in table:
        write_csv(folder / "energy.csv", tuple(table), np.stack(list(table.values()), axis=1))
        draw_trace(folder / "energy.png", table)
    if trained.image is not None:
        pixels = trained.pixels(samples[:256])
        columns = int(np.ceil(np.sqrt(len(pixels))))
        save_grid(folder / "samples.png", [pixels[i : i + columns] for i in range(0, len(pixels), columns)])
    else:
        flat = samples.reshape(len(samples), -1)
        draw_clouds(folder / "samples.png", flat[:5000], _held_out(trained), trained.columns)
        if trained.kind == "table":
            write_csv(folder / "samples.csv", trained.columns, flat)
    _draw_strip(folder / "annealing.png", trained, n, seed)
    print(f"{len(samples)} samples in {folder / 'samples.npz'}, shown in {folder / 'samples.png'}")
    return 0


def _anneal(trained: Trained, n: int, seed: int, label: str, seen: dict[str, Observer], every: int) -> Run:
    """Draw n samples the model's way, with a bar."""
    the_way = trained.way
    with sampling(the_way.horizon, label) as progress:
        return tasks.anneal(
            trained.energy,
            n,
            key=jax.random.key(seed),
            sigma_0=the_way.sigma_0 or 0.0,
            noise_max=the_way.start,
            sampler=the_way.sampler,
            center=trained.center,
            final_jump=the_way.sigma_0 is not None and not the_way.told,
            observers=seen,
            every=every,
            progress=progress,
        )


def draw(trained: Trained, n: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return samples in the data's units, and what was annealed and the mean energy on the way."""
    the_way = trained.way
    has_energy = not the_way.told and the_way.energy(trained.energy) is not None
    seen: dict[str, Observer] = {"energy": observers.energy} if has_energy else {}
    drawn = _anneal(trained, n, seed, "sampling", seen, max(1, the_way.horizon // RECORDS))
    z = np.asarray(drawn.x)
    kept = trained.stayed(z)
    lost = n - int(kept.sum())
    hint = "a sampler.noise_max well below objective.sigma_max, or a longer training, holds them"
    check(
        lost < n,
        trained.command,
        "RUN",
        f"a model that holds its chains ({hint})",
        f"{n} chains of {n} that left",
    )
    if lost:
        print(f"note: {lost} of {n} chains left all bounds and are left out; {hint}", file=sys.stderr)
    table = {"step": drawn.steps, **_annealed(the_way, drawn.steps)}
    if has_energy:
        table["mean_energy"] = drawn.observed["energy"][:, kept].mean(axis=1)
    return trained.to_data(z[kept]), table


def _annealed(the_way: Way, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the temperature or noise level at some steps."""
    name, values = the_way.schedule
    return {name: values[np.minimum(steps, len(values) - 1)]}


def _draw_strip(path: Path, trained: Trained, n: int, seed: int) -> None:
    """Run the first few chains again (a chain does not depend on how many there are) and show them."""
    the_way = trained.way
    shown = min(n, CHAINS_SHOWN if trained.image is not None else POINTS_SHOWN)
    watched: dict[str, Observer] = {"position": observers.position}
    if the_way.told:
        watched["denoised"] = observers.denoised_at(tuple(the_way.schedule[1].tolist()))
    elif the_way.sigma_0 is not None:
        watched["denoised"] = observers.denoised(the_way.sigma_0)
    seen = _anneal(trained, shown, seed, "showing how", watched, -(-the_way.horizon // (TIMES_SHOWN - 1)))
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


def denoise(
    run: Path | str, file: str, *, sigma: float | None, out: Path | None, asked: Flips | None = None
) -> int:
    """Remove noise in one step, or restore flipped pixels; see the help of `energax denoise`."""
    asked = Flips() if asked is None else asked
    if run == "ising":
        return restore_by_hand(file, asked, sigma=sigma, out=out)
    trained = Trained(Path(run), "denoise")
    if isinstance(trained.energy, Ising):
        return restore_run(trained, file, asked, sigma=sigma, out=out)
    asked.refuse("only an Ising model (--energy ising) speaks of flipped pixels")
    noisy, came = trained.read(file)
    target = target_file(out, file, "denoised.npy", "denoise")
    told = trained.way.told
    allowed = "given for a noise-conditional model" if told else "left out: this model is not told the noise"
    unit = trained.unit
    check((sigma is not None) == told, "denoise", "--sigma", allowed, sigma)
    z = tasks.denoise(trained.energy, trained.to_model(noisy), sigma_0=unit, sigma=sigma)
    clean = trained.to_data(z)
    save_array(target, clean.reshape(came))
    moved = float(np.sqrt(np.mean((clean - noisy) ** 2)))
    print(f"{len(noisy)} rows in {target}; the noise removed has root mean square {moved:.4g} an entry")
    if trained.image is not None:
        shown = slice(IMAGES_SHOWN)
        save_grid(target.with_suffix(".png"), [trained.pixels(noisy[shown]), trained.pixels(clean[shown])])
        print(f"shown in {target.with_suffix('.png')}: noisy above, denoised below")
    return 0


def inpaint(run: Path, file: str, *, mask: str, seed: int, out: Path | None) -> int:
    """Fill in what is missing; see the help of `energax inpaint`."""
    check_integer("inpaint", "--seed", seed, at_least=0)
    trained = Trained(run, "inpaint")
    unit, the_way = trained.unit, trained.way
    rows, came = trained.read(file)
    known = _known(trained, mask, rows)
    target = target_file(out, file, "inpainted.npy", "inpaint")
    # What is missing is set to the middle of the data, so that nothing of it can leak through.
    given = np.where(known, rows, np.float32((trained.low + trained.high) / 2))
    reached = map_rows(lambda c: _reached(trained.pipeline, *c), (given, (~known).astype(np.float32)))
    with sampling(the_way.horizon, "inpainting") as progress:
        filled = tasks.inpaint(
            trained.energy,
            trained.to_model(given),
            ~reached,
            key=jax.random.key(seed),
            sigma_0=unit,
            noise_max=the_way.start,
            sampler=the_way.sampler,
            center=trained.center,
            progress=progress,
        )
    lost = np.flatnonzero(~trained.stayed(filled))
    if len(lost):
        print(f"note: the chains of rows {', '.join(map(str, lost))} left all bounds", file=sys.stderr)
    whole = np.where(known, rows, trained.to_data(filled))
    save_array(target, whole.reshape(came))
    print(f"{len(rows)} rows in {target}; what was known is kept bit for bit")
    if trained.image is not None:
        shown = slice(IMAGES_SHOWN)
        before = trained.pixels(rows[shown])
        seen = known[shown].reshape(-1, *trained.image)[..., : before.shape[-1]]
        masked = np.where(seen, before, np.uint8(MISSING))
        save_grid(target.with_suffix(".png"), [masked, trained.pixels(whole[shown]), before])
        print(f"shown in {target.with_suffix('.png')}: what was known, the completion, the input")
    return 0


def _known(trained: Trained, mask: str, rows: np.ndarray) -> np.ndarray:
    """Return a boolean array of the shape of the rows, true where they are known."""
    if mask.endswith(".npy"):
        return _mask_file(trained, Path(mask), rows)
    allowed = "a .npy file unless events are images"
    check(trained.image is not None, "inpaint", "--mask", allowed, repr(mask))
    assert trained.image is not None
    one = tasks.named_mask(mask, trained.image).reshape(trained.event)
    return np.broadcast_to(one, rows.shape)


def _mask_file(trained: Trained, path: Path, rows: np.ndarray) -> np.ndarray:
    check(path.is_file(), "inpaint", "--mask", "an existing file", str(path))
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"inpaint: --mask must be a plain NumPy array; got {type(error).__name__}."
        ) from None
    check(isinstance(mask, np.ndarray), "inpaint", "--mask", "a single array", path.name)
    truths = mask.dtype == bool or (mask.dtype.kind in "iuf" and np.isin(mask, (0, 1)).all())
    check(
        truths, "inpaint", "--mask", "an array of booleans, true where known", f"entries of type {mask.dtype}"
    )
    mask = mask.astype(bool)
    n, size = rows.shape[0], int(np.prod(trained.event))
    events = {trained.event, (size,)}
    if trained.image is not None:
        events |= {trained.image}
        if mask.shape[-2:] == trained.image[:2]:  # one truth for all channels of a pixel
            mask = np.repeat(mask[..., None], trained.image[2], axis=-1)
    if mask.shape in events:
        return np.broadcast_to(mask.reshape(trained.event), rows.shape)
    fits = mask.shape[:1] == (n,) and mask.shape[1:] in events
    shapes = " or ".join(map(str, sorted(events, key=len)))
    check(
        fits,
        "inpaint",
        "--mask",
        f"of shape {shapes}, or one such for each of {n} rows",
        f"shape {mask.shape}",
    )
    return mask.reshape(rows.shape)


def score(
    run: Path,
    file: str,
    *,
    out: Path | None,
    likelihood: bool = False,
    probes: int | None = None,
    seed: int | None = None,
) -> int:
    """Print or write one energy a row, or its log-likelihood; see the help of `energax score`."""
    if likelihood:
        return _score_likelihood(run, file, probes=probes, seed=seed or 0, out=out)
    for flag, value in {"--probes": probes, "--seed": seed}.items():
        check(value is None, "score", flag, "given together with --likelihood", value)
    trained = Trained(run, "score")
    rows, _ = trained.read(file)
    target = None if out is None else target_file(out, file, out.name, "score", suffix=".csv")
    energies = trained.score(rows)
    if target is None:
        print("\n".join(f"{energy:.7g}" for energy in energies))
        return 0
    write_csv(target, ("energy",), energies[:, None])
    print(f"{len(rows)} energies in {target}: median {np.median(energies):.4g}, largest {energies.max():.4g}")
    return 0


def _score_likelihood(run: Path, file: str, *, probes: int | None, seed: int, out: Path | None) -> int:
    check_integer("score", "--seed", seed, at_least=0)
    trained = Trained(run, "score")
    rows, _ = trained.read(file)
    target = None if out is None else target_file(out, file, out.name, "score", suffix=".csv")
    found = trained.log_likelihood(rows, probes=probes, seed=seed)
    bits = -found.log_prob / (trained.size * np.log(2))
    columns = {"log_likelihood": found.log_prob, "bits_per_dimension": bits}
    if found.standard_error is not None:
        columns["standard_error"] = found.standard_error
    table = np.stack(list(columns.values()), axis=1)
    spread = found.log_prob.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
    mean = f"mean {found.log_prob.mean():.4g}" + (f" ± {spread:.2g}" if len(rows) > 1 else "")
    said = f"{mean} nats, {bits.mean():.4g} bits per dimension"
    if target is None:
        print(",".join(columns))
        print("\n".join(",".join(f"{value:.7g}" for value in row) for row in table))
        print(f"{len(rows)} log-likelihoods: {said}", file=sys.stderr)
        return 0
    write_csv(target, tuple(columns), table)
    print(f"{len(rows)} log-likelihoods in {target}: {said}")
    return 0


def report(run: Path, *, seed: int) -> int:
    """Write the run's report; see the help of `energax report`."""
    from energax.report import build
    from energax.report.findings import kept

    check_integer("report", "--seed", seed, at_least=0)
    trained = Trained(run, "report")
    folder = trained.run
    path = build(
        folder.report,
        config=trained.config,
        model=trained.energy,
        preprocessing=trained.pipeline,
        dataset=folder.load_data(),
        history=read_metrics(folder.metrics),
        about={**folder.facts, **trained.about},
        seed=seed,
        findings=kept(folder.evaluation),
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"Open {path}")
    return 0


def _folder(out: Path | None, run: Path) -> Path:
    """Return the folder to write into, made if need be."""
    folder = run if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"sample: --out must be a folder; got {folder}: {error.strerror}.") from None
    return folder


def target_file(out: Path | None, file: str, name: str, command: str, suffix: str = ".npy") -> Path:
    """Return the file to write: never the one that is read."""
    target = Path(file).parent / name if out is None else out
    check(target.suffix == suffix, command, "--out", f"a {suffix} file", str(target))
    check(target.parent.is_dir(), command, "--out", "in an existing folder", str(target))
    same = target.resolve() == Path(file).resolve()
    check(not same, command, "--out", "another file than the one that is read", str(target))
    return target


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    write_whole(path, lambda part: np.save(part, array))


def write_csv(path: Path, columns: tuple[str, ...], rows: np.ndarray) -> None:
    """Write rows of numbers under a heading, whole or not at all."""
    import csv

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([[f"{value:.7g}" for value in row] for row in rows])

    write_whole(path, write)
