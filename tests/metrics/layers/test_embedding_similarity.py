import numpy as np
import pytest

from genjax.errors import InvalidInputError
from genjax.metrics.layers.similarity import label_cka, linear_cka


def biased(k, ell):
    n = len(k)
    centre = np.eye(n) - 1 / n
    return np.trace(k @ centre @ ell @ centre)


def unbiased(k, ell):
    """Song et al. (2012), equation 4."""
    n = len(k)
    k, ell, one = k - np.diag(np.diag(k)), ell - np.diag(np.diag(ell)), np.ones(n)
    total = np.trace(k @ ell) + (one @ k @ one) * (one @ ell @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (one @ k @ ell @ one)) / (n * (n - 3))


def alignment(hsic, k, ell):
    return hsic(k, ell) / np.sqrt(hsic(k, k) * hsic(ell, ell))


@pytest.mark.parametrize(("d", "e"), [(3, 7), (60, 80), (3, 80)])
@pytest.mark.parametrize("shift", [0, 1e3])
def test_alignment_is_that_of_kernel_matrices(d, e, shift):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, d)) + shift
    y = np.concatenate([x[:, :2] - shift, rng.normal(size=(40, e - 2))], axis=1)
    k, ell = (x - shift) @ (x - shift).T, y @ y.T
    assert linear_cka(x, y) == pytest.approx(alignment(biased, k, ell), rel=1e-8)
    found = linear_cka(x, y, unbiased=True)
    assert found == pytest.approx(alignment(unbiased, k, ell), rel=1e-7)
    assert linear_cka(y, x, unbiased=True) == pytest.approx(found, rel=1e-9)


def test_rotation_scale_and_shift_do_not_matter():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 6)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    moved = (1e20 * (x @ turn) + 1e20).astype(np.float32)
    for option in (False, True):
        assert linear_cka(x, moved, unbiased=option) == pytest.approx(1, rel=1e-5)


def test_unbiased_alignment_of_unrelated_wide_embeddings_is_about_zero():
    rng = np.random.default_rng(2)
    pairs = rng.normal(size=(40, 2, 20, 200))
    wide = [linear_cka(x, y, unbiased=True) for x, y in pairs]
    assert abs(np.mean(wide)) < 4 * np.std(wide) / np.sqrt(len(wide))
    assert min(linear_cka(x, y) for x, y in pairs) > 0.8


def test_alignment_with_labels_is_that_of_the_kernel_of_equal_classes():
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(40, 5)), rng.integers(0, 4, 40)
    x[labels == 1] += 2
    ell = (labels[:, None] == labels[None]).astype(float)
    k = x @ x.T
    assert label_cka(x, 2 * labels + 1) == pytest.approx(alignment(biased, k, ell), rel=1e-8)
    found = label_cka(x, labels, unbiased=True)
    assert found == pytest.approx(alignment(unbiased, k, ell), rel=1e-7)
    assert label_cka(np.eye(4)[labels], labels, unbiased=True) == pytest.approx(1)


def test_constant_embeddings_have_no_alignment():
    x = np.random.default_rng(4).normal(size=(9, 3))
    for option in (False, True):
        assert np.isnan(linear_cka(x, np.full((9, 2), 0.1, np.float32), unbiased=option))
        assert np.isnan(label_cka(0 * x + 7.3, np.arange(9) % 2, unbiased=option))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: linear_cka(x, x[:-1]), "second: found 4 examples"),
        (lambda x: linear_cka(x[:3], x[:3], unbiased=True), "first: found 3 examples; at least 4"),
        (lambda x: linear_cka(x[:1], x[:1]), "first: found 1 examples"),
        (lambda x: linear_cka(x, x * np.nan), "second: found 5 of 5 rows"),
        (lambda x: label_cka(x, np.zeros(5, int)), "labels: found 1 class"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        call(np.random.default_rng(5).normal(size=(5, 2)))
