"""Bounds as functions of numbers: closed forms, brute force, published rows, and coverage."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

from genjax.errors import InvalidInputError
from genjax.metrics import complexity
from genjax.metrics.complexity import bounds, objectives

GRID = [(e, b) for e in (0.0, 1e-4, 0.03, 0.5, 0.9, 1.0) for b in (1e-6, 1e-3, 0.05, 0.7, 5.0)]


def kl(q, p):
    """By scipy: q ln(q/p) + (1-q) ln((1-q)/(1-p))."""
    return special.rel_entr(q, p) + special.rel_entr(1 - q, 1 - p)


@pytest.mark.parametrize("q", [0.0, 1e-6, 0.2, 0.5, 0.99, 1.0])
def test_divergence_of_coins_is_scipys(q):
    p = np.array([1e-9, 0.1, 0.2, 0.200001, 0.5, 0.999])
    expected = kl(q, p)
    np.testing.assert_allclose(bounds.kl_bernoulli(q, p), expected, rtol=1e-9, atol=1e-15)
    q, p = np.float32(q), p.astype(np.float32)
    single = jax.jit(bounds.kl_bernoulli)(jnp.asarray(q), jnp.asarray(p))
    assert single.dtype == jnp.float32
    expected = kl(float(q), p.astype(float))
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-12)


def test_divergence_of_coins_at_the_ends():
    assert bounds.kl_bernoulli(0.0, 0.0) == bounds.kl_bernoulli(1.0, 1.0) == 0.0
    assert bounds.kl_bernoulli(0.5, 0.0) == bounds.kl_bernoulli(0.5, 1.0) == math.inf
    assert np.isnan(bounds.kl_bernoulli(np.nan, 0.5))


@pytest.mark.parametrize(("error", "budget"), GRID)
def test_inverse_solves_its_equation(error, budget):
    found = bounds.kl_inverse(error, budget)
    if error == 1:
        assert found == 1
        return
    top = 1 - 1e-15
    reached = kl(error, top) > budget
    root = (
        optimize.brentq(lambda p: kl(error, p) - budget, error, top, xtol=1e-20) if reached else 1
    )
    assert found == pytest.approx(root, rel=1e-9)
    assert error < found <= 1
    single = jax.jit(bounds.kl_inverse)(jnp.float32(error), jnp.float32(budget))
    assert float(single) == pytest.approx(root, rel=2e-5)
    with jax.enable_x64(True):
        double = jax.jit(bounds.kl_inverse)(jnp.float64(error), jnp.float64(budget))
        assert float(double) == pytest.approx(float(found), rel=1e-12)


def test_inverse_of_zero_errors_is_known_and_never_too_small():
    budgets = np.geomspace(1e-8, 30, 50)
    found = bounds.kl_inverse(0.0, budgets)
    np.testing.assert_allclose(found, -np.expm1(-budgets), rtol=1e-7, atol=1e-15)
    assert np.all(kl(0.1, bounds.kl_inverse(0.1, budgets)) >= budgets * (1 - 1e-6))


def test_what_is_not_known_gives_no_bound():
    for error, budget in ((np.nan, 0.1), (0.1, np.nan)):
        assert np.isnan(bounds.kl_inverse(error, budget))
        assert np.isnan(jax.jit(bounds.kl_inverse)(jnp.float32(error), jnp.float32(budget)))
    assert bounds.kl_inverse(0.1, np.inf) == 1
    assert np.isnan(bounds.catoni_bound(np.nan, 10.0, 100))
    assert np.isnan(bounds.maurer_bound(0.1, np.nan, 100))


def test_maurers_bound_is_its_formula_and_below_langford_seeger_and_mcallester():
    for error, divergence, n in ((0.0, 3.0, 100), (0.1, 500.0, 10_000), (0.4, 50.0, 60_000)):
        budget = (divergence + math.log(2 * math.sqrt(n) / 0.05)) / n
        found = bounds.maurer_bound(error, divergence, n)
        assert kl(error, found) == pytest.approx(budget, rel=1e-9)
        wider = bounds.langford_seeger_bound(error, divergence, n)
        assert kl(error, wider) == pytest.approx((divergence + math.log((n + 1) / 0.05)) / n)
        assert wider > found
        old = error + math.sqrt((divergence + math.log(n / 0.05)) / (2 * n - 1))
        assert bounds.mcallester_bound(error, divergence, n) == pytest.approx(old, rel=1e-12)


def test_sampling_is_paid_for():
    found = bounds.sampled_error_bound(0.02, 1000, delta=0.01)
    assert kl(0.02, found) == pytest.approx(math.log(200) / 1000, rel=1e-9)


@pytest.mark.parametrize(
    ("error", "divergence", "printed"),
    [(0.028, 5144.0, 0.161), (0.027, 5791.0, 0.170), (0.028, 6534.0, 0.186)],
)
@pytest.mark.parametrize("index", [100, 300, 1000])
def test_dziugaite_and_roys_rows_come_out(error, divergence, printed, index):
    # The scale of the prior is not printed; it hardly matters.
    variance = 0.1 * math.exp(-index / 100)
    found = bounds.dziugaite_roy_bound(error, divergence, 55_000, variance)
    assert found == pytest.approx(printed, abs=1e-3)
    price = math.log(math.pi**2 * 55_000 / (6 * 0.025)) + 2 * math.log(index)
    assert kl(error, found) == pytest.approx((divergence + price) / 54_999, rel=1e-9)


def catoni_by_brute_force(error, divergence, n):
    g = np.linspace(0, 4 + math.log(n), 200_001)[1:]
    q = error + 1.0001 * np.exp(-g) * (
        divergence - math.log(0.05) + 2 * np.log(2 + g / np.log1p(1e-4))
    )
    a = np.exp(g) / n
    return np.min(-np.expm1(-a * q) / -np.expm1(-a))


@pytest.mark.parametrize("error", [0.0, 0.02, 0.4, 0.808, 1.0])
@pytest.mark.parametrize(("divergence", "n"), [(0.0, 50), (30.0, 200), (538.0, 60_000), (9e4, 1e6)])
def test_catonis_bound_is_the_smallest_on_a_fine_grid(error, divergence, n):
    expected = catoni_by_brute_force(error, divergence, n)
    found = bounds.catoni_bound(error, divergence, n)
    assert found == pytest.approx(expected, rel=1e-7)
    assert found <= expected * (1 + 1e-12)
    traced = jax.jit(bounds.catoni_bound)(*(jnp.float32(v) for v in (error, divergence, n)))
    assert float(traced) == pytest.approx(expected, rel=1e-4)


@pytest.mark.data
def test_catonis_and_maurers_bounds_are_the_recomputed_columns(data_dir):
    table = pd.read_csv(data_dir / "published" / "tight_pac_bayes" / "bounds.csv")
    columns = (table.train_err_100.to_numpy() / 100, table.kl_nats.to_numpy(), table.n.to_numpy())
    found = 100 * complexity.catoni_bound(*columns)
    np.testing.assert_allclose(found, table.recomputed_grid_min_catoni, rtol=0, atol=1e-6)
    one_by_one = [complexity.catoni_bound(*map(float, row)) for row in zip(*columns, strict=True)]
    np.testing.assert_allclose(one_by_one, found / 100, rtol=1e-12)
    maurer = 100 * bounds.maurer_bound(*columns)
    np.testing.assert_allclose(maurer, table.maurer_kl_inverse_delta05, rtol=0, atol=1e-9)
    # What was printed is never better than the smallest, and sometimes gave up at 100.
    assert np.all(table.published_err_bound_100 >= found - 1e-6)
    assert (table.published_err_bound_100 - found).max() > 10
    assert np.all(found > table.test_err_100)
    single = 100 * jax.jit(jax.vmap(complexity.catoni_bound))(
        *(jnp.asarray(c, jnp.float32) for c in columns)
    )
    np.testing.assert_allclose(single, found, rtol=3e-5)


def test_objectives_are_their_formulas_and_bound_maurer_from_above():
    for risk, divergence, n in ((0.01, 10.0, 500), (0.1, 500.0, 10_000), (0.3, 40.0, 2000)):
        price = divergence + math.log(2 * math.sqrt(n) / 0.025)
        half = price / (2 * n)
        expected = {
            "fclassic": risk + math.sqrt(half),
            "fquad": (math.sqrt(risk + half) + math.sqrt(half)) ** 2,
            "bbb": risk + 0.1 * divergence / n,
            "flambda": optimize.minimize_scalar(
                lambda x, p=price, r=risk, n=n: r / (1 - x / 2) + p / (n * x * (1 - x / 2)),
                bounds=(1e-6, 2 - 1e-6),
                method="bounded",
                options={"xatol": 1e-10},
            ).fun,  # pyright: ignore[reportAttributeAccessIssue]
        }
        certified = bounds.maurer_bound(risk, divergence, n, delta=0.025)
        for name, objective in objectives.OBJECTIVES.items():
            found = objective(risk, divergence, n)
            assert found == pytest.approx(expected[name], rel=1e-8), name
            assert name == "bbb" or found >= certified
        assert expected["flambda"] == pytest.approx(expected["fquad"], rel=1e-9)
    fixed = objectives.flambda(0.1, 500.0, 10_000, lam=0.5)
    price = 500 + math.log(2 * 100 / 0.025)
    assert fixed == pytest.approx(0.1 / 0.75 + price / (10_000 * 0.5 * 0.75), rel=1e-12)


def test_no_gradient_passes_through_the_best_lambda():
    lam = float(objectives.best_lambda(0.1, 500.0, 10_000))
    free = jax.grad(objectives.flambda, (0, 1))(jnp.float32(0.1), jnp.float32(500), 10_000)
    fixed = jax.grad(functools.partial(objectives.flambda, lam=lam), (0, 1))(
        jnp.float32(0.1), jnp.float32(500), 10_000
    )
    np.testing.assert_allclose(free, fixed, rtol=1e-5)


def test_arguments_broadcast_and_a_loop_gives_the_same():
    error = np.linspace(0, 0.9, 5)[:, None]
    divergence = np.array([1.0, 40.0, 900.0])
    for bound in (bounds.catoni_bound, bounds.maurer_bound, bounds.mcallester_bound):
        found = bound(error, divergence, 2000)
        assert found.shape == (5, 3)
        for i, j in np.ndindex(5, 3):
            alone = bound(float(error[i, 0]), float(divergence[j]), 2000)
            assert np.ndim(alone) == 0
            assert alone == pytest.approx(found[i, j], rel=1e-13)


def test_a_bound_holds_as_often_as_it_says():
    """Of many samples the bound of a fixed network (KL 0) fails for at most delta of them."""
    rng, n, truth = np.random.default_rng(0), 60, 0.25
    errors = rng.binomial(n, truth, 20_000) / n
    for name in ("maurer_bound", "langford_seeger_bound", "mcallester_bound"):
        for delta in (0.05, 0.3):
            failures = np.sum(getattr(bounds, name)(errors, 0.0, n, delta=delta) < truth)
            assert (
                stats.binomtest(int(failures), 20_000, delta, alternative="greater").pvalue > 0.01
            )
    failures = np.mean(bounds.sampled_error_bound(errors, n, delta=0.05) < truth)
    assert 0 < failures <= 0.05


BAD = {
    "train_error: found 1.5": lambda: bounds.maurer_bound(1.5, 1.0, 100),
    "train_error: found -0.1": lambda: bounds.catoni_bound(-0.1, 1.0, 100),
    "kl_nats: found -1.0": lambda: bounds.mcallester_bound(0.1, -1.0, 100),
    "num_examples: found 7; at least 8": lambda: bounds.maurer_bound(0.1, 1.0, 7),
    "num_examples: found 0": lambda: bounds.catoni_bound(0.1, 1.0, 0),
    "delta: found 0.0": lambda: bounds.maurer_bound(0.1, 1.0, 100, delta=0.0),
    "delta: found 1.0": lambda: bounds.sampled_error_bound(0.1, 100, delta=1.0),
    "alpha: found 0.0": lambda: bounds.catoni_bound(0.1, 1.0, 100, alpha=0.0),
    "budget: found -0.5": lambda: bounds.kl_inverse(0.1, -0.5),
    "q: found 2.0": lambda: bounds.kl_bernoulli(2.0, 0.5),
    "prior_variance: found 0.2": lambda: bounds.dziugaite_roy_bound(0.1, 1.0, 100, 0.2),
}


@pytest.mark.parametrize("sentence", BAD)
def test_numbers_out_of_range_are_refused(sentence):
    with pytest.raises(InvalidInputError, match=sentence.replace(".", r"\.")):
        BAD[sentence]()
