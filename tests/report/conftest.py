"""Small data of known law, energies that denoise them exactly, and two built reports."""

import jax.numpy as jnp
import numpy as np
import pytest

from energax.config import RunConfig, replace
from energax.data import Affine, Dataset, Pad, Pipeline
from energax.energies import Gaussian
from energax.report import build

QUICK = {"sampler.hold": 5, "sampler.anneal": 20, "sampler.cool": 5, "fit.batch_size": 32}
HOSTILE = "<script>alert(1)</script>"
COLUMNS = ('"><img src=x onerror=alert(1)>', r"$\frac{1$", "plain")


def covariance(d, rng):
    """Return a covariance of dimension d with eigenvalues from 0.05 to 1."""
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return (axes * np.geomspace(0.05, 1.0, d)) @ axes.T


class Smooth:
    """The energy of N(μ, C + σ²I): for data N(μ, C) its jump x − σ²∇E(x) is the posterior mean."""

    def __init__(self, mean, cov, sigma, shape=None):
        self.gaussian = Gaussian(mean, cov + sigma**2 * np.eye(len(mean)))
        self.event_shape = (len(mean),) if shape is None else shape

    def __call__(self, x):
        return self.gaussian(jnp.ravel(x))


@pytest.fixture(scope="session")
def table():
    """Rows of N(μ, C) in three columns with hostile names, and the law's parameters."""
    rng = np.random.default_rng(0)
    mean, cov = np.array([3.0, -1.0, 0.5]), covariance(3, rng)
    rows = rng.multivariate_normal(mean, cov, 1500).astype(np.float32)
    data = Dataset(HOSTILE, "table", rows[:1000], rows[1000:], columns=COLUMNS)
    return data, mean, cov


@pytest.fixture(scope="session")
def table_arguments(table):
    data, mean, cov = table
    config = replace(RunConfig(data=HOSTILE), {"objective": "denoising", **QUICK})
    return {
        "config": config,
        "model": Smooth(mean, cov, config.objective_options.sigma),
        "preprocessing": None,
        "dataset": data,
        "history": [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0, "validation_loss": 1.5}],
        "about": {"seconds": 3.0, "environment": {"energax": HOSTILE}},
        "seed": 0,
    }


@pytest.fixture(scope="session")
def table_report(table_arguments, tmp_path_factory):
    return build(tmp_path_factory.mktemp("report") / "report.html", **table_arguments)


@pytest.fixture(scope="session")
def images():
    """Images 6 × 6 that are mapped to units of their own and framed, as the model sees them."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 256, (60, 6, 6, 1)).astype(np.float32)
    return Dataset("squares", "image", rows[:40], rows[40:]), Pipeline((Affine(0, 255), Pad(1)))


@pytest.fixture(scope="session")
def image_report(images, tmp_path_factory):
    data, pipeline = images
    config = replace(RunConfig(), {"objective.levels": 4, **QUICK})
    lines = []
    path = build(
        tmp_path_factory.mktemp("images") / "report.html",
        config=config,
        model=Smooth(np.full(64, 0.5), np.zeros((64, 64)), config.objective_options.sigma_0, (8, 8, 1)),
        preprocessing=pipeline,
        dataset=data,
        history=[
            {"step": 10, "loss": 60.0, "loss_by_noise": [70.0, 60.0, 50.0, 40.0]},
            {"step": 20, "loss": 40.0, "loss_by_noise": [50.0, 40.0, 30.0, 20.0], "validation_loss": 41.0},
        ],
        about={},
        seed=0,
        progress=lines.append,
    )
    return path, lines
