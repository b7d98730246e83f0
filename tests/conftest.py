"""Seeds, the shared data folder, and one digits model that several truths are told about."""

import os
import resource
from pathlib import Path

# The suite compiles thousands of programs and runs each for a moment: LLVM's first level of optimisation
# compiles them in about half the time, and without XLA's newer way of writing kernels a fifth of the rest
# goes too. The truth must hang on neither: XLA_FLAGS= (set, and empty) tests what users run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false")

# Processes are as many as cores: with a pool of threads for every core in each, threads wait for one
# another, and two processes take half as long again as with one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NPROC", "1")

import jax
import pytest

import energax as _energax  # noqa: F401  its compiler settings, before anything is computed

ROOT = Path(__file__).resolve().parents[1]
FULL = 4e9  # bytes

if "ENERGAX_DATA" not in os.environ and (ROOT.parent / "shared" / "data").is_dir():
    os.environ["ENERGAX_DATA"] = str(ROOT.parent / "shared" / "data")

# XLA is the slow part of the suite: programs are kept between runs, and shared with the
# subprocesses that tests start.
os.environ.setdefault("ENERGAX_CACHE", str(ROOT / ".cache"))
jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["ENERGAX_CACHE"]) / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def memory():
    """Return this process's memory in bytes: what it holds now, or, not on Linux, the most it ever held."""
    now = Path("/proc/self/statm")
    if now.is_file():
        return int(now.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """While they fill memory, let go of compiled programs after a file: the disk keeps the slow ones."""
    yield
    if memory() > FULL:
        jax.clear_caches()


def pytest_addoption(parser):
    parser.addoption(
        "--seeds",
        default="0",
        help="comma-separated seeds of every statistical test: one on a commit, any others at night",
    )


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", [int(s) for s in metafunc.config.getoption("--seeds").split(",")])


# The files that take longest start first, so that the processes end together: see the Makefile.
LONG = ("truth/test_digits", "evaluation/test_learned", "evaluation/test_goodness", "test_flow_contrastive")


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))
    if "study" in (config.getoption("-m") or ""):
        return
    skip = pytest.mark.skip(reason="a long study: run with -m study")
    for item in items:
        if "study" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def key(seed):
    return jax.random.key(seed)


@pytest.fixture(scope="session")
def digits_fit():
    """The digits preset, trained as the demo trains it."""
    return train_digits(steps=3000)


def train_digits(steps):
    import energax as ex
    from energax.presets import preset

    config = ex.config.replace(preset("digits", "digits"), {"fit.steps": steps})
    model_key, fit_key = jax.random.split(jax.random.key(config.seed))
    energy = ex.energies.MLP((64,), key=model_key)
    objective = ex.objectives.MultiscaleDenoisingScoreMatching()
    return ex.fit(energy, objective, ex.data.digits().train, key=fit_key, config=config.fit, progress=False)
