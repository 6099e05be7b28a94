"""What scores of layers refuse, and what they take as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_labels, check_points


@pytest.mark.parametrize(
    ("points", "labels", "sentence"),
    [
        (np.ones(3), None, r"points: found shape \(3,\)"),
        (np.ones((0, 3)), None, r"points: found shape \(0, 3\)"),
        (np.array([[np.nan, 1.0], [0.0, 1.0]]), None, "points: found 1 of 2 rows"),
        (jnp.array([[jnp.inf, 1.0], [-jnp.inf, 1.0]]), None, "points: found 2 of 2 rows"),
        (np.array([[{}], [1]], object), None, "points: found an array of objects"),
        (np.array([["a"], ["b"]]), None, "points: found type <U1"),
        (np.ones((2, 1), complex), None, "points: found type complex128"),
        ([[1.0], [1.0, 2.0]], None, "points: not one array"),
        (np.ones((2, 1)), [0, 1, 0], "labels: found 3 for 2 points"),
        (np.ones((2, 1)), [0, 0], "labels: found 1 class; at least 2 are needed"),
        (np.ones((2, 1)), [0.0, 1.0], "labels: found type float64"),
        (np.ones((2, 1)), [0, -1], "labels: found -1; labels count from 0"),
        (np.ones((2, 1)), [[0, 1]], r"labels: found shape \(1, 2\)"),
    ],
)
def test_refusals_name_the_argument(points, labels, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        check_points(points, labels)


def test_another_name_stands_in_the_sentence():
    with pytest.raises(InvalidInputError, match="seen: found shape"):
        check_points(np.ones(3), name="seen")
    with pytest.raises(InvalidInputError, match="clusters: found type"):
        check_labels([0.5], name="clusters")


def test_types_and_homes_are_kept():
    points, labels = check_points(np.ones((2, 1)), [0, 1])
    assert points.dtype == np.float64
    assert isinstance(points, np.ndarray)
    assert isinstance(labels, np.ndarray)
    points, _ = check_points(jnp.ones((2, 1), jnp.bfloat16))
    assert isinstance(points, jax.Array)
    assert points.dtype == jnp.float32
    assert check_points(np.ones((2, 1), np.uint8))[0].dtype == np.float32


def test_large_finite_values_are_no_refusal():
    check_points(np.full((4, 2), 3e38, np.float32))


def test_traced_values_are_checked_for_shape_only():
    check = jax.jit(lambda points, labels: check_points(points, labels)[0].sum())
    assert np.isnan(check(jnp.full((2, 1), jnp.nan), jnp.zeros(2, int)))
    with pytest.raises(InvalidInputError, match="labels: found 3 for 2"):
        check(jnp.ones((2, 1)), jnp.zeros(3, int))
