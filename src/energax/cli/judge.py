"""`energax test` and `energax compare`: whether a sample is from a law, and which law it is nearest."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import evaluation
from energax.checks import InputError, check, check_finite_rows, check_integer, check_number, check_seed
from energax.cli.columns import in_order
from energax.cli.device import prepare
from energax.cli.run_folder import RunFolder
from energax.cli.show import print_table
from energax.cli.trained import Trained
from energax.data import read_table
from energax.data.tables import Table
from energax.evaluation.bandwidth import BANDWIDTHS
from energax.evaluation.posterior import is_posterior

__all__ = ["compare", "judge"]

NETCDF = ".nc"
TABLES = evaluation.CriticTraining(standardise=True)  # columns come in units of their own
DRAWS = 1000
KERNEL, CRITIC = ("kernel", "bandwidth"), ("critic_steps", "constraint", "penalty")
TAKES = {  # by method: what can be asked of it, beside the law
    "ksd": ("draws", *KERNEL, "statistic"),
    "linear-ksd": KERNEL,
    "fssd": ("draws", *KERNEL, "locations", "no_optimise"),
    "lsd": ("draws", "null", "split", *CRITIC),
    "mmd": ("draws", *KERNEL),
}
RANKS = {"lsd": ("steps", "penalty"), "ksd": KERNEL, "linear-ksd": KERNEL}


class InDataUnits(eqx.Module):
    """E(f(x)) − log|det ∂f/∂x|: the energy of rows in the data's own units, also of flat ones."""

    energy: Any
    pipeline: Any
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Any, condition: Any = None) -> Any:
        event = x.reshape(self.event_shape)
        return self.energy(self.pipeline.forward(event)) - self.pipeline.log_det(event)


def judge(
    file: str,
    *,
    run: Path | None,
    log_density: str | None,
    scores: str | None,
    reference: str | None,
    method: str | None,
    told: dict[str, Any],
    seed: int,
) -> int:
    """Print what a test says of a sample, `told` what some methods take; see the help of `energax test`."""
    check_seed("test", "--seed", seed)
    laws = {"--run": run, "--log-density": log_density, "--reference": reference}
    given = [flag for flag, value in {**laws, "--scores": scores}.items() if value is not None]
    one = len(given) == 1 or sorted(given) == ["--log-density", "--scores"]
    wanted = "one of --run, --log-density, --scores, --reference (--scores with --log-density are compared)"
    check(one, "test", "the law", wanted, " and ".join(given) or "none of them")
    two = reference is not None
    method = method or ("mmd" if two else "ksd")
    check((method == "mmd") == two, "test", "--method", "mmd with --reference, and only with it", method)
    settings = _settings("test", method, told, TAKES)
    if "draws" in TAKES[method]:
        settings["draws"] = check_integer("test", "--draws", settings.get("draws", DRAWS), at_least=1)
    prepare("auto")
    key = jax.random.key(seed)
    x, columns = _sample(file, apart=run is None)  # a run knows how its columns vary
    if two:
        assert reference is not None
        other = _beside(file, columns, reference, "--reference")
        if is_posterior(x) and not is_posterior(other):  # chains hold a row's numbers one after another
            other = other.reshape(len(other), -1)
        return _told(evaluation.mmd_test(x, other, **settings, key=key), x, other)
    model = None
    if run is not None:
        model, trained = _of_run("test", run)
        if not is_posterior(x):
            x = trained.read(file)[0]
        numbers = int(np.prod(_event_shape(x)))
        check(numbers == trained.size, "test", "FILE", f"of rows of {trained.size} numbers", f"{numbers}")
    elif log_density is not None:
        model = evaluation.LogDensity(_function(log_density, _event_shape(x)))
    law: dict[str, Any] = {
        "model": model,
        "scores": None if scores is None else _scores(file, columns, scores),
        "key": key,
    }
    if method == "fssd":
        return _told(evaluation.fssd_test(x, **law, **_of_places(settings)), x)
    if method == "lsd":
        return _told(evaluation.lsd_test(x, **law, **_of_a_critic(settings)), x)
    if method == "linear-ksd":
        return _told(evaluation.linear_ksd_test(x, **law, **settings), x)
    return _told(evaluation.ksd_test(x, **law, **settings), x)


def _settings(
    command: str, method: str, told: dict[str, Any], takes: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Return what was told, which the method must have a use for: what would be ignored is refused."""
    settings = {name: value for name, value in told.items() if value is not None}
    for name in settings:
        others = [other for other, names in takes.items() if name in names]
        flag = f"--{name.replace('_', '-')}"
        wanted = f"left out, or asked of {', '.join(others)}"
        check(name in takes[method], command, flag, wanted, f"it for {method}")
    if "bandwidth" in settings:
        settings["bandwidth"] = _bandwidth(command, settings["bandwidth"])
    return settings


def _of_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the finite-set test."""
    optimise = not settings.pop("no_optimise", False)
    check_integer("test", "--locations", settings.get("locations", 1), at_least=1)
    width = settings.get("bandwidth", "power" if optimise else "median")
    if optimise:
        alone = "left out (or power) without --no-optimise: fssd finds its own"
        check(width == "power", "test", "--bandwidth", alone, width)
    else:
        drawn = "median or a number with --no-optimise: no rows are held out to choose it on"
        check(width not in ("power", "discrepancy"), "test", "--bandwidth", drawn, width)
    return {**settings, "optimise": optimise, "bandwidth": width}


def _of_a_critic(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the learned test."""
    names = {"critic_steps": "steps", "constraint": "constraint", "penalty": "penalty"}
    how = {names[name]: settings.pop(name) for name in CRITIC if name in settings}
    check_integer("test", "--critic-steps", how.get("steps", 1), at_least=1)
    check_number("test", "--penalty", how.get("penalty", 1), at_least=0)
    penalised = "penalty" not in how or how.get("constraint", "l2") == "l2"
    check(
        penalised, "test", "--penalty", "left out, or of --constraint l2", f"it for {how.get('constraint')}"
    )
    return {**settings, "training": replace(TABLES, **how)}


def _told(found: evaluation.TestResult, x: Any, reference: Any = None) -> int:
    numbers = {name: value for name, value in found.settings.items() if isinstance(value, str | int | float)}
    rows = f"{found.n:,} of {_size(x)}"
    if reference is not None:
        first, second = numbers.pop("rows"), numbers.pop("reference")
        rows = f"{first:,} of {_size(x)}; beside {second:,} of {_size(reference)}"
    chosen = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in numbers.items()
    )
    print_table(
        ("", ""),
        [
            ("test", f"{found.method}: {chosen}"),
            ("rows", rows),
            ("statistic", f"{found.statistic:.6g}"),
            ("p-value", f"{found.p_value:.4g}"),
            ("null", found.null),
            ("status", found.status),
        ],
    )
    return 0


def compare(file: str, runs: list[Path], *, method: str, told: dict[str, Any], seed: int) -> int:
    """Print the runs in the order of their discrepancy; see the help of `energax compare`."""
    if (Path(file) / "config.json").is_file():  # no rows named: those that the runs' data kept back
        runs, file = [Path(file), *runs], ""
    check_seed("compare", "--seed", seed)
    check(len(runs) > 1, "compare", "RUNS", "two or more run folders", f"{len(runs)}")
    settings: dict[str, Any] = _settings("compare", method, told, RANKS)
    if method == "lsd":
        check_integer("compare", "--steps", settings.get("steps", 1), at_least=1)
        check_number("compare", "--penalty", settings.get("penalty", 1), above=0)
        settings = {"training": replace(TABLES, **settings)}
    names = [str(run) for run in runs]
    check(len(set(names)) == len(names), "compare", "RUNS", "different run folders", " ".join(names))
    prepare("auto")
    models: dict[str, Any] = {}
    x = np.empty(0)
    for name, run in zip(names, runs, strict=True):
        energy, trained = _of_run("compare", run)
        seen = trained.read(file)[0] if file else _held_out(runs[0], trained.run)
        alike = not models or np.array_equal(seen, x)
        allowed = f"trained on events like those of {runs[0]}, their columns in one order"
        check(alike, "compare", "RUNS", allowed, f"{run}, which reads {Path(file).name} otherwise")
        models[name], x = energy, seen
    ranked = evaluation.compare(models, x, method=method, **settings, key=jax.random.key(seed))
    heading = ("run", "discrepancy", "standard error", "above the best", "standard error", "status")
    rows: list[tuple[str, ...]] = []
    for i, (name, found) in enumerate(zip(ranked.names, ranked.found, strict=True)):
        gap = (f"{ranked.differences[i, 0]:.4g}", f"{ranked.errors[i, 0]:.2g}") if i else ("", "")
        rows.append((name, f"{found.estimate:.4g}", f"{found.standard_error:.2g}", *gap, found.status))
    print_table(heading, rows)
    print(f"On {ranked.found[0].n:,} of {_size(x)}; less is better, and 0 is the law of the rows.")
    return 0


def _sample(file: str, argument: str = "FILE", *, apart: bool) -> tuple[Any, tuple[str, ...] | None]:
    """Return the rows of a table with its columns' names, or ArviZ's `InferenceData` of a .nc file."""
    if Path(file).suffix.lower() != NETCDF:
        table = read_table(file, apart=apart)
        return table.rows, table.columns
    check(Path(file).is_file(), "test", argument, "an existing file", repr(file))
    return evaluation.read_inference_data(file), None


def _beside(file: str, columns: tuple[str, ...] | None, other: str, argument: str) -> Any:
    """Return the rows of another file, their columns as those of the sample's file stand."""
    rows, names = _sample(other, argument, apart=False)
    if is_posterior(rows):
        return rows
    table = Table(rows, None, names)
    layout = in_order(table, columns, command="test", file=Path(other).name, of=Path(file).name)
    return layout.arrange(rows)


def _scores(file: str, columns: tuple[str, ...] | None, scores: str) -> np.ndarray:
    """Return the scores in a file, of which those not finite are named by their rows."""
    table = read_table(scores, finite=False)
    check_finite_rows("test", "--scores", table.rows)
    layout = in_order(table, columns, command="test", file=Path(scores).name, of=Path(file).name)
    return layout.arrange(table.rows)


def _event_shape(x: Any) -> tuple[int, ...]:
    return evaluation.posterior_rows(x)[0].shape[1:] if is_posterior(x) else x.shape[1:]


def _size(x: Any) -> str:
    if is_posterior(x):
        return f"{int(np.prod(list(x.posterior.sizes.values())[:2])):,} draws"
    return f"{len(x):,}, {int(np.prod(x.shape[1:]))} numbers each"


def _bandwidth(command: str, spelled: str) -> str | float:
    if spelled in BANDWIDTHS:
        return spelled
    try:
        return float(spelled)
    except ValueError:
        allowed = f"{', '.join(BANDWIDTHS)} or a number"
        raise InputError(f"{command}: --bandwidth must be {allowed}; got {spelled!r}.") from None


def _held_out(first: Path, run: RunFolder) -> np.ndarray:
    """Return the rows that a run's data kept back, which must be those of the first."""
    these, those = run.facts["data"], RunFolder.open(first, "compare").facts["data"]
    allowed = f"trained on one data set, that of {first} ({those['name']}), or rows named before them"
    check(these["sha256"] == those["sha256"], "compare", "RUNS", allowed, f"{run.path} on {these['name']}")
    return run.load_data().test


def _of_run(command: str, run: Path) -> tuple[Any, Trained]:
    """Return the energy of a run in the data's own units, and the run."""
    flag = "--run" if command == "test" else "RUNS"
    trained = Trained(run, command)
    trained.require_steins_identity(flag)
    energy = trained.way.energy(trained.energy)
    check(energy is not None, command, flag, "a run of an energy", "a vector field")
    return InDataUnits(energy, trained.pipeline, trained.event), trained


def _function(spelled: str, event_shape: tuple[int, ...]) -> Any:
    """Return the function of one row that FILE.py:FUNCTION names; the file is the user's own, and is run."""
    path, _, name = spelled.rpartition(":")
    check(path and name, "test", "--log-density", "FILE.py:FUNCTION", repr(spelled))
    check(Path(path).is_file(), "test", "--log-density", "in an existing file", repr(path))
    spec = importlib.util.spec_from_file_location("log_density", path)
    check(spec is not None and spec.loader is not None, "test", "--log-density", "in a .py file", repr(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["log_density"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"test: {path} cannot be run: {type(error).__name__}: {error}.") from error
    function = getattr(module, name, None)
    check(callable(function), "test", "--log-density", f"a function of {path}", repr(name))
    assert function is not None
    wanted = "a function of one row that JAX can differentiate, returning one number"
    try:
        shape = jax.eval_shape(function, jax.ShapeDtypeStruct(event_shape, np.float32)).shape
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else "no message"
        raise InputError(
            f"test: --log-density must be {wanted}; got {type(error).__name__}: {said}"
        ) from error
    check(shape == (), "test", "--log-density", wanted, f"one of shape {shape}")
    return function
