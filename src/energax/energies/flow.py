r"""A normalising flow as an energy: E(x) = −log q(x), log Z = 0, with exact draws.

The flow itself is a distribution of the flowjax package, or any object with `log_prob(x)`,
`sample(key, shape)` and `sample_and_log_prob(key, shape)`. Its draws are differentiable in its
parameters, x = T_α(ε) with ε of a fixed base law.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_choice, check_integer
from energax.energies.base import Normalised
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["CouplingFlow", "Flow"]

KINDS = ("spline", "affine")
KNOTS, INTERVAL = 8, 5  # of the splines: they bend within ±5 base standard deviations


class Flow(Normalised):
    """E(x) = −log q(x) of a normalising flow q.

    Parameters
    ----------
    distribution
        A flowjax distribution over vectors (d,). Its base law is trained too unless it is
        wrapped in `paramax.non_trainable`, as `Flow.coupling` does.
    """

    distribution: Any

    def __init__(self, distribution: Any):
        missing = [
            name
            for name in ("log_prob", "sample", "sample_and_log_prob")
            if not callable(getattr(distribution, name, None))
        ]
        got = f"a {type(distribution).__name__} without {', '.join(missing)}"
        check(not missing, "Flow", "distribution", "a distribution of flowjax, or one like it", got)
        self.distribution = distribution

    @classmethod
    def coupling(
        cls, d: int, *, key: Key, layers: int = 5, width: int = 64, depth: int = 1, kind: str = "spline"
    ) -> CouplingFlow:
        """Return an untrained coupling flow over d ≥ 2 coordinates: fast to draw and to evaluate.

        Parameters
        ----------
        d
            Coordinates.
        key
            Decides the initial weights.
        layers
            Coupling layers, each followed by a permutation. Dinh, Sohl-Dickstein & Bengio (2017).
        width, depth
            Of the networks that condition one half on the other.
        kind
            "spline", rational quadratic (Durkan et al. 2019), the identity beyond ±5; or "affine".
        """
        import paramax
        from flowjax.bijections import RationalQuadraticSpline
        from flowjax.distributions import Normal
        from flowjax.flows import coupling_flow

        for name, value, least in (
            ("d", d, 2),
            ("layers", layers, 1),
            ("width", width, 1),
            ("depth", depth, 0),
        ):
            check_integer("Flow.coupling", name, value, at_least=least)
        check_choice("Flow.coupling", "kind", kind, KINDS)
        transformer = RationalQuadraticSpline(knots=KNOTS, interval=INTERVAL) if kind == "spline" else None
        distribution = coupling_flow(
            key,
            base_dist=paramax.non_trainable(Normal(jnp.zeros(d))),
            transformer=transformer,
            flow_layers=layers,
            nn_width=width,
            nn_depth=depth,
        )
        return CouplingFlow(distribution, layers, width, depth, kind)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.distribution.shape

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return −log q(x)."""
        return -self.distribution.log_prob(x)

    def log_normalizer(self) -> Scalar:
        """Return 0."""
        return jnp.zeros(())

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        return self.distribution.sample(key, (n,))

    def sample_and_log_prob(self, key: Key, n: int) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        """Return n draws, differentiable in the flow's parameters, and log q of each."""
        return self.distribution.sample_and_log_prob(key, (n,))


class CouplingFlow(Flow):
    """A flow that knows how it was made (`Flow.coupling`), so that a model file can hold it.

    Parameters
    ----------
    distribution
        As for `Flow`.
    layers, width, depth, kind
        As for `Flow.coupling`.
    """

    layers: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    kind: str = eqx.field(static=True)

    def __init__(self, distribution: Any, layers: int, width: int, depth: int, kind: str):
        super().__init__(distribution)
        self.layers, self.width, self.depth, self.kind = layers, width, depth, kind

    def blueprint(self) -> dict[str, int | str]:
        """Return all that `from_blueprint` asks for."""
        made = {"layers": self.layers, "width": self.width, "depth": self.depth, "kind": self.kind}
        return {"d": self.event_shape[0], **made}

    @classmethod
    def from_blueprint(cls, *, d: int, layers: int, width: int, depth: int, kind: str) -> CouplingFlow:
        """Return a flow of that make; its arrays are still to be put in."""
        return cls.coupling(d, key=jax.random.key(0), layers=layers, width=width, depth=depth, kind=kind)
