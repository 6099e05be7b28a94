"""Variational bounds with the optimal critic, with a trained one, and their caps."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from genjax.errors import InvalidInputError
from genjax.metrics.information.variational import (
    OBJECTIVES,
    donsker_varadhan,
    estimate,
    infonce,
    nwj,
    smile,
)

RNG = np.random.default_rng


def pairs(r, count, d=1, seed=0):
    rng = RNG(seed)
    x = rng.normal(size=(count, d))
    return x, r * x + math.sqrt(1 - r * r) * rng.normal(size=(count, d))


def log_ratio(x, y, r):
    """log p(x, y) / p(x) p(y) of all pairs: the optimal critic."""
    x, y = x[:, None], y[None]
    each = -0.5 * math.log(1 - r * r) + (2 * r * x * y - r * r * (x**2 + y**2)) / (2 - 2 * r * r)
    return each.sum(-1)


def test_functionals_are_their_formulas():
    scores = RNG(0).normal(size=(2, 5, 5)) * 2
    own = np.array([[s[i, i] for i in range(5)] for s in scores])
    others = np.array([s[i, j] for s in scores for i in range(5) for j in range(5) if i != j])
    expected = {
        infonce: np.mean(own - np.log(np.exp(scores).mean(axis=2))),
        nwj: own.mean() - np.mean(np.exp(others - 1)),
        donsker_varadhan: own.mean() - np.log(np.mean(np.exp(others))),
        functools.partial(smile, clip=1.5): own.mean()
        - np.log(np.mean(np.exp(np.clip(others, -1.5, 1.5)))),
    }
    for function, value in expected.items():
        assert float(function(jnp.asarray(scores))) == pytest.approx(value, abs=2e-6)
        assert float(jax.jit(function)(jnp.asarray(scores))) == pytest.approx(value, abs=2e-6)
    unclipped = float(smile(jnp.asarray(scores), clip=math.inf))
    assert unclipped == pytest.approx(expected[donsker_varadhan], abs=2e-6)


@pytest.mark.parametrize(("r", "known"), [(0.0, 0.0), (0.6, 0.223144)])
def test_optimal_critic_reaches_the_truth(r, known):
    scores = log_ratio(*pairs(r, 3000), r).astype(np.float32)
    # Standard deviation of the log ratio is r: .011 for the mean over 3,000.
    near = 4 * r / math.sqrt(3000) + 1e-6
    assert float(donsker_varadhan(scores)) == pytest.approx(known, abs=near)
    assert float(nwj(scores + 1)) == pytest.approx(known, abs=near)
    assert float(infonce(scores)) == pytest.approx(known, abs=near)
    # Any other critic is below: here the log ratio of a wrong correlation, in the same units.
    wrong = log_ratio(*pairs(0.6, 3000), 0.3).astype(np.float32)
    assert float(nwj(wrong + 1)) < 0.223144 - 0.04


def test_infonce_saturates_at_log_batch_where_others_go_on():
    """Ten dimensions of r = .9: 8.3 nats, K = 64."""
    assert -5 * math.log(1 - 0.81) == pytest.approx(8.30366, abs=5e-6)
    batches = [log_ratio(*pairs(0.9, 64, d=10, seed=s), 0.9) for s in range(50)]
    scores = np.array(batches, np.float32)
    assert math.log(64) - 0.1 < float(infonce(scores)) <= math.log(64)
    assert float(donsker_varadhan(scores)) > 7.0


def test_smile_has_the_bias_of_its_clip():
    """r = .98, tau = 1: what clipping takes from the mean ratio, by quadrature."""
    r, tau = 0.98, 1.0
    grid = np.linspace(-8, 8, 1601)
    ratio = np.exp(np.clip(log_ratio(grid[:, None], grid[:, None], r), -tau, tau))
    density = stats.norm.pdf(grid)
    mean = integrate.trapezoid(integrate.trapezoid(ratio * density, grid) * density, grid)
    assert mean == pytest.approx(0.82485, abs=1e-5)
    truth = -0.5 * math.log(1 - r * r)
    scores = log_ratio(*pairs(r, 4000, seed=1), r).astype(np.float32)
    near = 4 * r / math.sqrt(4000)
    assert float(smile(scores, clip=tau)) == pytest.approx(truth - math.log(mean), abs=near)
    assert float(smile(scores, clip=tau)) > truth + near  # more than there is: no bound


def test_donsker_varadhan_of_few_pairs_is_too_large():
    """Mean over batches of 8 with the optimal critic: above the truth, NWJ at it, InfoNCE below."""
    truth = -math.log(1 - 0.81)
    batches = np.array([log_ratio(*pairs(0.9, 8, d=2, seed=s), 0.9) for s in range(3000)])
    each = {
        f: np.asarray(jax.vmap(f)(jnp.asarray(b, jnp.float32)))
        for f, b in ((donsker_varadhan, batches), (nwj, batches + 1), (infonce, batches))
    }
    error = {f: v.std() / math.sqrt(3000) for f, v in each.items()}
    assert each[donsker_varadhan].mean() > truth + 4 * error[donsker_varadhan]
    assert each[infonce].mean() < truth - 4 * error[infonce]
    assert abs(each[nwj].mean() - truth) < 4 * error[nwj]
    assert each[nwj].std() > 2 * each[infonce].std()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_trained_critic_comes_close_from_below(objective):
    x, y = (jnp.asarray(v, jnp.float32) for v in pairs(0.9, 4000))
    value, info = estimate(x, y, jax.random.key(0), objective=objective, steps=300, hidden=32)
    error = float(info.standard_error)
    assert 0.830366 - 0.1 < float(value) < 0.830366 + 3 * error
    assert error < 0.03
    cap = 64 if objective == "infonce" else 2000 // 64 * 64
    assert float(info.cap) == pytest.approx(math.log(cap), rel=1e-6)
    assert info.losses.shape == (300,)
    assert float(info.losses[-50:].mean()) < float(info.losses[:50].mean())


def test_the_held_out_half_keeps_the_value_honest():
    """Independent noise in 20 dimensions learned by heart: the training half says a nat."""
    rng = RNG(0)
    x, y = (jnp.asarray(rng.normal(size=(128, 20)), jnp.float32) for _ in range(2))
    value, info = estimate(x, y, jax.random.key(0), steps=200, batch=32)
    assert float(info.train_value) > 1.0
    assert float(value) < 3 * float(info.standard_error)


def test_vmap_over_seeds_is_the_loop(getkey):
    # One held-out batch: no error of the value.
    x, y = (jnp.asarray(v, jnp.float32) for v in pairs(0.8, 70))
    keys = jax.random.split(getkey(), 3)
    one = functools.partial(estimate, x, y, steps=30, batch=32, hidden=16)
    values, infos = jax.jit(jax.vmap(one))(keys)
    for index in range(3):
        value, info = one(keys[index])
        assert float(values[index]) == pytest.approx(float(value), abs=1e-4)
        assert float(infos.cap[index]) == float(info.cap)
        assert math.isnan(float(info.standard_error))
    assert len({round(float(v), 6) for v in values}) == 3


def test_labels_and_constant_columns_are_taken(getkey):
    labels = jnp.arange(400) % 4
    x = jax.nn.one_hot(labels, 4) + 0.1 * jax.random.normal(getkey(), (400, 4))
    x = jnp.concatenate([x, jnp.full((400, 1), 3.3)], axis=1)
    value, _ = estimate(x, jax.nn.one_hot(labels, 4), getkey(), steps=150, hidden=32)
    assert 1.2 < float(value) < math.log(4) + 0.05


def test_bad_input_is_refused():
    x, y = (jnp.asarray(v, jnp.float32) for v in pairs(0.5, 100))
    key = jax.random.key(0)
    with pytest.raises(InvalidInputError, match="objective"):
        estimate(x, y, key, objective="mine")
    with pytest.raises(InvalidInputError, match="batch: found 64 for 100"):
        estimate(x, y, key)
    with pytest.raises(InvalidInputError, match="y: found"):
        estimate(x, y[:50], key)
    with pytest.raises(InvalidInputError, match="steps"):
        estimate(x, y, key, batch=20, steps=0)
    with pytest.raises(InvalidInputError, match="clip"):
        smile(jnp.ones((2, 2)), clip=0)
