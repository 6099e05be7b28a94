"""Bounds along noisy paths on records of the trainer: exact densities, means and gaps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.metrics.information import (
    example_bounds,
    iteration_contraction,
    noise_schedules,
    path_information,
    trajectory_bounds,
)
from genjax.metrics.information.noisy_records import NoisyTraining, RunData
from genjax.metrics.information.noisy_training import make
from genjax.models import Network


def free(size):
    def apply(params, images):
        return jnp.zeros((len(images), 1)) + params["w"][None]

    return Network(
        name="free",
        family="free",
        options={},
        image_shape=(1, 1, 1),
        num_classes=2,
        init=lambda key: ({"w": jnp.zeros(size)}, {}),
        train_apply=lambda params, statistics, images, key, rate: (apply(params, images), {}),
        fold=lambda parameters, statistics: parameters,
        apply=apply,
        taps=lambda params, images: {},
    )


def half_square(logits, labels):
    return 0.5 * jnp.sum((logits - labels) ** 2, axis=1)


def located(points, others):
    blank = lambda rows: jnp.zeros((*rows.shape[:-1], 1, 1, 1))  # noqa: E731
    return RunData(blank(points), points, blank(others), others)


def paths(config, points, others, schedule, seed=0):
    """Run one path per training set: points [runs, n, d], others [runs, m, d]."""
    run = make(free(points.shape[-1]), config, half_square)
    keys = jax.random.split(jax.random.key(seed), len(points))
    start = {"w": jnp.zeros(points.shape[-1])}
    program = jax.jit(jax.vmap(run, (None, 0, 0, None)))
    return program(start, located(points, others), keys, schedule)


@pytest.mark.parametrize(
    ("sampling", "replacement"), [("epochs", False), ("with_replacement", True)]
)
def test_what_one_example_changes_has_the_derived_mean(sampling, replacement):
    # E ||zeta||^2 = n v / (b (n - 1)^2), times 1 + (b - 1) / n with replacement.
    n, b, runs = 8, 3, 20_000
    points = jnp.asarray(np.random.default_rng(1).normal(size=(n, 2)), jnp.float32)
    many = jnp.broadcast_to(points, (runs, n, 2))
    config = NoisyTraining(sampling, b, quantities=("incoherence", "variance"), examples=n)
    _, record = paths(config, many, many[:, :1], noise_schedules.constant(1, 0.1))
    zeta = np.asarray(record.incoherence, float)[:, 0, 0]
    v = float(np.sum(np.var(np.asarray(points, float), axis=0)))
    expected = n * v / (b * (n - 1) ** 2) * (1 + (b - 1) / n if replacement else 1)
    assert zeta.mean() == pytest.approx(expected, abs=4 * zeta.std() / np.sqrt(runs))
    assert zeta.std() / np.sqrt(runs) < 0.03 * expected
    # The bound from the recorded variance is the bound from this mean.
    one = np.ones((1, 1))
    found = example_bounds.negrea_from_variance(
        np.asarray(record.variance[0]), one, one,
        num_examples=n, batch_size=b, replacement=replacement,
    )  # fmt: skip
    assert found.value[0] == pytest.approx(np.sqrt(expected) / 2, rel=1e-5)


def test_the_ratio_of_likelihoods_is_that_of_the_densities_of_the_path():
    n, steps, rate, noise = 3, 5, 0.4, 0.3
    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        points, other = jnp.asarray(rng.normal(size=(n, 2))), jnp.asarray(rng.normal(size=(1, 2)))
        config = NoisyTraining(quantities=("supersample",))
        run = make(free(2), config, half_square)
        schedule = noise_schedules.constant(steps, rate, noise=noise)
        path, start = [np.zeros(2)], {"w": jnp.zeros(2)}
        for t in range(1, steps + 1):
            part = jax.tree.map(lambda x, t=t: x[:t], schedule)
            ended, record = run(start, located(points, other), jax.random.key(3), part)
            path.append(np.asarray(ended["w"]))
        place = int(record.held_out)
        swapped = np.array(points)
        swapped[place] = other[0]
        log = lambda step, w, data: stats.multivariate_normal.logpdf(  # noqa: E731
            step, w - rate * (w - np.mean(data, 0)), noise**2 * np.eye(2)
        )
        each = [
            log(path[t + 1], path[t], swapped) - log(path[t + 1], path[t], np.asarray(points))
            for t in range(steps)
        ]
        found = example_bounds.log_likelihood_ratio(
            record.difference, record.inner, record.share, record.rate, record.noise
        )
        np.testing.assert_allclose(found, np.cumsum([0.0, *each])[:-1], atol=1e-9)
        # With the noise taken the other way it is no ratio of densities.
        wrong = example_bounds.log_likelihood_ratio(
            record.difference, -np.asarray(record.inner), record.share, record.rate, record.noise
        )
        assert np.abs(wrong[1:] - np.cumsum(each)[:-1]).max() > 0.1


def test_the_sum_of_steps_of_descent_on_a_quadratic_is_the_logarithmic_form():
    n, d, variance, rate, noise = 20, 3, 1.7, 0.1, 0.1
    exact = iteration_contraction.quadratic_descent(
        50, rate=rate, noise=noise, variance=variance, num_examples=n, dimension=d
    )
    one = np.ones((50, 1))
    # Given W the gradient differs from the population's by zbar - mu, of variance s^2 d / n.
    steps = path_information.step_information(
        variance * d / n * one, rate * one, noise * one, sizes=(d,)
    )
    assert np.sum(steps) == pytest.approx(exact.sum_of_steps, rel=1e-12)


def test_every_bound_is_above_the_gap_of_a_bounded_loss():
    # z is -1 or 1 with equal chance, the loss 1[sign(w) != z]: the test error is 1/2.
    n, runs, steps = 5, 4000, 6
    rng = np.random.default_rng(0)
    points = rng.choice([-1.0, 1.0], size=(runs, n, 1)).astype(np.float32)
    others = rng.choice([-1.0, 1.0], size=(runs, 200, 1)).astype(np.float32)
    config = NoisyTraining(
        quantities=("variance", "population", "incoherence", "supersample"), examples=n
    )
    schedule = noise_schedules.constant(steps, 0.5, noise=0.3)
    ended, record = paths(config, jnp.asarray(points), jnp.asarray(others), schedule)
    errors = np.mean(np.sign(np.asarray(ended["w"]))[:, None] != points, axis=(1, 2))
    gap, spread = 0.5 - errors.mean(), errors.std() / np.sqrt(runs)
    assert gap > 0.1
    record = jax.tree.map(np.asarray, record)
    rate, noise = record.rate, record.noise
    share = {"num_examples": n}
    values = {
        "pensia": trajectory_bounds.pensia(record.squared_norm, rate, noise, **share),
        "neu": trajectory_bounds.neu_langevin(record.population_deviation, rate, noise, **share),
        "li": trajectory_bounds.li_luo_qiao(
            record.mean_squared_norm, rate, noise, largest_loss=0.5, **share
        ),
        "negrea": example_bounds.negrea(record.incoherence, rate, noise),
        "variance": example_bounds.negrea_from_variance(
            record.variance, rate, noise, batch_size=n, **share
        ),
        **{
            theta: example_bounds.cmi_langevin(
                record.difference, record.inner, record.share, rate, noise, theta=theta
            )
            for theta in example_bounds.THETAS
        },
    }
    for name, found in values.items():
        assert found.value[-1] > gap + 3 * spread, name
        assert found.value[-1] < 10 * gap, name
    # J is random and the variance an average over it: two estimates of one number.
    ratio = values["negrea"].value[-1] / values["variance"].value[-1]
    assert ratio == pytest.approx(1, abs=0.05)
    # The posterior is the prior that costs least on average.
    assert values["sigmoid"].value[-1] == min(values[t].value[-1] for t in example_bounds.THETAS)


def test_perturbation_sees_the_imagined_noise_gathered_so_far():
    # The gradient of a quadratic moves by what its parameters move: E ||s zeta||^2 = s^2 d.
    size = 20_000
    run = make(free(size), NoisyTraining(quantities=("perturbation",)), half_square)
    schedule = noise_schedules.Schedule([0.1] * 3, [0.0] * 3, [0.2, 0.3, 0.5])
    _, record = jax.jit(run)(
        {"w": jnp.ones(size)},
        located(jnp.zeros((2, size)), jnp.zeros((1, size))),
        jax.random.key(2),
        schedule,
    )
    expected = size * np.array([0.0, 0.2**2, 0.2**2 + 0.3**2])
    found = np.asarray(record.perturbation)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=4 * np.sqrt(2 / size), atol=1e-4)


def test_a_sketch_gives_the_variance_over_runs():
    rng = np.random.default_rng(0)
    runs, d = 40, 30
    points = rng.normal(size=(runs, 4, d)).astype(np.float32)
    config = NoisyTraining("fixed", 2, quantities=("sketch",), sketch_size=2048)
    schedule = noise_schedules.constant(2, 0.3, noise=0.1)
    _, record = paths(config, jnp.asarray(points), jnp.asarray(points[:, :1]), schedule)
    found = iteration_contraction.variance_over_runs(np.asarray(record.sketch))
    direct = np.sum(np.var(points[:, :2].mean(1).astype(float), axis=0, ddof=1))
    assert found[0] == pytest.approx(direct, rel=4 * np.sqrt(2 / 2048))


def coins(runs, n, seed):
    rng = np.random.default_rng(seed)
    parts = (rng.choice([-1.0, 1.0], size=(runs, k, 1)) for k in (n, 200))
    return [jnp.asarray(part, jnp.float32) for part in parts]


def test_gaussian_channels_are_above_the_gap_of_a_bounded_loss():
    n, b, runs, steps = 4, 2, 4000, 6
    points, others = coins(runs, n, 1)
    config = NoisyTraining("fixed", b, quantities=("sketch",), sketch_size=8)
    schedule = noise_schedules.constant(steps, 0.5, noise=0.4)
    ended, record = paths(config, points, others, schedule)
    errors = np.mean(np.sign(np.asarray(ended["w"]))[:, None] != np.asarray(points), axis=(1, 2))
    gap, spread = 0.5 - errors.mean(), errors.std() / np.sqrt(runs)
    variance = iteration_contraction.variance_over_runs(np.asarray(record.sketch))
    found = iteration_contraction.wang_gaussian_channels(
        variance, schedule.rate, schedule.noise, num_examples=n, batch_size=b
    )
    assert gap > 0.1
    assert gap + 3 * spread < found.value[-1] < 10 * gap


def test_the_bound_for_descent_without_noise_is_above_the_gap_of_a_bounded_loss():
    n, b, runs, steps, imagined = 4, 2, 4000, 6, 0.5
    points, others = coins(runs, n, 2)
    config = NoisyTraining("epochs", b, quantities=("population", "perturbation"))
    schedule = noise_schedules.constant(steps, 0.5, virtual=imagined)
    ended, record = paths(config, points, others, schedule)
    record = jax.tree.map(np.asarray, record)
    w, z = np.asarray(ended["w"], float), np.asarray(points, float)[..., 0]
    errors = np.mean(0.5 - 0.5 * np.sign(w * z), axis=1)  # w = 0 guesses
    # A fair coin is always lost half the time, so only the training set can be flat or steep.
    moved = np.mean(stats.norm.cdf(-w * z / (imagined * np.sqrt(steps))), axis=1)
    found = trajectory_bounds.neu_descent(
        record.population_deviation, record.perturbation, record.rate[0], schedule.virtual,
        float(np.mean(moved - errors)), num_examples=n,
    )  # fmt: skip
    gap, spread = 0.5 - errors.mean(), errors.std() / np.sqrt(runs)
    assert gap > 0.1
    assert gap + 3 * spread < found.value < 20 * gap
