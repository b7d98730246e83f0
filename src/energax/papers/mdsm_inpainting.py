r"""MDSM figure 3: test images completed, with the error that the paper does not give.

Half of an image, or its middle, is taken away and drawn again given the rest (`tasks.inpaint`, MDSM §4), K
times. A completion need not be the truth to be right, so it is judged in three ways:

    error       root mean square over missing pixels, of one draw and of the mean of K (which is what least
                squares asks for); beside the mean of a Gaussian with the training rows' moments given the
                known pixels, and the missing pixels of the training image nearest in the known ones
    agreement   the share whose class, as a classifier of whole training images sees it, is the truth's
    ratio       error of the mean of draws over that of one draw

If the draws x_k have the law of the truth y given what is known, of variance v, then E(x_k − y)² = 2v and
E(x̄ − y)² = v(1 + 1/K): the ratio is √((1 + 1/K)/2), whatever v. Below that the draws are wider than
the truth's law, above it narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from energax.papers.judge import Judge, pixels
from energax.papers.models import TINY, Studied, trained
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.tasks import inpaint, named_mask

__all__ = ["run"]

MASKS = ("left", "top", "center")


class Size(NamedTuple):
    """How large the study is."""

    data: str
    images: int
    draws: int
    masks: tuple[str, ...]
    changes: dict[str, Any]
    network: str | None = None


SIZES = {
    "smoke": Size("digits", 30, 2, ("left",), TINY),
    "cpu": Size("digits", 100, 4, MASKS, {}),
    "paper": Size("celeba", 1000, 10, MASKS, {}, "celeba-res18"),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Complete test images under every mask, and judge the completions."""
    size = SIZES[scale]
    model = trained(size.data, size.changes, network=size.network, progress=progress)
    truth = model.dataset.test[: size.images]
    judge = Judge.of(model.dataset) if model.dataset.train_labels is not None else None
    rows, grids, facts = [], {}, {}
    for i, name in enumerate(size.masks):
        known = named_mask(name, _image(model)).reshape(model.dataset.event_shape)
        guesses = {
            "draw": draws(model, truth, known, size.draws, jax.random.fold_in(jax.random.key(0), i)),
            "best linear": best_linear(model.dataset.train, truth, known)[None],
            "nearest": nearest(model.dataset.train, truth, known)[None],
        }
        guesses["mean of draws"] = guesses["draw"].mean(0, keepdims=True)
        error = {method: rms(found, truth, known) for method, found in guesses.items()}
        agree = {method: agreement(judge, found, truth) for method, found in guesses.items()}
        ratio = error["mean of draws"] / error["draw"]
        ideal = float(np.sqrt((1 + 1 / size.draws) / 2))
        for method in ("draw", "mean of draws", "best linear", "nearest"):
            rows.append([name, method, error[method], "" if agree[method] is None else agree[method]])
        facts[name] = {"error": error, "agreement": agree, "ratio": ratio, "ratio of right draws": ideal}
        grids[name] = (np.where(known, truth, np.nan), guesses, truth)
        progress(f"{name}: { ({m: round(e, 3) for m, e in error.items()}) }, ratio {ratio:.3f} ({ideal:.3f})")
    return Outcome(
        columns=["missing", "completed by", "error of a missing pixel", "class of the truth"],
        rows=rows,
        verdict=verdict(facts),
        figure=_figure(grids, _image(model)),
        facts={"masks": facts, "images": size.images, "draws": size.draws},
    )


def draws(model: Studied, x: np.ndarray, known: np.ndarray, count: int, key: jax.Array) -> np.ndarray:
    """Return `count` completions of every image, shape (count, n, *event)."""
    again = np.concatenate([x] * count)
    seen = model.to_model(np.where(known, again, np.float32(model.dataset.train.mean())))
    filled = inpaint(
        model.energy,
        seen,
        known.reshape(seen.shape[1:]),
        key=key,
        sigma_0=model.way.sigma_0 or 0.0,
        noise_max=model.way.start,
        sampler=model.way.sampler,
        center=float(model.to_model(model.dataset.train[:1000]).mean()),
    )
    filled = np.clip(model.to_data(filled), model.dataset.train.min(), model.dataset.train.max())
    return filled.reshape(count, *x.shape)


def best_linear(train: np.ndarray, x: np.ndarray, known: np.ndarray, most: int = 20_000) -> np.ndarray:
    """Return rows completed by the conditional mean of a Gaussian with the training rows' moments."""
    rows, flat, seen = (
        train[:most].reshape(min(most, len(train)), -1),
        x.reshape(len(x), -1),
        known.reshape(-1),
    )
    mean = rows.mean(0, dtype=np.float64)
    covariance = np.cov(rows.T.astype(np.float64))
    inner = covariance[np.ix_(seen, seen)]
    ridge = 1e-4 * np.trace(inner) / len(inner) * np.eye(len(inner))  # borders of images never vary
    gain = np.linalg.solve(inner + ridge, covariance[np.ix_(seen, ~seen)])
    out = flat.astype(np.float64)
    out[:, ~seen] = mean[~seen] + (flat[:, seen] - mean[seen]) @ gain
    return np.clip(out, train.min(), train.max()).reshape(x.shape)


def nearest(train: np.ndarray, x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return rows completed by the training row nearest to what is known of them."""
    from sklearn.neighbors import NearestNeighbors

    seen = known.reshape(-1)
    rows, flat = train.reshape(len(train), -1), x.reshape(len(x), -1)
    found = NearestNeighbors(n_neighbors=1).fit(rows[:, seen]).kneighbors(flat[:, seen])[1][:, 0]
    return np.where(seen, flat, rows[found]).reshape(x.shape)


def rms(found: np.ndarray, truth: np.ndarray, known: np.ndarray) -> float:
    """Return the root mean square error of missing entries, over all completions."""
    return float(np.sqrt(np.mean((found - truth)[..., ~known] ** 2)))


def agreement(judge: Judge | None, found: np.ndarray, truth: np.ndarray) -> float | None:
    """Return the share of completions that a classifier puts into the truth's class."""
    if judge is None:
        return None
    wanted = judge.classifier.predict(pixels(truth))
    return float(np.mean([judge.classifier.predict(pixels(rows)) == wanted for rows in found]))


def verdict(facts: dict[str, dict[str, Any]]) -> str:
    """Say whether the mean of draws beats the best linear guess, and whether they spread as they must."""
    said = []
    for name, found in facts.items():
        error, agree = found["error"], found["agreement"]
        better = "below" if error["mean of draws"] < error["best linear"] else "above"
        text = (
            f"{name}: the mean of draws errs by {error['mean of draws']:.3f}, {better} the best linear guess "
            f"({error['best linear']:.3f}); one draw by {error['draw']:.3f}, the nearest training image by "
            f"{error['nearest']:.3f}; ratio {found['ratio']:.3f} where draws of the right law have "
            f"{found['ratio of right draws']:.3f}"
        )
        if agree["draw"] is not None:
            text += f"; {agree['draw']:.0%} of draws are of the truth's class"
            text += f", {agree['best linear']:.0%} of linear guesses, {agree['nearest']:.0%} of neighbours"
        said.append(text + ".")
    return " ".join(said)


def _image(model: Studied) -> tuple[int, int, int]:
    assert model.dataset.image_shape is not None
    return model.dataset.image_shape


def _figure(
    grids: dict[str, tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]], shape: tuple[int, ...]
) -> Any:
    shown = 10
    figure = canvas(0.8 * shown + 1.2, 4.2 * len(grids))
    parts: Any = figure.subfigures(len(grids), 1, squeeze=False)[:, 0]
    for sub, (name, (seen, guesses, truth)) in zip(parts, grids.items(), strict=True):
        lines = {
            "known": seen,
            "a draw": guesses["draw"][0],
            "another": guesses["draw"][-1],
            "best linear": guesses["best linear"][0],
            "nearest": guesses["nearest"][0],
            "truth": truth,
        }
        sub.suptitle(f"{name} missing")
        axes = sub.subplots(len(lines), shown)
        for row, (label, images) in zip(axes, lines.items(), strict=True):
            for ax, image in zip(row, images[:shown], strict=False):
                picture = np.ma.masked_invalid(image.reshape(shape).astype(float))
                ax.imshow(picture.squeeze(), cmap="gray" if shape[-1] == 1 else None, vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[], facecolor="#7aa6c2")
            row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return figure
