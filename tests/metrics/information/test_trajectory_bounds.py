"""Bounds along noisy paths: their published forms, and what happens at the edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from genjax.errors import InvalidInputError
from genjax.metrics.information import (
    example_bounds,
    iteration_contraction,
    noise_schedules,
    path_information,
    trajectory_bounds,
)
from genjax.metrics.information.noisy_records import RunData

N, B, STEPS, LAYERS, RUNS = 50, 10, 7, 3, 4


def drawn(*shape):
    return np.random.default_rng(sum(shape)).uniform(0.1, 2.0, shape)


RATE, BETA = drawn(STEPS, 1), 100 * drawn(STEPS + 1, 1)[1:]
NOISE = noise_schedules.noise_of(RATE, BETA)
STATISTIC = drawn(RUNS, STEPS, LAYERS)
LANGEVIN = np.cumsum((BETA * RATE)[None] * STATISTIC.sum(-1, keepdims=True), axis=1)[..., 0]


# Published forms, written with beta and eta.


def test_pensia_is_the_published_form():
    found = trajectory_bounds.pensia(STATISTIC, RATE, NOISE, num_examples=N, sub_gaussian=0.7)
    total = np.cumsum((RATE**2 / NOISE**2)[:, 0] * STATISTIC.sum(-1).mean(0))
    np.testing.assert_allclose(found.value, np.sqrt(0.7**2 / N * total), rtol=1e-12)
    np.testing.assert_allclose(np.sqrt(np.mean(found.of_runs**2, 0)), found.value, rtol=1e-12)


def test_the_logarithmic_step_is_smaller_and_as_published():
    # d = 1000, M = 1, alpha = .1, sigma = .001: 1198.95 against 5000 nats.
    one = np.ones((1, 1))
    steps = functools.partial(path_information.step_information, one, 0.1 * one, 0.001 * one)
    assert float(steps(sizes=(1000,))[0]) == pytest.approx(1198.95, abs=0.005)
    assert float(steps()[0]) == pytest.approx(5000, rel=1e-12)
    sizes = (3, 10, 500)
    log = path_information.step_information(STATISTIC, RATE, NOISE, sizes=sizes)
    mean = STATISTIC.mean(0)
    expected = [
        sum(
            d / 2 * np.log(1 + RATE[t, 0] ** 2 * mean[t, k] / (d * NOISE[t, 0] ** 2))
            for k, d in enumerate(sizes)
        )
        for t in range(STEPS)
    ]
    np.testing.assert_allclose(log, expected, rtol=1e-12)
    assert np.all(log < path_information.step_information(STATISTIC, RATE, NOISE))


def test_the_schedule_of_theorem_5_has_a_bounded_sum():
    # C = .7, M = 1.3: C M^2 pi^2 / 6 = 1.945957.
    made = noise_schedules.inverse_square(200_000, 0.7)
    columns = made.rate[:, None], made.noise[:, None]
    energy = path_information.path_energy(np.full((200_000, 1), 1.3**2), *columns)
    tail = 0.7 * 1.3**2 / 200_000  # sum of t^-2 beyond T is 1 / T to first order
    assert np.sum(energy) + tail == pytest.approx(1.945957, abs=5e-7)
    assert np.sum(energy) < 0.7 * 1.3**2 * np.pi**2 / 6
    found = trajectory_bounds.pensia(np.full((200_000, 1), 1.3**2), *columns, num_examples=30)
    assert found.value[-1] == pytest.approx(np.sqrt(0.25 / 30 * 1.945957), rel=1e-5)


def test_neu_langevin_is_the_published_form():
    found = trajectory_bounds.neu_langevin(STATISTIC, RATE, NOISE, num_examples=N)
    total = np.cumsum((RATE**2 / NOISE**2)[:, 0] * STATISTIC.sum(-1).mean(0))
    np.testing.assert_allclose(found.value, np.sqrt(0.25 / N * total), rtol=1e-12)


def test_negrea_is_the_published_form():
    found = example_bounds.negrea(STATISTIC, RATE, NOISE, average="mean_of_roots")
    expected = np.mean(np.sqrt(LANGEVIN), axis=0) / (2 * np.sqrt(2))
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)
    safe = example_bounds.negrea(STATISTIC, RATE, NOISE)
    assert np.all(safe.value > found.value)
    np.testing.assert_allclose(safe.value, np.sqrt(LANGEVIN.mean(0) / 8), rtol=1e-12)


def test_negrea_from_variance_is_the_derived_form_and_the_codes_is_smaller():
    found = [
        example_bounds.negrea_from_variance(
            STATISTIC, RATE, NOISE, num_examples=N, batch_size=B, constant=constant
        )
        for constant in ("derived", "f_cmi_code")
    ]
    v = (N - 1) / N * LANGEVIN.mean(0)  # cumulated eta beta v
    expected = np.sqrt(N / (2 * B * (N - 1) ** 2) * v / 4)
    np.testing.assert_allclose(found[0].value, expected, rtol=1e-12)
    code = np.sqrt(v / 4) * np.sqrt(N / 4 / B / (N - 1) / (N - 1))
    np.testing.assert_allclose(found[1].value, code, rtol=1e-12)
    assert "comparison only" in found[1].conditions


def test_li_luo_qiao_is_the_published_form():
    found = trajectory_bounds.li_luo_qiao(STATISTIC, RATE, NOISE, num_examples=N)
    np.testing.assert_allclose(found.value, np.sqrt(2) / N * np.sqrt(LANGEVIN.mean(0)), rtol=1e-12)
    half = trajectory_bounds.li_luo_qiao(
        STATISTIC, RATE, NOISE, num_examples=N, batch_size=N, largest_loss=0.5
    )
    np.testing.assert_allclose(half.value, found.value / 2, rtol=1e-12)


@pytest.mark.parametrize("theta", list(example_bounds.THETAS))
def test_cmi_langevin_is_the_published_recursion(theta):
    rng = np.random.default_rng(2)
    inner = rng.normal(size=STATISTIC.shape)
    share = np.full((RUNS, STEPS), 1 / N)
    found = example_bounds.cmi_langevin(
        STATISTIC, inner, share, RATE, NOISE, theta=theta, average="mean_of_roots"
    )
    function = {
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
        "tanh": lambda a: 0.5 + 0.5 * np.tanh(a),
        "erf": lambda a: stats.norm.cdf(np.sqrt(2) * a),
        "indicator": lambda a: 0.5 * np.sign(a) + 0.5,
    }[theta]
    roots = np.zeros((RUNS, STEPS))
    for run in range(RUNS):
        a, total = 0.0, 0.0
        for t in range(STEPS):
            be, square = (BETA * RATE)[t, 0], STATISTIC[run, t].sum()
            total += be * square * function(a) ** 2
            roots[run, t] = np.sqrt(total) / (np.sqrt(2) * N)
            along = np.sqrt(2 * be) / N * inner[run, t].sum()
            a -= 0.5 * (be * square / (2 * N**2) + along)
    np.testing.assert_allclose(found.value, roots.mean(0), rtol=1e-10)


def test_gaussian_channels_are_the_published_form():
    variance, batches = drawn(STEPS), 5
    found = iteration_contraction.wang_gaussian_channels(
        variance, RATE[:, 0], NOISE[:, 0], num_examples=B * batches, batch_size=B
    )
    n, total = B * batches, 0.0
    for j in range(batches):
        own = np.arange(STEPS) % batches == j
        total += np.sqrt(np.sum((RATE * BETA)[own, 0] * variance[own]))
    assert found.value[-1] == pytest.approx(np.sqrt(2 * B) / (4 * n) * total, rel=1e-12)


# What happens at the edges.


def test_no_noise_is_infinite_and_says_why():
    silent = NOISE * (np.arange(STEPS)[:, None] != 3)
    given = {"num_examples": N}
    for found in (
        trajectory_bounds.pensia(STATISTIC, RATE, silent, **given),
        trajectory_bounds.pensia(STATISTIC, RATE, silent, sizes=(2, 3, 4), **given),
        trajectory_bounds.neu_langevin(STATISTIC, RATE, silent, **given),
        trajectory_bounds.li_luo_qiao(STATISTIC, RATE, silent, **given),
        example_bounds.negrea(STATISTIC, RATE, silent),
        example_bounds.negrea_from_variance(STATISTIC, RATE, silent, batch_size=B, **given),
        example_bounds.cmi_langevin(STATISTIC, STATISTIC, np.ones((RUNS, STEPS)), RATE, silent),
    ):
        assert np.all(np.isfinite(found.value[:3]))
        assert np.all(np.isinf(found.value[3:]))
        assert found.vacuous[3:].all()
        assert "without noise" in found.reason
        assert not np.isnan(found.of_runs).any()


def test_a_layer_that_does_not_move_needs_no_noise():
    rate, noise = RATE * np.array([[1.0, 0.0, 1.0]]), NOISE * np.array([[1.0, 0.0, 1.0]])
    found = trajectory_bounds.pensia(STATISTIC, rate, noise, num_examples=N)
    rest = trajectory_bounds.pensia(STATISTIC[..., ::2], RATE, NOISE, num_examples=N)
    np.testing.assert_allclose(found.value, rest.value, rtol=1e-12)
    assert found.reason == ""


def test_a_run_that_diverged_makes_infinity_and_never_nan():
    broken = STATISTIC.copy()
    broken[1, 4] = np.nan
    share = np.ones((RUNS, STEPS))
    for found in (
        example_bounds.negrea(broken, RATE, NOISE),
        example_bounds.cmi_langevin(broken, broken, share, RATE, NOISE),
        trajectory_bounds.pensia(broken, RATE, NOISE, num_examples=N),
    ):
        assert np.isfinite(found.value[:4]).all()
        assert np.isinf(found.value[4:]).all()
        assert "diverged" in found.reason
        assert np.isfinite(found.of_runs[0]).all()


def test_bad_numbers_are_refused_by_name():
    for name, change in {
        "statistic": {"population_deviation": -STATISTIC},
        "rate": {"rate": -RATE},
        "noise": {"noise": np.full_like(NOISE, np.nan)},
        "num_examples": {"num_examples": 1},
        "sub_gaussian": {"sub_gaussian": 0.0},
    }.items():
        given = {"population_deviation": STATISTIC, "rate": RATE, "noise": NOISE}
        with pytest.raises(InvalidInputError, match=f"^{name}:"):
            trajectory_bounds.neu_langevin(**{**given, "num_examples": N, **change})
    one = np.ones((RUNS, STEPS))
    with pytest.raises(InvalidInputError, match=r"^theta: "):
        example_bounds.cmi_langevin(STATISTIC, STATISTIC, one, RATE, NOISE, theta="logistic")
    with pytest.raises(InvalidInputError, match=r"^sizes: "):
        path_information.step_information(STATISTIC, RATE, NOISE, sizes=(3, 4))
    with pytest.raises(InvalidInputError, match=r"^batch_size: "):
        path_information.expected_share_squared(5, 6)


# Descent without noise.


def test_the_best_imagined_noise_is_the_minimum():
    found = trajectory_bounds.wang_mao(STATISTIC, RATE, 40.0, num_examples=N)
    a = np.sqrt(0.25 / N * np.sum(RATE[:, 0] ** 2 * STATISTIC.sum(-1).mean(0)))
    b = STEPS * 40.0 / 2
    best = optimize.minimize_scalar(
        lambda v: a / v + b * v**2, bounds=(1e-4, 10), method="bounded", options={"xatol": 1e-12}
    )
    assert found.value == pytest.approx(best.fun, rel=1e-9)
    assert found.noise == pytest.approx(best.x, rel=1e-4)
    for trace in (-1.0, 0.0, np.nan):
        nothing = trajectory_bounds.wang_mao(STATISTIC, RATE, trace, num_examples=N)
        assert np.isinf(nothing.value)
        assert "trace" in nothing.reason


def test_neu_descent_is_the_published_form():
    virtual, other = drawn(STEPS, 2)[:, 0], drawn(RUNS, STEPS, LAYERS + 1)[..., :LAYERS]
    found = trajectory_bounds.neu_descent(
        STATISTIC, other, RATE, virtual, -0.03, num_examples=N, sub_gaussian=0.6
    )
    inside = np.mean((STATISTIC + other).sum(-1), 0) * RATE[:, 0] ** 2 / virtual**2
    assert found.value == pytest.approx(np.sqrt(4 * 0.36 / N * inside.sum()) + 0.03, rel=1e-12)
    silent = trajectory_bounds.neu_descent(STATISTIC, other, RATE, 0 * virtual, 0.0, num_examples=N)
    assert np.isinf(silent.value)
    assert silent.vacuous
    assert silent.reason


def test_flatness_of_a_threshold_is_the_normal_distribution():
    # Class 1 where x + w > 0: an example at x of class 1 is lost with probability Phi(-x / s).
    def apply(w, images):
        score = images.reshape(len(images)) + w
        return jnp.stack([jnp.zeros_like(score), score], axis=1)

    train, other = jnp.array([0.5, 2.0]), jnp.array([1.0])
    blank = lambda x: x.reshape(-1, 1, 1, 1)  # noqa: E731
    ones = lambda x: jnp.ones(len(x), jnp.int32)  # noqa: E731
    data = RunData(blank(train), ones(train), blank(other), ones(other))
    found = jax.jit(
        lambda key: trajectory_bounds.flatness_gap(
            apply, jnp.zeros(()), data, key, noise=0.8, draws=20_000
        )
    )(jax.random.key(0))
    lost = stats.norm.cdf(-np.array([0.5, 2.0, 1.0]) / 0.8)
    assert float(found) == pytest.approx(lost[:2].mean() - lost[2], abs=4 / np.sqrt(20_000))
