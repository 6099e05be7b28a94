"""k-means against scikit-learn: the same partitions, the same iterations, the same quality."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import cluster
from sklearn.metrics import adjusted_rand_score

from genjax.errors import InvalidInputError
from genjax.metrics.layers import contingency
from genjax.metrics.layers.clustering import kmeans, kmeans_jitted, lloyd, plus_plus

scikit_learn_kmeans: Any = cluster.KMeans  # its type stubs know fewer types than it does


def _blobs(seed=0, count=300, width=8, classes=6, spread=1.0):
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(classes, width))
    labels = rng.integers(0, classes, count)
    return centres[labels] + spread * rng.normal(size=(count, width)), labels


def test_on_a_cpu_every_restart_is_that_of_scikit_learn():
    points, _ = _blobs()
    found = kmeans(points, num_clusters=6, seed=42, restarts=3)
    for restart in range(3):
        model = scikit_learn_kmeans(n_clusters=6, random_state=42 + restart, n_init="auto").fit(
            points
        )
        np.testing.assert_array_equal(found.assignments[restart], model.labels_)
        # Threads add in another order.
        assert found.inertia[restart] == pytest.approx(model.inertia_, rel=1e-12)
        assert found.iterations[restart] == model.n_iter_
        if restart == found.best:
            np.testing.assert_allclose(
                found.centres, model.cluster_centers_, rtol=1e-12, atol=1e-12
            )
    assert found.inertia[found.best] == found.inertia.min()


def test_lloyd_goes_the_way_of_scikit_learn():
    points, _ = _blobs(1, spread=3.0)
    start = points[:6]
    model = scikit_learn_kmeans(n_clusters=6, init=start, n_init=1, max_iter=300, tol=1e-4).fit(
        points
    )
    mean = points.mean(axis=0)
    with jax.enable_x64(True):
        assignments, centres, inertia, iterations = lloyd(
            jnp.asarray(points - mean),
            jnp.asarray(start - mean),
            jnp.ones(300),
            jnp.full(300, -1),
            jnp.asarray(1e-4 * points.var(axis=0).mean()),
            max_iterations=300,
        )
        assert iterations == model.n_iter_
        np.testing.assert_array_equal(assignments, model.labels_)
        np.testing.assert_allclose(centres, model.cluster_centers_ - mean, atol=1e-10)
        assert float(inertia) == pytest.approx(model.inertia_, rel=1e-12)


def test_empty_clusters_move_to_the_farthest_examples():
    """Centres far from everything are given examples, as scikit-learn gives them."""
    points, _ = _blobs(2, count=80, spread=2.0)
    start = np.concatenate([points[:2], np.full((2, 8), 1e3) + np.arange(2)[:, None]])
    model = scikit_learn_kmeans(n_clusters=4, init=start, n_init=1, tol=0.0).fit(points)
    mean = points.mean(axis=0)
    with jax.enable_x64(True):
        assignments, _, inertia, _ = lloyd(
            jnp.asarray(points - mean),
            jnp.asarray(start - mean),
            jnp.ones(80),
            jnp.full(80, -1),
            jnp.asarray(0.0),
            max_iterations=300,
        )
        assert len(np.unique(np.asarray(assignments))) == 4
        assert adjusted_rand_score(np.asarray(assignments), model.labels_) == 1.0
        assert float(inertia) == pytest.approx(model.inertia_, rel=1e-10)


def test_the_jitted_form_finds_what_scikit_learn_finds():
    points, labels = _blobs(3)
    ours = kmeans(points, num_clusters=6, seed=0, restarts=10, method="jax")
    theirs = scikit_learn_kmeans(n_clusters=6, n_init=10, random_state=0).fit(points)
    best = ours.assignments[int(ours.best)]
    assert adjusted_rand_score(theirs.labels_, best) == 1.0
    assert ours.inertia.min() == pytest.approx(theirs.inertia_, rel=1e-5)
    np.testing.assert_allclose(
        ours.centres[best], theirs.cluster_centers_[theirs.labels_], rtol=1e-4, atol=1e-4
    )
    # Every inertia is that of its own partition.
    for assignment, inertia in zip(ours.assignments, ours.inertia, strict=True):
        means = np.stack([points[assignment == c].mean(axis=0) for c in range(6)])
        assert inertia == pytest.approx(np.sum((points - means[assignment]) ** 2), rel=1e-3)
    assert labels.shape == best.shape


def test_seeding_is_as_good_as_that_of_scikit_learn():
    """Mean sum of squared distances from the seeds over many draws, within its standard error."""
    from sklearn.cluster import kmeans_plusplus

    points, _ = _blobs(4, count=400, spread=2.0)
    points -= points.mean(axis=0)

    def left(centres):
        return np.sum(np.min(np.sum((points[:, None] - centres[None]) ** 2, axis=2), axis=1))

    theirs = [left(kmeans_plusplus(points, 6, random_state=seed)[0]) for seed in range(200)]
    draw = jax.vmap(
        lambda key: plus_plus(
            jnp.asarray(points, jnp.float32),
            key,
            jnp.ones(400),
            jnp.full(400, -1),
            num_clusters=6,
        )
    )
    ours = [left(np.asarray(centres)) for centres in draw(jax.random.split(jax.random.key(0), 200))]
    error = np.sqrt((np.var(ours) + np.var(theirs)) / 200)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error
    # Plain k-means++ without local trials would leave more: the comparison can fail.
    plain = [
        left(kmeans_plusplus(points, 6, random_state=s, n_local_trials=1)[0]) for s in range(200)
    ]
    assert np.mean(plain) - np.mean(ours) > 4 * error


def test_jit_vmap_and_loop_agree_over_layers_and_subsets(getkey):
    points = jnp.asarray(np.stack([_blobs(seed)[0] for seed in (5, 6)]), jnp.float32)
    weights = jnp.asarray(np.random.default_rng(7).integers(0, 3, (2, 300)), jnp.float32)
    key = getkey()

    def one(points, weights):
        return kmeans_jitted(points, key, num_clusters=5, weights=weights, restarts=2)

    mapped = jax.vmap(one)(points, weights)
    for layer in range(2):
        alone = one(points[layer], weights[layer])
        np.testing.assert_array_equal(mapped.assignments[layer], alone.assignments)
        np.testing.assert_array_equal(mapped.iterations[layer], alone.iterations)
        np.testing.assert_allclose(mapped.inertia[layer], alone.inertia, rtol=1e-5)


def test_weights_are_repeated_examples_and_padding_moves_nothing(getkey):
    points, _ = _blobs(8)
    repeats = np.random.default_rng(9).integers(0, 3, 300)
    start = jnp.asarray(points[:5] - points.mean(axis=0), jnp.float32)

    def run(points, weights):
        count = len(points)
        return lloyd(
            jnp.asarray(points - _blobs(8)[0].mean(axis=0), jnp.float32),
            start,
            jnp.asarray(weights, jnp.float32),
            jnp.full(count, -1),
            jnp.asarray(0.0),
            max_iterations=300,
        )

    weighted, repeated = (
        run(points, repeats),
        run(np.repeat(points, repeats, 0), np.ones(repeats.sum())),
    )
    np.testing.assert_allclose(weighted[1], repeated[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(weighted[2], repeated[2], rtol=1e-5)
    np.testing.assert_array_equal(np.repeat(weighted[0], repeats), repeated[0])
    # Examples of weight 0, however far, are neither drawn nor do they move a centre.
    padded = np.concatenate([points, np.full((20, 8), 1e4)])
    mask = jnp.asarray(np.r_[np.ones(300), np.zeros(20)], jnp.float32)
    found = kmeans_jitted(
        jnp.asarray(padded, jnp.float32), getkey(), num_clusters=6, weights=mask, restarts=8
    )
    theirs = scikit_learn_kmeans(n_clusters=6, n_init=10, random_state=0).fit(points)
    assert float(found.inertia.min()) == pytest.approx(theirs.inertia_, rel=1e-4)


@pytest.mark.parametrize("method", ["scikit-learn", "jax"])
def test_duplicates_and_constants_leave_clusters_empty(method):
    constant = kmeans(np.full((20, 3), 0.1, np.float32), num_clusters=4, seed=0, method=method)
    assert len(np.unique(constant.assignments)) == 1
    assert constant.inertia[0] == pytest.approx(0.0, abs=1e-9)
    doubled = np.repeat(np.array([[0.0], [1.0], [5.0]], np.float32), 5, axis=0)
    found = kmeans(doubled, num_clusters=5, seed=0, restarts=3, method=method)
    assert np.all(np.isfinite(found.centres))
    for assignment in found.assignments:
        assert adjusted_rand_score(np.repeat([0, 1, 2], 5), assignment) == 1.0


def test_as_many_clusters_as_points():
    points, _ = _blobs(10, count=12)
    for method in ("scikit-learn", "jax"):
        found = kmeans(points, num_clusters=12, seed=0, method=method)
        assert len(np.unique(found.assignments[0])) == 12


def test_points_far_from_the_origin_cluster_alike(getkey):
    points, _ = _blobs(11)
    key = getkey()
    near = kmeans_jitted(jnp.asarray(points, jnp.float32), key, num_clusters=6)
    far = kmeans_jitted(jnp.asarray(points + 1000, jnp.float32), key, num_clusters=6)
    assert adjusted_rand_score(near.assignments[0], far.assignments[0]) == 1.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_clusters": 0}, "num_clusters: found 0 for 4 points"),
        ({"num_clusters": 5}, "num_clusters: found 5 for 4 points; 1 ... 4 are allowed"),
        ({"restarts": 0}, "restarts: found 0"),
        ({"max_iterations": 0}, "max_iterations: found 0"),
        ({"tolerance": -1.0}, "tolerance: found -1.0"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": 2**32 - 1, "restarts": 2}, "seed: found 4294967295; allowed are 0"),
        ({"method": "sklearn"}, "method: unknown name 'sklearn'; did you mean 'scikit-learn'"),
        ({"points": np.full((4, 1), np.nan)}, "points: found 4 of 4 rows"),
    ],
)
def test_refusals(change, sentence):
    arguments: dict[str, Any] = {"points": np.eye(4), "num_clusters": 2, "seed": 0} | change
    with pytest.raises(InvalidInputError, match=sentence):
        kmeans(arguments.pop("points"), **arguments)


@pytest.mark.data
def test_golden_values_of_the_calligraphy_images(data_dir):
    with np.load(data_dir / "calligraphy" / "unseen.npz") as archive:
        points, labels = archive["images"].reshape(2500, -1) / 255.0, archive["labels"]
    _, labels = np.unique(labels, return_inverse=True)
    found = kmeans(points, num_clusters=5, seed=42)
    table = contingency.contingency_table(
        labels, np.asarray(found.assignments[0]), num_classes=5, num_clusters=5
    )
    assert contingency.normalized_mutual_information(table) == pytest.approx(0.2878, abs=1e-4)
    assert contingency.adjusted_mutual_information(table) == pytest.approx(0.2863, abs=1e-4)
    assert contingency.adjusted_rand_index(table) == pytest.approx(0.2249, abs=1e-4)
    assert contingency.hungarian_accuracy(table) == pytest.approx(0.4684, abs=1e-4)


@pytest.mark.data
def test_inertia_of_the_calligraphy_images_is_that_of_scikit_learn(data_dir):
    with np.load(data_dir / "calligraphy" / "unseen.npz") as archive:
        points = (archive["images"].reshape(2500, -1) / 255.0).astype(np.float32)
    ours = kmeans(points, num_clusters=5, seed=0, restarts=5, method="jax")
    theirs = kmeans(points, num_clusters=5, seed=0, restarts=5, method="scikit-learn")
    assert ours.inertia.min() <= 1.01 * theirs.inertia.min()
    # The same minimum, so that it is not below either.
    assert ours.inertia.min() >= 0.99 * theirs.inertia.min()
