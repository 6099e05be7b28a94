import numpy as np
import pytest
from scipy import linalg

from genjax.errors import InvalidInputError
from genjax.metrics.layers import spectra


def embedding(count=60, width=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1, 1, (count, width)) @ np.diag(1 / np.arange(1, width + 1.0))


@pytest.mark.parametrize("shape", [(60, 8), (8, 60), (9, 9)])
@pytest.mark.parametrize("centred", [False, True])
def test_squared_singular_values_are_those_of_the_decomposition(shape, centred):
    points = embedding(*shape)
    rows = points - points.mean(axis=0) if centred else points
    expected = np.linalg.svd(rows, compute_uv=False) ** 2
    found = spectra.squared_singular_values(points, centred=centred)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * expected[0])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_constant_points_have_no_centred_spectrum(kind):
    points = np.full((30, 5), 0.1, kind)
    assert not spectra.squared_singular_values(points, centred=True).any()
    assert np.isnan(spectra.alpha_req(points))
    assert spectra.rankme(points) == pytest.approx(1)
    assert np.isnan(spectra.rankme(0 * points))
    assert np.isnan(spectra.matrix_entropy(0 * points))
    assert spectra.matrix_entropy(points) == pytest.approx(0, abs=1e-9)
    assert np.isnan(spectra.lidar(points, np.arange(30) % 3))


@pytest.mark.parametrize("scale", [1e-25, 1e30])
def test_scale_does_not_matter_nor_overflow(scale):
    points = embedding()
    scaled = (points * scale).astype(np.float32)
    assert spectra.rankme(scaled) == pytest.approx(spectra.rankme(points), rel=1e-5)
    assert spectra.alpha_req(scaled) == pytest.approx(spectra.alpha_req(points), rel=1e-5)


def test_rankme_is_the_exponential_of_the_entropy_of_uncentred_singular_values():
    points = embedding()
    singular = np.linalg.svd(points, compute_uv=False)
    shares = singular / singular.sum() + 1e-7  # as the paper writes it
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert spectra.rankme(points) == pytest.approx(expected, rel=1e-4)
    assert spectra.rankme(np.eye(5, 9)) == pytest.approx(5)


def test_rankme_in_float32_is_not_raised_by_rounding():
    # 400 directions of which 390 hold nothing: a float32 spectrum would fill them with noise.
    rng = np.random.default_rng(1)
    points = (rng.normal(size=(500, 10)) @ rng.normal(size=(10, 400))).astype(np.float32)
    singular = np.linalg.svd(points.astype(np.float64), compute_uv=False)[:10]
    shares = singular / singular.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert spectra.rankme(points) == pytest.approx(expected, rel=1e-3)


def test_alpha_is_the_exponent_of_a_power_law_and_the_fit_of_polyfit():
    rng = np.random.default_rng(2)
    basis = linalg.orth(rng.normal(size=(100, 20)) - rng.normal(size=(100, 20)).mean(0))
    basis = linalg.orth(basis - basis.mean(axis=0))
    law = basis * np.arange(1.0, 21) ** (-1.3 / 2)
    assert spectra.alpha_req(law) == pytest.approx(1.3, rel=1e-9)
    points = embedding()
    values = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    for first, last in ((1, None), (2, 6), (3, 8)):
        chosen = slice(first - 1, last)
        slope = np.polyfit(np.log(np.arange(1, 9)[chosen]), np.log(values[chosen]), 1)[0]
        assert spectra.alpha_req(points, first=first, last=last) == pytest.approx(-slope, rel=1e-9)
    assert np.isnan(spectra.alpha_req(points, first=8))


@pytest.mark.parametrize(("count", "width"), [(60, 8), (30, 50)])
def test_lidar_is_the_effective_rank_of_the_whitened_scatter(count, width):
    points = embedding(count, width)
    labels = np.arange(count) % 5
    groups = [points[labels == group] for group in range(5)]
    means = np.stack([group.mean(axis=0) for group in groups])
    between = np.cov(means.T, bias=True)
    within = np.mean([np.cov(group.T, bias=True) for group in groups], axis=0)
    root = linalg.inv(linalg.sqrtm(within + 1e-4 * np.eye(width)))
    values = np.linalg.eigvalsh(root @ between @ root)[-4:]
    shares = values / values.sum()
    expected = np.exp(-np.sum(shares * np.log(shares)))
    assert spectra.lidar(points, labels) == pytest.approx(expected, rel=1e-7)
    assert spectra.lidar(points, labels * 3 + 1) == pytest.approx(expected, rel=1e-7)


def test_lidar_weighs_unequal_groups_alike():
    points, labels = embedding(), np.repeat([0, 1, 2], [5, 15, 40])
    doubled = np.concatenate([points, points[labels == 0]])
    found = spectra.lidar(doubled, np.concatenate([labels, np.zeros(5, int)]))
    assert found == pytest.approx(spectra.lidar(points, labels), rel=1e-9)


def test_matrix_entropy_is_that_of_the_gram_matrix():
    points = embedding()
    gram = points @ points.T
    shares = np.maximum(np.linalg.eigvalsh(gram / np.trace(gram)), 0)
    for order in (0.5, 2, 3):
        kept = shares[shares > 1e-14]
        expected = np.log(np.sum(kept**order)) / (1 - order)
        assert spectra.matrix_entropy(points, order=order) == pytest.approx(expected, rel=1e-9)
    expected = -np.sum(kept * np.log(kept))
    assert spectra.matrix_entropy(points) == pytest.approx(expected, rel=1e-9)
    assert spectra.matrix_entropy(points, order=1 + 1e-6) == pytest.approx(expected, rel=1e-5)
    second = -np.log(np.sum(gram**2) / np.trace(gram) ** 2)
    assert spectra.matrix_entropy(points, order=2) == pytest.approx(second, rel=1e-9)
    for normaliser, bound in (("log N", 60), ("log D", 8), ("log min", 8)):
        found = spectra.matrix_entropy(points, normaliser=normaliser)
        assert found == pytest.approx(expected / np.log(bound), rel=1e-9)
    assert np.isnan(spectra.matrix_entropy(points[:, :1], normaliser="log D"))


def test_a_spectrum_at_hand_gives_the_same_scores():
    points = embedding()
    plain = spectra.squared_singular_values(points, centred=False)
    centred = spectra.squared_singular_values(points, centred=True)
    assert spectra.rankme(points, squared=plain) == spectra.rankme(points)
    assert spectra.matrix_entropy(points, squared=plain) == spectra.matrix_entropy(points)
    assert spectra.alpha_req(points, squared=centred) == spectra.alpha_req(points)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: spectra.alpha_req(p, first=0), "first, last: found 0"),
        (lambda p: spectra.alpha_req(p, first=3, last=3), "first, last: found 3 and 3"),
        (lambda p: spectra.lidar(p, np.zeros(60, int)), "labels: found 1 class"),
        (lambda p: spectra.lidar(p, np.arange(60), delta=0), "delta: found 0"),
        (lambda p: spectra.matrix_entropy(p, order=0), "order: found 0"),
        (lambda p: spectra.matrix_entropy(p, normaliser="log C"), "normaliser: found 'log C'"),
        (lambda p: spectra.rankme(p * np.nan), "points: found 60 of 60 rows"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call(embedding())
