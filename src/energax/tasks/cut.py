r"""The mode of a ferromagnetic Ising grid, exactly, by a minimum cut.

With J ≥ 0 the energy is, up to a constant, twice a sum of costs that are never negative,

    E(y) = const + 2 Σ_{i,j} J_ij [y_i ≠ y_j] + 2 Σ_i max(b_i, 0) [y_i = −1] + 2 Σ_i max(−b_i, 0) [y_i = 1],

const = −Σ J_ij − Σ |b_i|: the capacity of the cut {i : y_i = 1} of a network with arcs i ⇄ j of capacity
J_ij, from the source to i of max(b_i, 0), and from i to the sink of max(−b_i, 0). Its minimum is found
by a maximum flow (SciPy's, Dinic's algorithm).

Flows are whole numbers: capacities are rounded down in units of u = 2⁻³⁰ times the largest. The flow
fits the unrounded network, too, so that no state has an energy below const + 2u · flow, and what the
state found has above it, its *gap*, is known: at most 2u for each arc that it cuts.

Source: Greig, Porteous & Seheult (1989), "Exact maximum a posteriori estimation for binary images".
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from energax.checks import check
from energax.energies import Ising

__all__ = ["check_ferromagnetic", "ground_state"]

# SciPy's capacities have 32 bits, and the room left on an arc may be twice its capacity.
LARGEST = 2**30 - 1


def check_ferromagnetic(owner: str, argument: str, ising: Ising, otherwise: str = "") -> None:
    """Refuse a grid with a negative coupling, naming it."""
    least = min(float(np.min(J, initial=0.0)) for J in (ising.horizontal, ising.vertical))
    allowed = otherwise or "one whose couplings are all at least 0, so that a cut has its energy"
    check(least >= 0, owner, argument, allowed, f"a coupling of {least:g}")


def ground_state(ising: Ising) -> tuple[np.ndarray, float]:
    """Return spins of the least energy, and how far from the least they may be by rounding.

    Where several states have the least energy, the one with the fewest spins 1.

    Parameters
    ----------
    ising
        The grid; couplings at least 0, any field.

    Returns
    -------
    spins : numpy.ndarray
        −1 and 1, shape (H, W).
    gap : float
        No state has an energy lower than theirs by more than this, in nats.

    Raises
    ------
    InputError
        For a negative coupling.

    References
    ----------
    Greig, Porteous & Seheult (1989).
    """
    check(isinstance(ising, Ising), "ground_state", "ising", "an Ising grid", type(ising).__name__)
    check_ferromagnetic("ground_state", "ising", ising)
    H, W = ising.event_shape
    site = np.arange(H * W).reshape(H, W)
    source, sink = H * W, H * W + 1
    right = _each(ising.horizontal, (H, W - 1)), site[:, :-1], site[:, 1:]
    below = _each(ising.vertical, (H - 1, W)), site[:-1], site[1:]
    J, i, j = (np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(right, below, strict=True))
    b = _each(ising.field, (H, W)).ravel()
    up, down = np.flatnonzero(b > 0), np.flatnonzero(b < 0)

    tails = np.concatenate([i, j, np.full(len(up), source), down])
    heads = np.concatenate([j, i, up, np.full(len(down), sink)])
    capacities = np.concatenate([J, J, b[up], -b[down]])
    unit = capacities.max(initial=0.0) / LARGEST or 1.0
    whole = np.floor(capacities / unit).astype(np.int32)
    network = csr_matrix((whole, (tails, heads)), shape=(H * W + 2, H * W + 2))
    flow = maximum_flow(network, source, sink).flow

    # What the source still reaches is its side of the cut: the smallest of all minimum cuts.
    room = (network - flow).tocsr()
    room.data = np.maximum(room.data, 0)
    room.eliminate_zeros()
    inside = np.zeros(H * W + 2, bool)
    inside[breadth_first_order(room, source, return_predecessors=False)] = True
    cut = capacities[inside[tails] & ~inside[heads]].sum()
    least = unit * float(flow[[source]].sum(dtype=np.int64))
    return np.where(inside[:-2].reshape(H, W), 1.0, -1.0).astype(np.float32), max(0.0, 2 * (cut - least))


def _each(values: object, shape: tuple[int, int]) -> np.ndarray:
    """Return couplings or fields one by one, in the precision in which they are added up."""
    return np.broadcast_to(np.asarray(values, np.float64), shape)
