"""Traces, diagonals, densities and functions of spectra against the whole spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import CHUNK, case, exact
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics import curvature


def symmetric(values):
    """A dense symmetric matrix with a known spectrum, and its product."""
    rotation = stats.ortho_group.rvs(len(values), random_state=0)
    dense = (rotation * values) @ rotation.T
    matrix = jnp.asarray(dense, jnp.float32)
    return dense, lambda v: jnp.matmul(matrix, v, precision="highest")


VALUES = np.r_[np.abs(np.random.default_rng(0).normal(size=26)), 9.0, 6.0, 4.0, 3.0]


def repeated(function, draws):
    """Value and standard error of many independent estimates."""
    found = jax.jit(lambda keys: jax.lax.map(function, keys))(
        jax.random.split(jax.random.key(0), draws)
    )
    return np.asarray(found[0]), np.asarray(found[1])


def check_calibrated(values, errors, truth):
    """Without bias, errors of the right size, intervals of two of them cover as they say."""
    spread = values.std(axis=0)
    assert np.all(np.abs(values.mean(axis=0) - truth) < 4 * spread / len(values) ** 0.5)
    np.testing.assert_allclose(np.sqrt((errors**2).mean(axis=0)), spread, rtol=0.2)
    covered = np.mean(np.abs(values - truth) < 2 * errors)
    assert 0.88 < covered < 0.99


def test_hutchinson_has_the_variance_of_its_formula():
    dense, product = symmetric(VALUES)
    values, errors = repeated(
        lambda key: curvature.trace(product, jnp.zeros(30), key, probes=10)[:2], 600
    )
    check_calibrated(values, errors, VALUES.sum())
    variance = 2 * (np.sum(dense**2) - np.sum(np.diag(dense) ** 2)) / 10
    np.testing.assert_allclose(values.var(), variance, rtol=0.25)


def test_the_diagonal_has_the_variance_of_its_formula():
    dense, product = symmetric(VALUES)
    values, errors = repeated(
        lambda key: curvature.diagonal(product, jnp.zeros(30), key, probes=12), 600
    )
    check_calibrated(values, errors, np.diag(dense))
    variance = (np.sum(dense**2, axis=1) - np.diag(dense) ** 2) / 12
    np.testing.assert_allclose(values.var(axis=0), variance, rtol=0.35)


def test_the_low_rank_trace_is_calibrated_and_better():
    _, product = symmetric(VALUES)
    values, errors = repeated(
        lambda key: curvature.low_rank_trace(product, jnp.zeros(30), key, products=36), 600
    )
    plain, _ = repeated(
        lambda key: curvature.trace(product, jnp.zeros(30), key, probes=36)[:2], 600
    )
    check_calibrated(values, errors, VALUES.sum())
    assert values.std() < 0.7 * plain.std()


def test_the_low_rank_trace_is_exact_for_low_rank():
    _, product = symmetric(np.r_[np.zeros(26), 9.0, -6.0, 4.0, 3.0])
    for products in (18, 400):
        found = curvature.low_rank_trace(
            product, jnp.zeros(30), jax.random.key(0), products=products
        )
        np.testing.assert_allclose(found.value, 10, rtol=1e-5)
        assert found.standard_error < 1e-4


def test_traces_of_layers_are_those_of_the_blocks():
    one, truth = case("cnn"), np.diag(exact("cnn", "cross_entropy").hessian)
    made = curvature.objective(one.network.apply, chunk=CHUNK)
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), one.params)
    chunks = curvature.pack(made, *[(x.astype(np.float32), y) for x, y in one.batches])

    @jax.jit
    def run(params, key):
        product = curvature.hessian(made, linearised=True)(params, chunks)
        return curvature.trace(product, params, key, probes=600)

    found = run(params, jax.random.key(0))
    np.testing.assert_allclose(found.value, truth.sum(), atol=4 * float(found.standard_error))
    assert found.standard_error < 0.05 * truth.sum()
    np.testing.assert_allclose(sum(jax.tree.leaves(found.leaves)), found.value, rtol=1e-4)
    begin = 0
    triples = zip(*map(jax.tree.leaves, (params, found.leaves, found.leaf_errors)), strict=True)
    for leaf, value, error in triples:
        expected = truth[begin : begin + leaf.size].sum()
        begin += leaf.size
        assert abs(value - expected) < 4.5 * error + 1e-5
        assert error > 0


@pytest.mark.parametrize("reorthogonalise", [True, False])
def test_quadrature_integrates_polynomials_exactly(reorthogonalise):
    dense, product = symmetric(VALUES / 9)
    found = curvature.quadrature(
        product,
        jnp.zeros(30),
        jax.random.key(1),
        probes=3,
        steps=4,
        reorthogonalise=reorthogonalise,
    )
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-5)
    # The same signs, as the first of the two keys of each probe.
    for probe, key in enumerate(jax.random.split(jax.random.key(1), 3)):
        drawn = curvature.traces.signs(jax.random.split(key)[0], jnp.zeros(30))
        signs = np.asarray(drawn, np.float64)
        for degree in range(8):
            expected = signs @ np.linalg.matrix_power(dense, degree) @ signs / 30
            moment = np.sum(found.weights[probe] * found.nodes[probe] ** degree)
            np.testing.assert_allclose(moment, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reorthogonalise", [True, False])
def test_log_determinant_and_effective_dimension_cover_the_truth(reorthogonalise):
    _, product = symmetric(VALUES)
    damping = 0.1

    def run(key):
        found = curvature.quadrature(
            product,
            jnp.zeros(30),
            key,
            probes=10,
            steps=25,
            reorthogonalise=reorthogonalise,
        )
        pair = (
            curvature.log_determinant(found, damping),
            curvature.effective_dimension(found, damping),
        )
        return [jnp.stack([one[i] for one in pair]) for i in range(2)]

    values, errors = repeated(run, 300)
    truth = [np.log(VALUES + damping).sum(), (VALUES / (VALUES + damping)).sum()]
    for index in range(2):
        check_calibrated(values[:, index], errors[:, index], truth[index])


def test_functions_of_positive_matrices_refuse_negative_ones():
    found = curvature.Quadrature(jnp.array([[-1.0, 2.0]]), jnp.array([[0.5, 0.5]]), 10)
    assert np.isnan(curvature.log_determinant(found, 2.0).value)
    assert np.isnan(curvature.effective_dimension(found, 2.0).value)
    rounding = curvature.Quadrature(jnp.array([[-1e-6, 2.0]]), jnp.array([[0.5, 0.5]]), 10)
    np.testing.assert_allclose(curvature.effective_dimension(rounding, 2.0).value, 2.5)


def test_the_density_is_the_smoothed_spectrum():
    spectrum = np.r_[np.zeros(40), np.linspace(1, 2, 50), 5.0, 6.0]
    scale = jnp.asarray(spectrum, jnp.float32)

    @jax.jit
    def run(key):
        # Random signs see the diagonal without error.
        found = curvature.quadrature(lambda v: scale * v, scale, key, probes=4, steps=60)
        return curvature.density(found, width=0.1)

    found = run(jax.random.key(0))
    away = (np.asarray(found.grid)[:, None] - spectrum) / 0.1
    expected = stats.norm.pdf(away).mean(axis=1) / 0.1
    np.testing.assert_allclose(found.density, expected, atol=2e-3)
    np.testing.assert_allclose(np.trapezoid(found.density, found.grid), 1, rtol=1e-4)
    assert float(found.width) == np.float32(0.1)


def test_error_bars_of_the_density_cover_the_spectrum():
    _, product = symmetric(VALUES)

    @jax.jit
    def run(key):
        found = curvature.quadrature(product, jnp.zeros(30), key, probes=40, steps=30)
        return curvature.density(found, width=0.5)

    found = run(jax.random.key(0))
    expected = stats.norm.pdf((np.asarray(found.grid)[:, None] - VALUES) / 0.5).mean(axis=1) / 0.5
    away = np.abs(found.density - expected)
    assert np.all(away < 4.5 * found.standard_error + 1e-3)
    assert np.mean(away < 2 * found.standard_error + 1e-4) > 0.8
    np.testing.assert_allclose(np.trapezoid(found.density, found.grid), 1, rtol=1e-4)


def test_signs_are_independent_and_balanced():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.vmap(lambda key: curvature.traces.signs(key, jnp.zeros(70)))(keys))
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    moments = drawn.T @ drawn / len(keys)
    # 70 x 70 correlations of 4,000 draws: none beyond five standard errors.
    assert np.abs(moments - np.eye(70)).max() < 5 / len(keys) ** 0.5
    assert np.abs(drawn.mean(axis=0)).max() < 4.5 / len(keys) ** 0.5


def test_one_probe_has_no_error():
    _, product = symmetric(VALUES)
    assert np.isnan(curvature.trace(product, jnp.zeros(30), jax.random.key(0), probes=1)[1])
    one = curvature.diagonal(product, jnp.zeros(30), jax.random.key(0), probes=1)
    assert np.isnan(one.standard_error).all()


def test_dense_matrices_are_those_of_their_products():
    dense, product = symmetric(VALUES)
    np.testing.assert_allclose(curvature.dense(product, jnp.zeros(30)), dense, atol=1e-5)
    with pytest.raises(InvalidInputError, match=r"found 30 parameters; .* at most 20"):
        curvature.dense(product, jnp.zeros(30), limit=20)


def test_vmapped_is_looped():
    stack = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)

    def run(scale, key):
        def product(v):
            return scale * v + jnp.sum(v)

        nodes = curvature.quadrature(product, scale, key, probes=2, steps=5)
        return (
            curvature.trace(product, scale, key, probes=4)[:2],
            curvature.diagonal(product, scale, key, probes=4),
            curvature.low_rank_trace(product, scale, key, products=9),
            curvature.trace_of(jnp.square, nodes),
        )

    together = jax.jit(jax.vmap(run))(stack, keys)
    for index in range(2):
        alone = jax.jit(run)(stack[index], keys[index])
        for a, b in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
            np.testing.assert_allclose(a[index], b, rtol=1e-3, atol=1e-4)


def test_numbers_out_of_range_are_refused():
    one, key = jnp.ones(4), jax.random.key(0)
    for call, words in [
        (lambda: curvature.trace(lambda v: v, one, key, probes=0), "probes: found 0"),
        (lambda: curvature.diagonal(lambda v: v, one, key, probes=0), "probes: found 0"),
        (lambda: curvature.low_rank_trace(lambda v: v, one, key, products=2), "found 2"),
        (lambda: curvature.quadrature(lambda v: v, one, key, probes=0), "probes: found 0"),
        (lambda: curvature.quadrature(lambda v: v, one, key, steps=0), "steps: found 0"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            call()
