"""Extreme eigenvalues: known spectra, residual bounds, and dense decompositions of networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import CHUNK, case, exact

from genjax.errors import InvalidInputError
from genjax.metrics import curvature
from genjax.metrics.curvature.lanczos import lanczos

SPECTRA = {
    "low rank": np.r_[3.0, 2.0, 1.0, np.zeros(200)],
    "identity": np.ones(50),
    "zero": np.zeros(20),
    "repeated": np.r_[5.0, 5.0, 5.0, 1.0, np.zeros(1000)],
    "outliers": np.r_[np.linspace(0, 1, 300) ** 3, 20.0, 11.0, 7.0, -4.0, -2.5],
}


@functools.partial(jax.jit, static_argnames=("top", "bottom", "steps", "kept", "vectors"))
def of_diagonal(scale, key, **options):
    return curvature.extreme_eigenvalues(lambda v: scale * v, scale, key, **options)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("kept", [None, 14])
def test_a_known_spectrum_is_recovered(name, kept):
    spectrum = SPECTRA[name]
    scale = jnp.asarray(spectrum, jnp.float32)
    found = of_diagonal(
        scale, jax.random.key(0), top=3, bottom=2, steps=80, kept=kept, vectors=True
    )
    size = np.abs(spectrum).max()
    ordered = np.sort(spectrum)
    np.testing.assert_allclose(found.top, ordered[::-1][:3], rtol=2e-5, atol=2e-6 * size)
    np.testing.assert_allclose(found.bottom, ordered[:2], rtol=2e-5, atol=2e-6 * size)
    vectors = np.concatenate([found.top_vectors, found.bottom_vectors])
    values = np.concatenate([found.top, found.bottom])
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=2e-5)
    left = np.linalg.norm(vectors * spectrum - values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(left, 0, atol=2e-5 * size + 1e-30)


@pytest.mark.parametrize("kept", [None, 8])
def test_residual_bounds_hold_an_eigenvalue(kept):
    rng = np.random.default_rng(0)
    honest = []
    for seed in range(20):
        spectrum = rng.normal(size=100) ** 3
        scale = jnp.asarray(spectrum, jnp.float32)
        found = of_diagonal(
            scale, jax.random.key(seed), top=2, bottom=2, steps=12, kept=kept, vectors=True
        )
        values = np.concatenate([found.top, found.bottom])
        bounds = np.concatenate([found.top_residuals, found.bottom_residuals])
        nearest = np.abs(spectrum[None] - values[:, None]).min(axis=1)
        rounding = 1e-5 * np.abs(spectrum).max()
        assert np.all(nearest <= bounds + rounding)
        vectors = np.concatenate([found.top_vectors, found.bottom_vectors])
        left = np.linalg.norm(vectors * spectrum - values[:, None] * vectors, axis=1)
        np.testing.assert_allclose(left, bounds, rtol=1e-2, atol=rounding)
        honest.append(bounds.max())
    # Twelve steps are too few: bounds that are all zero would not be tested.
    assert np.median(honest) > 0.01


def test_few_vectors_find_the_same_in_more_steps():
    scale = jnp.linspace(0, 1, 300) ** 2
    errors = [
        abs(float(of_diagonal(scale, jax.random.key(1), steps=steps, kept=8).top[0]) - 1)
        for steps in (8, 24, 160)
    ]
    assert errors[0] > 10 * errors[1] > 1e-4
    assert errors[2] < 1e-5


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mlp", "cross_entropy"),
        pytest.param("cnn", "cross_entropy", marks=pytest.mark.slow),
        pytest.param("vit", "squared", marks=pytest.mark.slow),
    ],
)
def test_eigenvalues_of_networks(name, loss):
    one, truth = case(name), np.linalg.eigvalsh(exact(name, loss).hessian)
    with jax.enable_x64(True):
        made = curvature.objective(one.network.apply, loss, chunk=CHUNK)
        chunks = curvature.pack(made, *one.batches)

        @jax.jit
        def run(params, key):
            product = curvature.hessian(made, linearised=True)(params, chunks)
            return curvature.extreme_eigenvalues(product, params, key, top=3, bottom=2, steps=70)

        found = run(one.params, jax.random.key(0))
    np.testing.assert_allclose(found.top, truth[::-1][:3], rtol=1e-9)
    np.testing.assert_allclose(found.bottom, truth[:2], rtol=1e-6)


def test_more_steps_than_parameters_are_clipped_and_said():
    scale = jnp.array([3.0, -1.0, 2.0, 0.5])
    found = curvature.extreme_eigenvalues(
        lambda v: scale * v, scale, jax.random.key(0), top=2, bottom=1, steps=1000
    )
    assert found.info["steps"] == 4
    np.testing.assert_allclose(found.top, [3, 2], rtol=1e-5)
    np.testing.assert_allclose(found.bottom, [-1], rtol=1e-5)


@pytest.mark.parametrize("kept", [None, pytest.param(5, marks=pytest.mark.slow)])
def test_vmapped_is_looped(kept):
    stack = jnp.asarray(np.random.default_rng(0).normal(size=(3, 20)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 3)

    def run(scale, key):
        return curvature.extreme_eigenvalues(
            lambda v: scale * v, scale, key, top=1, bottom=1, steps=10, kept=kept
        )[:4]

    together = jax.jit(jax.vmap(run))(stack, keys)
    for index in range(3):
        alone = run(stack[index], keys[index])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-4, atol=1e-4)


def test_what_is_not_finite_stays_visible():
    scale = jnp.array([1.0, jnp.nan, 2.0])
    found = curvature.extreme_eigenvalues(lambda v: scale * v, scale, jax.random.key(0), bottom=1)
    assert np.isnan(found.top).all()
    assert np.isnan(found.bottom).all()


@pytest.mark.peers
def test_the_basis_is_that_of_matfree_while_it_lasts():
    decomp = pytest.importorskip("matfree.decomp")
    scale = np.random.default_rng(3).normal(size=200)
    start = np.random.default_rng(4).normal(size=200)
    with jax.enable_x64(True):
        ours = lanczos(lambda v: scale * v, jnp.asarray(start), 15, jax.random.key(0))
        theirs = decomp.tridiag_sym(15)(lambda v: scale * v, jnp.asarray(start))
    np.testing.assert_allclose(ours.matrix, theirs.J_small, atol=1e-10)
    np.testing.assert_allclose(ours.basis, theirs.Q_tall, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps: found 0"),
        ({"top": 0}, "top, bottom: found 0 and 0"),
        ({"top": 5}, "of 4 parameters"),
        ({"top": 3, "steps": 2}, "3 eigenvalues need as many"),
        ({"top": 2, "kept": 3}, "kept: found 3"),
    ],
)
def test_numbers_out_of_range_are_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        curvature.extreme_eigenvalues(lambda v: v, jnp.ones(4), jax.random.key(0), **options)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
def test_the_scale_of_a_spectrum_does_not_matter(scale):
    """Squares of its products would vanish or overflow in single precision."""
    spectrum = scale * jnp.linspace(1.0, 50.0, 200)
    found = curvature.extreme_eigenvalues(
        lambda v: spectrum * v, jnp.ones(200), jax.random.key(0), steps=10
    )
    top, residual = float(found.top[0]) / scale, float(found.top_residuals[0]) / scale
    assert 48 < top <= 50.01
    assert 0 < residual < 3
