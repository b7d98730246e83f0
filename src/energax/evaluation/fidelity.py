r"""The Inception score, FID and KID of photographs, as published numbers are: by torch-fidelity.

Its Inception network (the TensorFlow one of 2015, whose weights it downloads once) is the one that the
numbers in papers are of; its formulas are those of `class_score`, `frechet_distance` and `kernel_distance`.
Images are handed over as bytes, samples clipped to the range of the data; grey ones in three equal
channels, for which the network was not made: the status says so. Published FIDs are of 50,000 samples
against the training images. What papers put behind ± is no standard error, but the spread over ten parts
(score) or a hundred subsets (KID): it is `settings["spread"]`.

An extra, `pip install 'energax[fidelity]'`: it brings PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from energax.checks import InputError, check, check_array
from energax.evaluation.frechet import ENOUGH
from energax.evaluation.quality import Quality
from energax.typing import ArrayLike

__all__ = ["inception_quality", "require_fidelity"]

FEATURES = 2048
FEWEST = 100  # rows; torch-fidelity takes ten parts of them for the score
NAMES = {
    "inception_score_mean": "Inception score",
    "frechet_inception_distance": "FID",
    "kernel_inception_distance_mean": "KID",
}
SPREADS = {
    "inception_score_mean": "inception_score_std",
    "kernel_inception_distance_mean": "kernel_inception_distance_std",
}


def inception_quality(
    x: ArrayLike, reference: ArrayLike, *, low: float = 0.0, high: float = 1.0, seed: int = 0
) -> dict[str, Quality]:
    """Return Inception score, FID and KID of images, by name.

    Parameters
    ----------
    x, reference
        Images (m, H, W, C) and (n, H, W, C) with 1 or 3 channels, 100 or more of either.
    low, high
        Black and white.
    seed
        Decides the parts and subsets.

    Raises
    ------
    InputError
        If torch-fidelity is not installed or its weights cannot be had, or for what is no images.
    """
    owner = "inception_quality"
    fidelity = require_fidelity()
    first = check_array(owner, "x", x, at_least_rows=FEWEST)
    channels = first.ndim == 4 and first.shape[-1] in (1, 3)
    check(channels, owner, "x", "images of shape (n, height, width, 1 or 3)", f"shape {first.shape}")
    second = check_array(owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=FEWEST)
    m, n = len(first), len(second)
    try:
        found: dict[str, float] = fidelity.calculate_metrics(
            input1=_images(first, low, high),
            input2=_images(second, low, high),
            isc=True,
            fid=True,
            kid=True,
            kid_subset_size=min(1000, m, n),
            rng_seed=seed,
            verbose=False,
            cuda=_on_gpu(),
            save_cpu_ram=True,  # reads in this process: workers are forked, and JAX has threads
        )
    except OSError as error:  # urllib's errors are of this kind
        raise InputError(
            f"{owner}: the weights of Inception must be there to be read or downloaded; got {error}."
        ) from error
    grey = "of grey images, which Inception was not made for; " if first.shape[-1] == 1 else ""
    few = min(m, n) < ENOUGH * FEATURES
    biased = f"biased: {min(m, n):,} rows for {FEATURES:,} features, where {ENOUGH * FEATURES:,} are asked"
    qualities = {}
    for key, name in NAMES.items():
        spread = SPREADS.get(key)
        doubt = grey + (biased if few and name == "FID" else "")
        qualities[name] = Quality(
            method=name,
            of="Inception's features (torch-fidelity)",
            estimate=float(found[key]),
            standard_error=None,
            n=(m, n),
            status=doubt.rstrip("; ") or "ok",
            settings={"version": fidelity.__version__, "spread": spread and float(found[spread])},
        )
    return qualities


def require_fidelity() -> Any:
    """Return torch-fidelity, or say how to get it."""
    try:
        return importlib.import_module("torch_fidelity")
    except ImportError:
        needed = "must be installed (pip install 'energax[fidelity]'); it is not"
        raise InputError(f"inception_quality: torch-fidelity {needed}.") from None


def _on_gpu() -> bool:
    return bool(importlib.import_module("torch").cuda.is_available())


def _images(rows: np.ndarray, low: float, high: float) -> Any:
    """Return rows as a data set of bytes (3, H, W), as torch-fidelity reads them."""
    torch = importlib.import_module("torch")
    pixels = np.round(255 * np.clip((rows - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return images[index]

    return Images()
