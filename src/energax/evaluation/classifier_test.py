r"""The classifier two-sample test: if two samples can be told apart, their laws differ.

A classifier learns on half of the rows which sample a row is from, and is asked about the other half. Of m
rows of either sample it calls A the first's, h of them rightly. If both laws are one, the classifier knows
nothing of who is who, and h is hypergeometric given A: the exact p-value

    P(H ≥ h),    H ~ Hypergeometric(2m rows, m of the first, A drawn)

(Fisher 1935) stands where Lopez-Paz & Oquab (2017) have the normal limit of the accuracy (m + 2h − A)/2m.
Its level holds for every classifier and every n; how little it finds says as much of the classifier as of
the laws.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import scipy.stats

from energax.checks import check, check_array, check_choice
from energax.evaluation.result import TestResult
from energax.typing import ArrayLike, Key

__all__ = ["classifier_test"]

CLASSIFIERS = ("logistic", "neighbours", "mlp")


def classifier_test(
    x: ArrayLike, reference: ArrayLike, *, classifier: str | Any = "logistic", key: Key
) -> TestResult:
    """Test whether two samples come from one law, by what a classifier finds.

    Parameters
    ----------
    x, reference
        Rows, shapes (m, *event) and (n, *event); of the larger as many are drawn as the smaller has.
    classifier
        "logistic" (sees means), "neighbours", "mlp" (100 hidden units), or a classifier of scikit-learn's,
        of which a copy is fitted. The named ones see columns of standard deviation 1.
    key
        Decides who learns and who judges.
    """
    owner = "classifier_test"
    first = check_array(owner, "x", x, at_least_rows=8)
    second = check_array(owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=8)
    n = min(len(first), len(second)) // 2
    order_key, seed_key = jax.random.split(key)
    learn, judge = [], []
    for rows, k in zip((first, second), jax.random.split(order_key), strict=True):
        order = np.asarray(jax.random.permutation(k, len(rows)))
        flat = rows.reshape(len(rows), -1)
        learn.append(flat[order[:n]])
        judge.append(flat[order[n : 2 * n]])
    model = _model(owner, classifier, int(jax.random.randint(seed_key, (), 0, 2**31 - 1)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a classifier that has not converged is a weaker test, not a wrong one
        model.fit(np.concatenate(learn), np.repeat([1, 0], n))
    told = [np.asarray(model.predict(rows)) == 1 for rows in judge]
    right, called = int(told[0].sum()), int(told[0].sum() + told[1].sum())
    accuracy = (n + 2 * right - called) / (2 * n)
    return TestResult(
        method="classifier",
        statistic=accuracy,
        p_value=float(scipy.stats.hypergeom.sf(right - 1, 2 * n, n, called)),
        null="hypergeometric, exact",
        status="ok",
        n=2 * n,
        settings={"classifier": classifier if isinstance(classifier, str) else type(classifier).__name__},
    )


def _model(owner: str, classifier: str | Any, seed: int) -> Any:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not isinstance(classifier, str):
        able = hasattr(classifier, "fit") and hasattr(classifier, "predict")
        allowed = "one of " + ", ".join(map(repr, CLASSIFIERS)) + ", or a classifier of scikit-learn's"
        check(able, owner, "classifier", allowed, type(classifier).__name__)
        return clone(classifier)
    check_choice(owner, "classifier", classifier, CLASSIFIERS)
    named = {
        "logistic": LogisticRegression(max_iter=500),
        "neighbours": KNeighborsClassifier(n_neighbors=11),
        "mlp": MLPClassifier((100,), alpha=0.01, max_iter=200, random_state=seed),
    }
    return make_pipeline(StandardScaler(), named[classifier])
