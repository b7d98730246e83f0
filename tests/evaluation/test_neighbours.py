"""Neighbours by blocks are neighbours by brute force."""

import numpy as np
import pytest

from energax.evaluation.neighbours import nearest


def brute(queries, rows, count):
    q, r = queries.reshape(len(queries), -1), rows.reshape(len(rows), -1)
    distance = np.sqrt(np.sum((q[:, None] - r[None]) ** 2, axis=-1))
    order = np.argsort(distance, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(distance, order, axis=1)


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_blocks_equal_brute_force(block, seed):
    rng = np.random.default_rng(seed)
    queries, rows = rng.standard_normal((9, 3, 2)), rng.standard_normal((40, 3, 2))
    index, distance = nearest(queries, rows, 5, block=block)
    wanted, apart = brute(queries, rows, 5)
    np.testing.assert_array_equal(index, wanted)
    np.testing.assert_allclose(distance, apart, rtol=1e-12)


def test_a_common_offset_costs_no_digits(seed):
    """In float32 ‖q‖² + ‖r‖² − 2qᵀr of pixels around 1000 would lose distances of 1e-3."""
    rng = np.random.default_rng(seed)
    rows = (1000 + 1e-2 * rng.standard_normal((30, 4))).astype(np.float32)
    index, distance = nearest(rows[:3] + np.float32(1e-3), rows, 2)
    wanted, apart = brute((rows[:3] + np.float32(1e-3)).astype(np.float64), rows.astype(np.float64), 2)
    np.testing.assert_array_equal(index, wanted)
    np.testing.assert_allclose(distance, apart, rtol=1e-6)


def test_transform_brings_rows_to_the_units_of_queries(seed):
    rows = np.random.default_rng(seed).standard_normal((20, 3))
    index, distance = nearest(2 * rows[:4], rows, 1, transform=lambda r: 2 * r, block=6)
    np.testing.assert_array_equal(index[:, 0], np.arange(4))
    np.testing.assert_allclose(distance, 0, atol=1e-6)


def test_equal_rows_keep_their_order_and_few_rows_are_all_returned():
    index, distance = nearest(np.zeros((1, 2)), np.ones((3, 2)), 5, block=2)
    np.testing.assert_array_equal(index, [[0, 1, 2]])
    np.testing.assert_allclose(distance, np.sqrt(2) * np.ones((1, 3)))
