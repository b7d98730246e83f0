"""`energax train`: resolve, show, save, then fit; and go on where a fit was stopped."""

from __future__ import annotations

import datetime
import importlib.util
import logging
import platform
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energax._version import __version__
from energax.checks import InputError, check
from energax.cli import DIVERGED, INTERRUPTED, STUCK, Stopped
from energax.cli.device import prepare
from energax.cli.names import DATA_NAMES, TOY_NAMES
from energax.cli.run_folder import RunFolder, check_free, fingerprint
from energax.cli.settings import describe, parse_sets, read_file, resolve, seed_of
from energax.cli.show import counted, describe_log_z
from energax.config import to_dict

if TYPE_CHECKING:
    from energax.training import DivergenceError

__all__ = ["environment", "resume_run", "train_run"]

VALIDATION_ROWS = 1000
FEW = 30  # rows, below which there is hardly a law to be learned


class Unsuited(InputError):
    """The fit refused what it was given before anything was kept: there is nothing to go on with."""


def train_run(
    data: str | None,
    *,
    out: Path | None,
    preset: str | None = None,
    file: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    device: str = "auto",
    dry_run: bool = False,
    tensorboard: bool = False,
) -> int:
    """Train on data from the start; see the help of `energax train`."""
    layers = read_file(file), parse_sets(sets), dict(flags or {})
    source = data or layers[1].get("data") or layers[0].get("data")
    allowed = "given: a data set by name, a file or a folder (`energax train --help` lists the names)"
    check(isinstance(source, str) and source, "train", "DATA", allowed, source or "nothing")
    assert isinstance(source, str)
    trained = all((Path(source).expanduser() / name).is_file() for name in ("config.json", "run.json"))
    allowed = f"data, not a run (to continue it: energax train --resume {shlex.quote(source)})"
    check(not trained, "train", "DATA", allowed, source)
    out = Path("runs") / Path(source).expanduser().resolve().stem if out is None else out
    if not dry_run:
        check_free("train", out, " (or use --resume to continue a run)")

    _check_tensorboard(tensorboard)
    config = None
    known = preset or _preset_of(source)
    if known is not None:
        config = resolve(source, known, *layers)
    prepare(device)
    from energax.data import load

    dataset = load(source, seed=seed_of(*layers))
    if config is None:
        config = resolve(_absolute(source), dataset.kind, *layers)

    from energax.cli.build import build, parameters

    parts = build(config, dataset)
    config = parts.config
    print(describe(config), flush=True)
    rows = " and ".join(
        f"{len(r):,} {what}" for r, what in ((dataset.train, "to train on"), (dataset.test, "held out"))
    )
    n = len(dataset.train)
    if dataset.kind == "table" and len(dataset.event_shape) > 1:
        rest = ", ".join(map(str, dataset.event_shape))
        print(f"note: rows (n, {rest}) are no images; those are (n, height, width, 1 or 3)", file=sys.stderr)
    if n < FEW:
        said = f"{counted(n, 'row')} to train on {'are' if n > 1 else 'is'} few"
        print(f"note: {said}: a model learns them by heart rather than their law", file=sys.stderr)
    shape, size = parts.energy.event_shape, parameters(parts.energy)
    print(f"\n{dataset.name}: {rows}; the model sees events {shape} and has {size:,} parameters", flush=True)
    if dry_run:
        return 0
    run = RunFolder.create(out, config, _facts(parts))
    print(f"writing to {out}", flush=True)
    try:
        with run.held():
            return _fit(run, parts, tensorboard)
    except Unsuited:
        shutil.rmtree(run.path)
        raise


def resume_run(
    path: Path, *, given: Sequence[str], device: str, dry_run: bool = False, tensorboard: bool = False
) -> int:
    """Continue the run in a folder."""
    allowed = f"used alone (the settings are those in {path / 'config.json'})"
    check(not given, "train", "--resume", allowed, ", ".join(given))
    run = RunFolder.open(path, "train")
    config, facts = run.config, run.facts
    for made in ("composed", "distilled"):
        allowed = f"a run of `energax train`; a {made} one has nothing to train"
        check(made not in facts, "train", "--resume", allowed, str(path))
    print(describe(config), flush=True)
    if facts.get("status") == "finished" and run.model.exists():
        done = run.steps
        print(f"\n{path} is finished: {done:,} steps are done{_longer(run, done)}")
        return 0
    nothing = run.diverged and not run.model.exists()
    check(not nothing, "train", "--resume", f"a run that has learned something ({run.onward})", str(path))
    _check_tensorboard(tensorboard)
    prepare(device)
    dataset = run.load_data()

    from energax.cli.build import build

    parts = build(config, dataset)
    begun, here = facts.get("environment", {}), environment()
    changed = [
        f"{name} was {begun.get(name)} and is {here[name]}" for name in here if begun.get(name) != here[name]
    ]
    if changed:
        print(f"note: {', '.join(changed)}; bits may differ from an uninterrupted run", file=sys.stderr)
    print(f"\ncontinuing {path} from step {run.latest or 0:,} of {config.fit.steps:,}", flush=True)
    if dry_run:
        return 0
    with run.held():
        return _fit(run, parts, tensorboard)


def _longer(run: RunFolder, done: int) -> str:
    """Return what to do where the configuration of a finished run asks for other steps than were done."""
    asked = run.config.fit.steps
    if asked == done:
        return ""
    # The learning rate has come to the end of its schedule: there is nothing to go on with.
    words = shlex.join(["energax", "train", "--config", str(run.path / "config.json"), "--out"])
    return f", not {asked:,}; another number is a new run: {words} FOLDER"


def _fit(run: RunFolder, parts: Any, tensorboard: bool) -> int:
    from energax.cli.stacks import pretrained
    from energax.training import DivergenceError, fit
    from energax.training.checkpoint import Unwritable

    config, dataset = parts.config, parts.dataset
    spent, began = run.facts.get("seconds", 0.0), time.perf_counter()
    run.add_facts(status="running")
    _keep_orbax_quiet()
    status = "stopped"
    try:
        # What a checkpoint holds takes the place of where the fit would start.
        start = pretrained(parts) if run.latest is None else parts.energy
        done = fit(
            start,
            parts.objective,
            dataset.train,
            key=parts.key,
            validation=dataset.test[:VALIDATION_ROWS],
            preprocessing=parts.pipeline,
            config=config.fit,
            checkpoints=run.checkpoints,
            resume=True,
            log=run.metrics,
            tensorboard=tensorboard,
        )
        steps = int(done.state.step)
        log_z = _log_normalizer(parts, done)
        _save(run.model, parts, done.energy, steps, log_z)
        if hasattr(parts.objective, "learned_flow"):
            _save(run.flow, parts, parts.objective.learned_flow(done.state.state), steps)
        status = done.status
        run.add_facts(loop=done.loop, **({} if log_z is None else {"log_normalizer": log_z}))
    except DivergenceError as error:
        status = "diverged"
        raise Stopped(f"error: {error}{_diverged(run, parts, error)}", DIVERGED) from None
    except InputError as error:
        again = f"{str(error).rstrip('.')}; to continue: {run.resume_command}"
        if isinstance(error, Unwritable):
            raise Stopped(f"error: {again}", STUCK) from error
        if run.latest is None:
            raise Unsuited(str(error)) from error
        raise InputError(again) from error
    except OSError as error:
        kept = f"the newest whole checkpoint is of step {run.latest}; to continue: {run.resume_command}"
        sentence = f"train: {run.path} cannot be written: {error.strerror or error}; {kept}"
        raise Stopped(f"error: {sentence}", STUCK) from error
    except KeyboardInterrupt:
        status = "interrupted"
        raise Stopped(_interrupted(run, None), INTERRUPTED) from None
    finally:
        seconds = spent + time.perf_counter() - began
        try:
            run.add_facts(status=status, seconds=round(seconds, 3))
        except OSError:  # a full disk: the error under way says more
            if status in ("finished", "interrupted"):
                raise
    if status == "interrupted":
        raise Stopped(_interrupted(run, steps), INTERRUPTED)
    last = done.history[-1]
    losses = [
        f"{name.replace('_', ' ')} {last[name]:.4g}" for name in ("loss", "validation_loss") if name in last
    ]
    if done.rollbacks:
        back = ", ".join(f"{r['diagnosis']} at step {r['at']:,}" for r in done.rollbacks)
        print(f"rolled back {len(done.rollbacks)} of at most {config.fit.rollbacks} times: {back}")
    print(f"{steps:,} steps in {seconds:.0f} s: {', '.join(losses)}")
    if log_z is not None:
        print(f"log Z {describe_log_z(log_z)}, by importance sampling from the noise")
    print(f"next: energax sample {shlex.quote(str(run.path))}")
    return 0


def _keep_orbax_quiet() -> None:
    """Leave a failed checkpoint to our one sentence.

    Orbax's threads also log its traceback; TensorStore's, still at work when Orbax has given
    up, report that nobody waits for them any more; asyncio logs each further failed write
    whenever its future happens to be collected; and Python that what had not begun was never awaited.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    if before.__module__ != __name__:
        sys.unraisablehook = hook


def _interrupted(run: RunFolder, steps: int | None) -> str:
    where = "" if steps is None else f" at step {steps:,}"
    kept = run.latest
    what = "nothing had been kept yet" if kept is None else f"the state of step {kept:,} is kept"
    return f"interrupted{where}; {what}; to continue: {run.resume_command}"


def _diverged(run: RunFolder, parts: Any, error: DivergenceError) -> str:
    """Keep the last healthy model, if it has learned anything, and say so."""
    found, steps = error.diagnosis, int(error.fit.state.step)
    run.add_facts(diagnosis=f"{found.name}: {found.sentence}")
    if steps == 0:
        return ""
    _save(run.model, parts, error.fit.energy, steps)
    return f" The last healthy model, of step {steps:,}, is {run.model}."


def _log_normalizer(parts: Any, done: Any) -> dict[str, float] | None:
    """Return log Z of the energy that was learned against noise, with its error; None of others.

    By importance sampling from that noise, which asks nothing of the data: the log Z learned beside
    the energy, and one fitted to held-out rows, are where the data fit best, not where p sums to one.
    """
    if not hasattr(parts.objective, "noise_in"):
        return None
    import jax

    from energax.objectives import importance_log_normalizer

    noise = parts.objective.noise_in(done.state.state)
    key = jax.random.fold_in(parts.key, done.config.steps)
    return importance_log_normalizer(done.energy, noise, parts.energy.event_shape, key=key)._asdict()


def _save(path: Path, parts: Any, energy: Any, steps: int, log_z: dict[str, float] | None = None) -> None:
    from energax.training.modelfile import save

    about = {
        "config": to_dict(parts.config),
        "steps": steps,
        "center": parts.center,
        "reach": parts.reach,
        "data": _data_facts(parts.dataset),
        "environment": environment(),
        "log_normalizer": log_z,
    }
    save(path, energy, preprocessing=parts.pipeline, about=about)


def _check_tensorboard(wanted: bool) -> None:
    there = not wanted or importlib.util.find_spec("tensorboardX") is not None
    needed = "used with the extra: pip install 'energax[tensorboard]'"
    check(there, "train", "--tensorboard", needed, "no tensorboardX")


def _preset_of(source: str) -> str | None:
    """Return the preset of data known by name, or None where the kind must be looked at."""
    from energax.presets import preset_name

    if source in DATA_NAMES:
        return preset_name(source, "image")
    return "points" if source in TOY_NAMES else None


def _absolute(source: str) -> str:
    """Return a path that will still lead to the data from another folder; names as they are."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def _facts(parts: Any) -> dict[str, Any]:
    from energax.cli.build import parameters

    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "status": "created",
        "seconds": 0.0,
        "environment": environment(),
        "parameters": parameters(parts.energy),
        "model_event_shape": list(parts.energy.event_shape),
        "data": _data_facts(parts.dataset),
    }


def environment() -> dict[str, Any]:
    """Return the versions and devices that decide the bits of a fit."""
    import jax

    from energax.training.mesh import data_mesh

    return {
        "energax": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "devices": data_mesh().size,  # a CPU is one, however many cores it has
    }


def _data_facts(dataset: Any) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "event_shape": list(dataset.event_shape),
        "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
        "columns": None if dataset.columns is None else list(dataset.columns),
        "rows": len(dataset.train),
        "held_out": len(dataset.test),
        "low": float(dataset.train.min()),
        "high": float(dataset.train.max()),
        "sha256": fingerprint(dataset.train),
    }
