import numpy as np
import pytest
from scipy.spatial.distance import cdist

from genjax.errors import InvalidInputError
from genjax.metrics.layers import dimension
from genjax.metrics.layers.neighbours import nearest


def ratios(points):
    distances = np.sort(cdist(points, points), axis=1)
    return np.sort(distances[:, 2] / distances[:, 1])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_two_nn_is_the_line_through_the_origin_and_the_likelihood(kind):
    points = np.random.default_rng(0).random((300, 4)).astype(kind)
    mu = ratios(points.astype(np.float64))
    x, y = np.log(mu[:270]), -np.log(1 - np.arange(1, 271) / 300)
    slope = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    found = dimension.two_nn(points)
    assert found.distinct == 300
    assert found.slope == pytest.approx(slope, rel=1e-8)
    assert found.likelihood == pytest.approx(299 / np.log(mu).sum(), rel=1e-8)


@pytest.mark.parametrize("true", [2, 5])
def test_two_nn_finds_the_dimension_of_a_subspace(true):
    rng = np.random.default_rng(1)
    points = rng.random((3000, true)) @ rng.normal(size=(true, 30)) + 100
    found = dimension.two_nn(points)
    # The likelihood's standard error is d / sqrt(N): 1.8 %; edges of the cube lower d a little.
    assert found.slope == pytest.approx(true, rel=0.1)
    assert found.likelihood == pytest.approx(true, rel=0.1)


def test_likelihood_is_unbiased_where_the_ratios_follow_the_law():
    # On a circle there are no edges: d = 1, standard error 1 / sqrt(4000).
    angles = np.random.default_rng(2).random(4000) * 2 * np.pi
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert dimension.two_nn(points).likelihood == pytest.approx(1, abs=4 / np.sqrt(4000))


def test_duplicates_do_not_count():
    points = np.random.default_rng(3).random((200, 3)).astype(np.float32)
    repeated = np.concatenate([points, points[:50], points[:50]])
    assert dimension.two_nn(repeated) == dimension.two_nn(points)


def test_neighbours_at_hand_give_the_same_unless_there_are_duplicates():
    points = np.random.default_rng(7).random((150, 3)).astype(np.float32)
    found = nearest(points, k=9).indices
    expected = dimension.two_nn(points)
    assert dimension.two_nn(points, neighbours=found) == pytest.approx(expected, rel=1e-12)
    wrong = found[:, ::-1]  # of the ninth to the fourth
    assert dimension.two_nn(points, neighbours=wrong) != expected
    repeated = np.concatenate([points, points])
    again = dimension.two_nn(repeated, neighbours=np.concatenate([wrong, wrong]))
    assert again == pytest.approx(expected, rel=1e-12)


def test_too_few_or_equally_far_points_have_no_dimension():
    for points in (np.ones((50, 3)), np.eye(2, 3), np.arange(3.0)[:, None][[0, 0, 1, 1]]):
        found = dimension.two_nn(points)
        assert np.isnan(found.slope)
        assert np.isnan(found.likelihood)
    simplex = dimension.two_nn(np.eye(6))
    assert np.isnan(simplex.likelihood)
    assert simplex.distinct == 6


def test_nothing_need_be_discarded():
    points = np.random.default_rng(4).random((100, 2))
    mu = ratios(points)[:99]
    y = -np.log(1 - np.arange(1, 100) / 100)
    slope = np.linalg.lstsq(np.log(mu)[:, None], y, rcond=None)[0][0]
    assert dimension.two_nn(points, discard=0).slope == pytest.approx(slope, rel=1e-8)


def reference_entropy(points, sigma, t, drop):
    """Diffusion spectral entropy by the steps of the published description, in full matrices."""
    squares = cdist(points, points) ** 2
    gauss = np.exp(-squares / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    scale = np.diag(gauss.sum(axis=1) ** -0.5)
    values = np.sort(np.linalg.eigvals(scale @ gauss @ scale).real)[::-1]
    values = np.abs(values[1:] if drop else values) ** t
    shares = values / values.sum() + np.finfo(float).eps
    return -np.sum(shares * np.log2(shares))


@pytest.mark.parametrize(("sigma", "t"), [(10, 1), (0.5, 1), (1.0, 3)])
@pytest.mark.parametrize("drop", [True, False])
def test_diffusion_entropy_is_that_of_the_described_steps(sigma, t, drop):
    points = np.random.default_rng(5).normal(size=(80, 6))
    found = dimension.diffusion_spectral_entropy(
        points, bandwidth=sigma, power=t, drop_largest=drop
    )
    assert found == pytest.approx(reference_entropy(points, sigma, t, drop), rel=1e-6)


def test_diffusion_entropy_counts_clusters_far_apart():
    points = np.repeat(1000.0 * np.arange(9)[:, None], 5, axis=0)
    assert dimension.diffusion_spectral_entropy(points) == pytest.approx(3)
    assert dimension.diffusion_spectral_entropy(points, drop_largest=False) == pytest.approx(
        np.log2(9)
    )


def test_diffusion_entropy_of_many_is_that_of_so_many_drawn():
    points = np.random.default_rng(6).normal(size=(60, 3))
    found = dimension.diffusion_spectral_entropy(points, max_examples=20, seed=4)
    again = dimension.diffusion_spectral_entropy(points, max_examples=20, seed=4)
    other = dimension.diffusion_spectral_entropy(points, max_examples=20, seed=5)
    assert found == again != other
    chosen = np.sort(np.random.default_rng(4).choice(60, 20, replace=False))
    assert found == dimension.diffusion_spectral_entropy(points[chosen], max_examples=None)


def test_diffusion_entropy_of_equal_points_is_not_defined():
    assert np.isnan(dimension.diffusion_spectral_entropy(np.ones((9, 2))))
    assert np.isnan(dimension.diffusion_spectral_entropy(np.eye(2)))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: dimension.two_nn(p, discard=1), "discard: found 1"),
        (lambda p: dimension.two_nn(p, neighbours=np.ones((3, 2), int)), r"neighbours: found"),
        (lambda p: dimension.diffusion_spectral_entropy(p, bandwidth=0), "bandwidth, power"),
        (
            lambda p: dimension.diffusion_spectral_entropy(p, max_examples=2),
            "max_examples: found 2",
        ),
        (lambda p: dimension.two_nn(p * np.inf), "points: found 4 of 4"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call(np.arange(1.0, 9).reshape(4, 2))
