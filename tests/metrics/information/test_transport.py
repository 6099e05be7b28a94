"""Wasserstein distances against scipy and closed forms, and the bound on the gap."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.errors import InvalidInputError
from genjax.metrics.information import gaussian_location
from genjax.metrics.information.transport import (
    assigned_wasserstein,
    estimated_transport_bound,
    sliced_wasserstein,
    transport_bound,
    wasserstein,
)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (7, 5), (6, 9), (1, 8), (40, 30)])
def test_order_one_is_that_of_scipy(n, m):
    rng = np.random.default_rng(n * 100 + m)
    x, y = rng.normal(size=n), rng.exponential(size=m)
    known = stats.wasserstein_distance(x, y)
    assert wasserstein(x, y) == pytest.approx(known, abs=1e-12)
    assert wasserstein(y, x) == pytest.approx(known, abs=1e-12)
    assert float(wasserstein(jnp.asarray(x), jnp.asarray(y))) == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize(("n", "m"), [(7, 7), (7, 5), (6, 9)])
def test_order_two_is_that_of_copies_put_side_by_side(n, m):
    """Each value repeated until both samples have nm: then the order of ranks is optimal."""
    rng = np.random.default_rng(n * 100 + m)
    x, y = rng.normal(size=n), rng.exponential(size=m)
    pairs = np.sort(np.repeat(x, m)) - np.sort(np.repeat(y, n))
    assert wasserstein(x, y, order=2) == pytest.approx(math.sqrt((pairs**2).mean()), abs=1e-12)


def test_orders_of_gaussians_are_known():
    """Quantiles of N(0, 1) and N(m, s^2): W_2^2 = m^2 + (1 - s)^2, W_1 = E|m + (s - 1) N|."""
    quantiles = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    m, s = 0.3, 1.7
    assert wasserstein(quantiles, m + s * quantiles, order=2) == pytest.approx(
        math.hypot(m, s - 1), abs=1e-4
    )
    folded = stats.foldnorm(c=m / (s - 1), scale=s - 1).mean()
    assert wasserstein(quantiles, m + s * quantiles) == pytest.approx(folded, abs=1e-4)


def test_many_pairs_are_the_loop_and_jit_is_the_host():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 1, 20)), rng.normal(size=(4, 15)) + 1
    for order in (1, 2):
        at_once = wasserstein(x, y, order=order)
        assert at_once.shape == (3, 4)
        for i, j in np.ndindex(3, 4):
            alone = wasserstein(x[i, 0], y[j], order=order)
            assert at_once[i, j] == pytest.approx(float(alone), abs=1e-13)
        one = functools.partial(wasserstein, order=order)
        of_jax = jax.jit(jax.vmap(one))(jnp.asarray(x[:, 0]), jnp.asarray(y[:3]))
        assert np.asarray(of_jax) == pytest.approx(np.diagonal(at_once), rel=1e-5)


def test_assigned_is_the_best_of_all_permutations():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 3))
    for order in (1, 2):
        costs = [
            np.mean(np.linalg.norm(x - y[list(p)], axis=1) ** order) ** (1 / order)
            for p in itertools.permutations(range(6))
        ]
        assert assigned_wasserstein(x, y, order=order) == pytest.approx(min(costs), abs=1e-12)
    one = assigned_wasserstein(x[:, :1], y[:, :1])
    assert one == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_sliced_distance_of_a_shift_is_known(order):
    """W_p along theta is |s.theta|: mean |theta_1| of the sphere, and 1/sqrt(d) of squares."""
    d = 5
    x = jax.random.normal(jax.random.key(1), (40, d))
    shift = jnp.zeros((1, d)).at[0, 2].set(2.0)
    found = sliced_wasserstein(x, x + shift, jax.random.key(0), order=order, num_directions=4000)
    mean_one = math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))
    known = 2 * mean_one if order == 1 else 2 / math.sqrt(d)
    error = float(found.standard_error)
    assert abs(float(found.value) - known) < 4 * error
    assert error < 0.02
    # The stated error is the spread of values over keys.
    keys = jax.random.split(jax.random.key(3), 200)
    few = jax.jit(
        jax.vmap(lambda k: sliced_wasserstein(x, x + shift, k, order=order, num_directions=64))
    )(keys)
    values, errors = np.asarray(few.value), np.asarray(few.standard_error)
    assert values.std() == pytest.approx(float(errors.mean()), rel=0.2)


def test_sliced_is_the_mean_over_directions_and_below_the_exact_distance():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)) * 2 + 1
    found = sliced_wasserstein(x.astype(np.float32), y.astype(np.float32), jax.random.key(0))
    directions = np.asarray(jax.random.normal(jax.random.key(0), (128, 3)))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    each = [stats.wasserstein_distance(x @ t, y @ t) for t in directions]
    assert float(found.value) == pytest.approx(np.mean(each), rel=1e-5)
    assert float(found.standard_error) == pytest.approx(stats.sem(each), rel=1e-4)
    assert float(found.value) < assigned_wasserstein(x, y)
    same = sliced_wasserstein(x, x, jax.random.key(0), order=2)
    assert [float(v) for v in same] == [0.0, 0.0]


@pytest.mark.parametrize(("n", "gap", "bound"), [(5, 0.160389, 0.163963), (10, 0.079889, 0.080832)])
def test_bound_of_a_mean_is_estimated_from_samples(n, gap, bound):
    """W the mean of n normals, loss |w - z|: the exact bound, and one from samples of W."""
    exact = gaussian_location.transport(n)
    assert float(exact.gap) == pytest.approx(gap, abs=5e-7)
    assert float(exact.bound) == pytest.approx(bound, abs=5e-7)
    # Half normal quantiles are exact expectations over z up to the last digit asked for.
    z = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    normal = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    marginal = normal / math.sqrt(n)
    conditional = z[:, None] / n + normal * math.sqrt(n - 1) / n
    distances = wasserstein(marginal, conditional)
    assert float(transport_bound(distances, 1.0)) == pytest.approx(bound, rel=2e-3)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=300)[:, None] / n + rng.normal(size=(300, 2000)) * math.sqrt(n - 1) / n
    sampled = rng.normal(size=20_000) / math.sqrt(n)
    found = estimated_transport_bound(sampled, drawn, 1.0, jax.random.key(0))
    # Of 300 drawn z the mean of |z| is known to 4 % (one standard error).
    assert found.value == pytest.approx(bound, rel=0.12)
    assert found.chance < bound / 5


def test_estimate_without_dependence_is_chance():
    rng = np.random.default_rng(1)
    found = estimated_transport_bound(
        rng.normal(size=2000), rng.normal(size=(50, 100)), 2.0, jax.random.key(0)
    )
    assert found.value == pytest.approx(found.chance, rel=0.1)
    assert found.chance > 0.1
    again = estimated_transport_bound(
        rng.normal(size=2000), rng.normal(size=(50, 100)), 2.0, jax.random.key(0), splits=1
    )
    assert again.chance != found.chance


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="order"):
        wasserstein(np.ones(2), np.ones(2), order=3)
    with pytest.raises(InvalidInputError, match="second"):
        wasserstein(np.ones(2), np.ones((2, 0)))
    with pytest.raises(InvalidInputError, match="dimensions"):
        sliced_wasserstein(np.ones((2, 2)), np.ones((2, 3)), jax.random.key(0))
    with pytest.raises(InvalidInputError, match="num_directions"):
        sliced_wasserstein(np.ones((2, 2)), np.ones((2, 2)), jax.random.key(0), num_directions=1)
    with pytest.raises(InvalidInputError, match="shape"):
        assigned_wasserstein(np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(InvalidInputError, match="lipschitz"):
        transport_bound(np.ones(3), -1.0)
    with pytest.raises(InvalidInputError, match="distances"):
        transport_bound(-np.ones(3), 1.0)
    with pytest.raises(InvalidInputError, match="marginal"):
        estimated_transport_bound(np.ones(1), np.ones((2, 3)), 1.0, jax.random.key(0))
    with pytest.raises(InvalidInputError, match="not finite"):
        estimated_transport_bound(np.full(4, np.nan), np.ones((2, 3)), 1.0, jax.random.key(0))
    with pytest.raises(InvalidInputError, match="splits"):
        estimated_transport_bound(np.ones(4), np.ones((2, 3)), 1.0, jax.random.key(0), splits=0)
