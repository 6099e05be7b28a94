import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from genjax.errors import InvalidInputError
from genjax.metrics.layers.neighbours import _select, nearest

METHODS = ("numpy", "jax")


def brute_force(points, k, queries=None):
    """Neighbours in float64 by differences; of equals the smaller index."""
    points = np.asarray(points, np.float64)
    asked = points if queries is None else np.asarray(queries, np.float64)
    squares = np.stack([np.sum((points - row) ** 2, axis=1) for row in asked])
    if queries is None:
        np.fill_diagonal(squares, np.inf)
    indices = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return indices, np.sqrt(np.take_along_axis(squares, indices, axis=1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("chunk", [None, 7])
def test_neighbours_and_distances_are_those_of_scikit_learn(method, kind, chunk):
    points = np.random.default_rng(0).normal(5, 2, (90, 6)).astype(kind)
    found = nearest(points, k=11, method=method, chunk=chunk)
    distances, indices = (
        NearestNeighbors(n_neighbors=11, algorithm="brute").fit(points).kneighbors()
    )
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=2e-6)
    assert found.distances.dtype == kind


@pytest.mark.parametrize("method", METHODS)
def test_queries_from_outside_find_points_and_equal_ones_at_distance_zero(method):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 5)).astype(np.float32)
    queries = np.concatenate([rng.normal(size=(9, 5)), points[[3, 7]]]).astype(np.float32)
    for k in (1, 13, 40):
        found = nearest(points, queries=queries, k=k, method=method)
        indices, distances = brute_force(points, k, queries)
        np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_allclose(found.distances, distances, rtol=2e-6)
        assert found.distances[9:, 0].tolist() == [0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ties_of_whole_numbers_go_to_the_smaller_index_at_every_k(method, kind):
    # Points on a lattice: nearly every distance occurs many times, and many points twice.
    points = np.random.default_rng(2).integers(0, 3, (120, 5)).astype(kind)
    for k in (1, 2, 10, 57, 119):
        found = nearest(points, k=k, method=method)
        indices, distances = brute_force(points, k)
        np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_are_exactly_zero_apart_and_in_the_order_of_their_indices(method):
    rng = np.random.default_rng(3)
    distinct = rng.normal(3, 1, (30, 17)).astype(np.float32)
    points = distinct[rng.integers(0, 30, 200)]
    found = nearest(points, k=60, method=method)
    indices, distances = brute_force(points, 60)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.distances == 0, distances == 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_embedding_has_all_others_as_neighbours_in_order(method):
    found = nearest(np.full((6, 3), 0.1, np.float32), k=5, method=method)
    expected = [[j for j in range(6) if j != i] for i in range(6)]
    assert found.indices.tolist() == expected
    assert not found.distances.any()


@pytest.mark.parametrize("method", METHODS)
def test_tight_clusters_far_apart_are_searched_in_double_precision(method):
    # Within a cluster squared distances are below the rounding of the squared norms in float32.
    rng = np.random.default_rng(4)
    points = rng.normal(0, 1e-3, (80, 8)) + np.where(np.arange(80) % 2, 30, -30)[:, None]
    points = points.astype(np.float32)
    found = nearest(points, k=30, method=method)
    indices, distances = brute_force(points, 30)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_very_large_points_neither_vanish_nor_overflow(scale):
    points = np.random.default_rng(5).normal(size=(40, 4))
    found = nearest((points * scale).astype(np.float32), k=5)
    indices, distances = brute_force(points, 5)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances / scale, distances, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 30, 200])
def test_rows_long_enough_to_be_sampled_are_selected_exactly(k):
    rng = np.random.default_rng(10)
    squares = rng.integers(0, 50, (12, 3000)).astype(np.float32)
    # Every eighth entry is what a row is judged by: make it say too little, and too much.
    squares[0, ::8], squares[1, ::8], squares[2] = 0, 99, 7
    squares[3:6] = np.inf
    squares[3:6, ::8] = rng.random((3, 375))
    indices, values = _select(squares, k)
    expected = np.argsort(squares, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(squares, expected, axis=1))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("whole", [False, True])
def test_many_points_have_the_same_neighbours_by_halves_in_chunks_and_on_a_device(kind, whole):
    rng = np.random.default_rng(6)
    points = rng.normal(size=(1100, 9)).astype(kind)
    if whole:  # all places of a lattice: distinct points, nothing but ties
        places = np.unravel_index(rng.permutation(1100), (11, 10, 10))
        points = np.stack(places, axis=1).astype(kind)
    halves = nearest(points, k=50)
    indices, distances = brute_force(points, 50)
    np.testing.assert_array_equal(halves.indices, indices)
    np.testing.assert_allclose(halves.distances, distances, rtol=2e-6)
    for other in (
        nearest(points, k=50, chunk=64),
        nearest(jnp.asarray(points), k=50, method="jax", chunk=64),
    ):
        np.testing.assert_array_equal(halves.indices, other.indices)
        np.testing.assert_allclose(halves.distances, other.distances, rtol=1e-5)


def test_traced_points_give_what_single_calls_give():
    points = np.random.default_rng(7).integers(0, 4, (3, 25, 3)).astype(np.float32)
    queries = np.random.default_rng(8).normal(size=(4, 3)).astype(np.float32)
    mapped = jax.jit(jax.vmap(lambda p: nearest(p, k=6)))(points)
    asked = jax.jit(lambda p, q: nearest(p, k=6, queries=q))(points[0], queries)
    for one, indices, distances in zip(points, *mapped, strict=True):
        single = nearest(one, k=6)
        np.testing.assert_array_equal(indices, single.indices)
        np.testing.assert_allclose(distances, single.distances, rtol=1e-6)
    np.testing.assert_array_equal(asked.indices, nearest(points[0], k=6, queries=queries).indices)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"k": 0}, "k: found 0; 1 to 3"),
        ({"k": 4}, "k: found 4; 1 to 3"),
        ({"k": 5, "queries": np.ones((2, 2))}, "1 to 4"),
        ({"k": 1, "queries": np.ones((2, 3))}, "queries: found 3 dimensions"),
        ({"k": 1, "queries": np.full((2, 2), np.nan)}, "queries: found 2 of 2 rows"),
        ({"k": 1, "chunk": 0}, "chunk: found 0"),
        ({"k": 1, "method": "tree"}, "method: found 'tree'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        nearest(np.eye(4, 2), **arguments)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(InvalidInputError, match="points: found 1 of 3 rows"):
        nearest(np.array([[0.0], [np.inf], [1.0]]), k=1)
